"""How much does the engine cost on top of the bare model? Tokens per second at 1, 4 and 8 streams, both in one run.

The bare loop binds everything once, feeds the argmax back and does nothing else; the engine chooses, detokenises and
emits. Rounds alternate, and the best of each is kept, because other work on the machine only ever slows them.

    python bench/engine.py            prints a table and writes bench/results/engine.json
"""

import argparse
import time
from pathlib import Path

from _common import save, table

import tether_worker
from tether_worker.engine.format import read_config
from tether_worker.engine.onnx_decoder import CPU, OnnxDecoder
from tether_worker.engine.runtime import GenerationJob, Sampling, TokenPrompt
from tether_worker.engine.session import DecoderSession

DEMO = Path(tether_worker.__file__).parent / "demo"
STREAMS = (1, 4, 8)
PROMPT = tuple(range(5, 37))


def bare(session: DecoderSession, streams: int, tokens: int) -> float:
    """Tokens per second of a loop that only runs the model."""
    for row in range(streams):
        session.feed(row, list(PROMPT), 0)
    last, length = [7] * streams, len(PROMPT)
    begin = time.perf_counter()
    for step in range(tokens):
        logits = session.decode(last, [length + step] * streams)
        last = logits.argmax(axis=1).tolist()
    return streams * tokens / (time.perf_counter() - begin)


def engine(runtime: OnnxDecoder, streams: int, tokens: int, temperature: float) -> float:
    """Tokens per second of the engine, prompts not counted."""
    for index in range(streams):
        sampling = Sampling(max_tokens=tokens, temperature=temperature, seed=index)
        runtime.open(GenerationJob(key=index, prompt=TokenPrompt(PROMPT), sampling=sampling))
    made = 0
    while made < streams:  # all have read their prompts
        made += sum(len(piece.token_ids) for piece in runtime.step())
    made, begin = 0, time.perf_counter()
    while runtime.slots_free < runtime.slots_max:
        made += sum(len(piece.token_ids) for piece in runtime.step())
    return made / (time.perf_counter() - begin)


def load_ms(rounds: int) -> float:
    """Milliseconds from folder to probed engine, best of some."""
    best = float("inf")
    for _ in range(rounds):
        begin = time.perf_counter()
        OnnxDecoder(DEMO).close()
        best = min(best, time.perf_counter() - begin)
    return best * 1000


def measure(tokens: int, rounds: int) -> list[dict[str, float]]:
    """Runs all cases, alternating; keeps the best of each."""
    config = read_config(DEMO)
    session, runtime = DecoderSession(DEMO, config, max(STREAMS), CPU, 1), OnnxDecoder(DEMO)
    runtime.config = config
    runtime.encoder.table = tuple(b"x" for _ in runtime.encoder.table)
    object.__setattr__(config, "end_tokens", frozenset())  # every stream runs to its limit
    rows = []
    for streams in STREAMS:
        cases = {
            "bare": lambda n=streams: bare(session, n, tokens),
            "greedy": lambda n=streams: engine(runtime, n, tokens, 0.0),
            "sampled": lambda n=streams: engine(runtime, n, tokens, 1.0),
        }
        best = dict.fromkeys(cases, 0.0)
        for _ in range(rounds):
            best = {name: max(best[name], case()) for name, case in cases.items()}
        figures = {name: round(value, 1) for name, value in best.items()}
        rows.append({"streams": streams, **figures, "greedy_over_bare": best["greedy"] / best["bare"]})
    return rows


def main() -> None:
    """Measures, prints a table and writes the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    rows = measure(options.tokens, options.rounds)
    table(f"tokens per second, best of {options.rounds}", rows)
    load = round(load_ms(options.rounds), 1)
    print(f"\n  load and probe: {load} ms")
    save("engine", {"tokens": options.tokens, "rounds": options.rounds, "load_ms": load, "tokens_per_second": rows})


if __name__ == "__main__":
    main()
