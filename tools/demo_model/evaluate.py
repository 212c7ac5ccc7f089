"""Asks the exported model what it has not seen, through the engine that serves it, and counts exact answers.

Nothing is scored kindly: a JSON answer counts when it is the same object, any other answer when it is the same text.
Four questions are kept apart: words it knows, words it has never met, sentences it has never met, and both.

    python -m tools.demo_model.evaluate --folder services/tether_worker/demo
"""

import argparse
import json
import random
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from tether_worker.engine.onnx_decoder import OnnxDecoder
from tether_worker.engine.runtime import GenerationJob, Sampling, TextPrompt
from tools.demo_model import corpus, docs, intents, slots, smalltalk
from tools.demo_model.corpus import Pair

SEED = 777  # no training seed
COUNT = 300
ANSWER_TOKENS_MAX = 400


def ask(engine: OnnxDecoder, prompts: list[str]) -> list[str]:
    """Answers prompts greedily, as many together as the engine takes."""
    answers = defaultdict(str)
    waiting = list(enumerate(prompts))
    while waiting or engine.slots_free < engine.slots_max:
        while waiting and engine.slots_free:
            key, text = waiting.pop(0)
            engine.open(
                GenerationJob(key=key, prompt=TextPrompt(text), sampling=Sampling(max_tokens=ANSWER_TOKENS_MAX))
            )
        for piece in engine.step():
            answers[piece.key] += piece.text.decode()
    return [answers[key] for key in range(len(prompts))]


def parsed(text: str) -> object:
    """The JSON value of a text, or None."""
    try:
        return json.loads(text)
    except ValueError:
        return None


def drawn(make: Callable[[random.Random], Pair], seed: int = SEED) -> list[Pair]:
    """Draws distinct prompts."""
    rng = random.Random(seed)  # noqa: S311  (no secret)
    found: dict[str, str] = {}
    for _ in range(20 * COUNT):
        if len(found) < COUNT:
            prompt, answer = make(rng)
            found.setdefault(prompt, answer)
    return list(found.items())


def cases() -> dict[str, list[Pair]]:
    """The questions of each row of the table."""
    known = sorted(docs.everyday().items())
    return {
        "JSON: known templates, known words": drawn(lambda r: corpus.json_pair(r, intents.TRAINED, slots.SEEN)),
        "JSON: known templates, unseen words": drawn(lambda r: corpus.json_pair(r, intents.TRAINED, slots.UNSEEN)),
        "JSON: unseen templates, known words": drawn(lambda r: corpus.json_pair(r, intents.UNSEEN, slots.SEEN)),
        "JSON: unseen templates, unseen words": drawn(lambda r: corpus.json_pair(r, intents.UNSEEN, slots.UNSEEN)),
        "Docs: known phrasings": drawn(lambda r: docs.question(r, known)),
        "Docs: unseen phrasings": drawn(lambda r: docs.question(r, known, docs.UNSEEN)),
        "Small talk": drawn(smalltalk.talk),
        "Questions it should decline": drawn(smalltalk.unknown),
        "Counting, up to 71 numbers": drawn(smalltalk.count),
    }


def scored(pairs: list[Pair], answers: list[str]) -> dict[str, int]:
    """Counts exact answers, and valid JSON where JSON was due."""
    exact = sum(
        answer == given or (parsed(answer) is not None and parsed(answer) == parsed(given))
        for (_, answer), given in zip(pairs, answers, strict=True)
    )
    valid = sum(isinstance(parsed(given), dict) for given in answers)
    due = sum(isinstance(parsed(answer), dict) for _, answer in pairs)
    return {"asked": len(pairs), "exact": exact} | ({"valid_json": valid} if due else {})


def by_intent(pairs: list[Pair], answers: list[str]) -> dict[str, str]:
    """Exact answers of every intent, as `exact/asked`."""
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for (_, answer), given in zip(pairs, answers, strict=True):
        intent = json.loads(answer)["intent"]
        counts[intent][0] += parsed(answer) == parsed(given)
        counts[intent][1] += 1
    return {intent: f"{exact}/{asked}" for intent, (exact, asked) in sorted(counts.items())}


def examples(engine: OnnxDecoder, folder: Path) -> dict[str, int]:
    """Checks the example prompts that ship with the model."""
    wanted = json.loads((folder / "examples.json").read_text())["examples"]
    given = ask(engine, [one["prompt"] for one in wanted])
    wrong = [one["prompt"] for one, answer in zip(wanted, given, strict=True) if one["answer"] != answer]
    for prompt in wrong:
        print("example answered otherwise:", prompt)
    return {"asked": len(wanted), "exact": len(wanted) - len(wrong)}


def evaluate(folder: Path, report: Path) -> None:
    """Runs all cases, prints a table and writes the report as JSON."""
    engine, rows, intents_scored = OnnxDecoder(folder), {}, {}
    for name, pairs in cases().items():
        answers = ask(engine, [prompt for prompt, _ in pairs])
        rows[name] = scored(pairs, answers)
        if name == "JSON: unseen templates, unseen words":
            intents_scored = by_intent(pairs, answers)
        if name.startswith("JSON: unseen"):
            misses = [(p, g) for (p, a), g in zip(pairs, answers, strict=True) if parsed(a) != parsed(g)]
            rows[name]["misses"] = misses[:8]
    if (folder / "examples.json").exists():
        rows["Examples that ship with it"] = examples(engine, folder)
    print("| question | exact | valid JSON |\n|---|---|---|")
    for name, row in rows.items():
        valid = f"{row['valid_json']} of {row['asked']}" if "valid_json" in row else ""
        print(f"| {name} | {row['exact']} of {row['asked']} | {valid} |")
    report.write_text(json.dumps({"seed": SEED, "rows": rows, "by_intent": intents_scored}, indent=1) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("services/tether_worker/demo"))
    parser.add_argument("--report", type=Path, default=Path(__file__).parent / "evaluation.json")
    options = parser.parse_args()
    evaluate(options.folder, options.report)
