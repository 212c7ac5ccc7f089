"""What does a form cost? Milliseconds to compile it, microseconds per token to ask and tell it, and a whole answer.

The demo model's vocabulary. A walk takes random tokens that may come; the engine's rows compare the same number of
greedy tokens with and without a form, alternating, best of some rounds.

    python bench/form.py            prints tables and writes bench/results/form.json
"""

import argparse
import json
import random
import time
from pathlib import Path

from _common import save, table

import tether_worker
from tether_worker.engine.form import Form, FormKind
from tether_worker.engine.format import read_config
from tether_worker.engine.grammar import GrammarBook
from tether_worker.engine.onnx_decoder import OnnxDecoder
from tether_worker.engine.runtime import GenerationJob, Sampling, TextPrompt
from tether_worker.engine.tokenizer import PromptEncoder

DEMO = Path(tether_worker.__file__).parent / "demo"
PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 40},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
        "tags": {"type": "array", "items": {"type": "string"}, "maxItems": 8},
        "address": {"type": "object", "properties": {"city": {"type": "string"}, "zip": {"pattern": "^[0-9]{5}$"}}},
    },
    "required": ["name", "age", "tags", "address"],
}
WIDE = {"type": "object", "properties": {f"k{one}": {"type": "string", "maxLength": one + 1} for one in range(400)}}
FORMS = {
    "any object": Form(FormKind.JSON_OBJECT),
    "person": Form(FormKind.JSON_SCHEMA, json.dumps(PERSON)),
    "400 members": Form(FormKind.JSON_SCHEMA, json.dumps(WIDE)),
    "6,000 values": Form(FormKind.JSON_SCHEMA, json.dumps({"enum": [f"v{one}" for one in range(6_000)]})),
    "e-mail": Form(FormKind.REGEX, r"[a-z0-9._]+@[a-z0-9-]+\.[a-z]{2,6}"),
    "hard regex": Form(FormKind.REGEX, r".*[aeiou].{14}"),
    "a{100000}": Form(FormKind.REGEX, "a{100000}"),
}
ENDLESS = Form(FormKind.JSON_SCHEMA, '{"type":"string","minLength":100000}')


def walks(book: GrammarBook, form: Form, tokens: int) -> dict[str, float]:
    """Compile once, then walk until so many tokens were taken."""
    begin = time.perf_counter()
    compiled = book.compile(form)
    compile_ms = (time.perf_counter() - begin) * 1_000
    times_us: list[float] = []
    chance = random.Random(1)
    while len(times_us) < tokens:
        walk = compiled.begin()
        for _ in range(200):
            begin = time.perf_counter()
            mask = walk.mask()
            asked = time.perf_counter() - begin
            may = [index * 8 + bit for index, byte in enumerate(mask) if byte for bit in range(8) if byte >> bit & 1]
            if not may:
                break
            begin = time.perf_counter()
            taken = walk.take(chance.choice(may))
            times_us.append((asked + time.perf_counter() - begin) * 1e6)
            if not taken:
                break
    times_us.sort()
    quantile = {f"p{part}_us": round(times_us[len(times_us) * part // 100], 1) for part in (50, 99)}
    return {"compile_ms": round(compile_ms, 2), **quantile, "max_us": round(times_us[-1], 1)}


def streams(runtime: OnnxDecoder, count: int, tokens: int, form: Form | None) -> float:
    """Tokens per second of so many streams."""
    grammar = None if form is None else runtime.prepare(form)
    for index in range(count):
        sampling = Sampling(max_tokens=tokens, stop=() if form else ("\0",))
        job = GenerationJob(key=index, prompt=TextPrompt("Tell me"), sampling=sampling, form=form, grammar=grammar)
        runtime.open(job)
    made, begin = 0, time.perf_counter()
    while runtime.slots_free < runtime.slots_max:
        made += sum(len(piece.token_ids) for piece in runtime.step())
    return made / (time.perf_counter() - begin)


def main() -> None:
    """Measures, prints tables and writes the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=3_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    config = read_config(DEMO)
    book = GrammarBook(PromptEncoder.load(DEMO, config).table, config.end_tokens)
    book.compile(Form(FormKind.REGEX, "warm"))
    forms = [{"form": name, **walks(book, form, options.tokens)} for name, form in FORMS.items()]
    table("a form: to compile, and per token to ask and tell", forms)
    runtime = OnnxDecoder(DEMO)
    object.__setattr__(runtime.config, "end_tokens", frozenset({-1}))  # every stream runs to its limit
    rows = []
    for count in (1, 8):
        free = max(streams(runtime, count, 300, None) for _ in range(options.rounds))
        formed = max(streams(runtime, count, 300, ENDLESS) for _ in range(options.rounds))
        rows.append({"streams": count, "free": round(free), "formed": round(formed), "ratio": round(formed / free, 3)})
    table(f"greedy tokens per second, best of {options.rounds}", rows)
    save("form", {"tokens": options.tokens, "rounds": options.rounds, "forms": forms, "tokens_per_second": rows})


if __name__ == "__main__":
    main()
