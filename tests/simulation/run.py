"""Runs seeds of the simulation: `python tests/simulation/run.py --seeds 1:1000 --jobs 2`, or `make simulate`.

A seed that fails is named with what was wrong, and `--story SEED` tells any seed's story. The same seed at the same
commit gives the same story, byte for byte.
"""

import argparse
import hashlib
import json
import logging
import multiprocessing
import subprocess
import sys
import time
from pathlib import Path

import clock  # noqa: F401 - first: it stands in for the process's clocks
import direct
import planted
import scenario
import skew
import structlog

RESULTS = Path(__file__).parent.parent / "chaos" / "results"
structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
logging.getLogger("asyncio").setLevel(logging.CRITICAL)


def one(seed: int) -> tuple[int, list[str], float, str]:
    """Run a seed; returns what was wrong, virtual seconds, and a hash of its story."""
    sys.unraisablehook = lambda _: None  # a world that ends leaves coroutines that nobody will step again
    made = scenario.Scenario(seed)
    try:
        wrong = made.run()
    except Exception as fault:  # noqa: BLE001 - a seed that breaks the simulator is a finding too
        wrong = [*made.wrong, f"{type(fault).__name__}: {fault}"]
    world = made.world
    told = "\n".join([*world.story, f"{world.net.trace} {world.net.messages} {world.disk.commits} {world.loop.turns}"])
    return seed, wrong, world.loop.time(), hashlib.sha256(told.encode()).hexdigest()[:16]


def tell(seed: int) -> int:
    """Tell the story of a seed."""
    sys.unraisablehook = lambda _: None
    made = scenario.Scenario(seed)
    wrong = made.run()
    print(f"seed {seed}")
    for line in made.world.story:
        print(line)
    for words in wrong:
        print(f"  WRONG {words}")
    return 1 if wrong else 0


def hunt(bug: str, first: int, last: int) -> int:
    """Run seeds with a bug planted until one finds it; 0 where one does."""
    with planted.PLANTED[bug]():
        for seed in range(first, last + 1):
            wrong = one(seed)[1]
            if wrong:
                print(f"{bug}: found by seed {seed}, number {seed - first + 1}: {wrong[0]}")
                return 0
    print(f"{bug}: not found by {last - first + 1} seeds")
    return 1


def skewed(seed: int, for_s: float, *, keep: bool) -> int:
    """Run a while of wrong clocks."""
    began_s, made = time.perf_counter(), skew.SkewHour(seed, for_s)
    wrong = made.run()
    for words in wrong[:20]:
        print(f"  WRONG {words}")
    print(f"{len(made.asks)} requests, {made.steps} steps of clocks, {len(wrong)} wrong")
    if keep:
        save("R10", seed, made.steps, len(wrong), made.world.loop.time(), time.perf_counter() - began_s)
    return 1 if wrong else 0


def _seeds(text: str) -> tuple[int, int]:
    first, _, last = text.partition(":")
    return int(first), int(last or first)


def main() -> int:
    """Run seeds; exit 1 where anything was wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="1:100", help="first:last")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--story", type=int, help="tell the story of one seed")
    parser.add_argument("--direct", action="store_true", help="the quick kind: machines and rules without services")
    parser.add_argument("--digest", default="", help="tell hashes of the stories of first:last")
    parser.add_argument("--skew", type=float, default=0.0, help="row R10: so many virtual seconds of wrong clocks")
    parser.add_argument("--plant", choices=sorted(planted.PLANTED), help="plant a bug, and stop where it is found")
    parser.add_argument("--save", action="store_true", help="keep a results file")
    given = parser.parse_args()
    if given.story is not None:
        return tell(given.story)
    first, last = _seeds(given.digest or given.seeds)
    if given.digest:
        print(json.dumps({seed: one(seed)[3] for seed in range(first, last + 1)}))
        return 0
    if given.skew:
        return skewed(first, given.skew, keep=given.save)
    if given.plant:
        return hunt(given.plant, first, last)
    began_s, bad, virtual_s = time.perf_counter(), 0, 0.0
    kind, chunk = (direct.one, 64) if given.direct else (one, 8)
    with multiprocessing.get_context("spawn").Pool(given.jobs, maxtasksperchild=50) as pool:
        for seed, wrong, took_s, _ in pool.imap_unordered(kind, range(first, last + 1), chunksize=chunk):
            virtual_s += took_s
            if wrong:
                bad += 1
                print(f"seed {seed}: {wrong[0]}" + (f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""))
    count, real_s = last - first + 1, time.perf_counter() - began_s
    print(
        f"{count} seeds, {bad} failed; {virtual_s:.0f} virtual seconds in {real_s:.0f} s,"
        f" {count / real_s * 60:.0f} seeds a minute"
    )
    if given.save:
        save("R21-direct" if given.direct else "R21", first, count, bad, virtual_s, real_s)
    return 1 if bad else 0


def save(name: str, first: int, count: int, bad: int, virtual_s: float, real_s: float) -> None:
    """Keep what came of it."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    found = {
        "row": name,
        "n": count,
        "seed": first,
        "failures": bad,
        "upper_bound_95": round(3 / count if not bad else bad / count, 6),
        "added_ms_p50": None,
        "added_ms_p99": None,
        "commit": commit.stdout.strip(),
        "command": " ".join(["python", *sys.argv]),
        "virtual_s": round(virtual_s),
        "seeds_per_minute": round(count / real_s * 60),
    }
    (RESULTS / f"{name}.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
