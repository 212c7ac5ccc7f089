"""Runs one row of the chaos harness: `python tests/chaos/run.py R1 --n 1000 --seed 7`, or `make chaos ROW=R1 N=1000`.

Each row is a file `row_<name>.py` with `async def run(args: Args) -> Outcome`. All chance comes from the seed; what
processes and kernels make of it does not, so a row is repeated with many seeds rather than replayed.
"""

import argparse
import asyncio
import importlib
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROWS = sorted(path.stem.removeprefix("row_").upper() for path in Path(__file__).parent.glob("row_*.py"))


@dataclass(frozen=True)
class Args:
    """What was asked.

    Attributes:
        row: name of the row.
        n: how many, in the row's own unit.
        seed: of all chance.
        store: `sqlite` or `postgres`.
        mode: `direct` or `relay`.
        folder: for state and logs.
    """

    row: str
    n: int
    seed: int
    store: str
    mode: str
    folder: Path


def main() -> int:
    """Run a row; exit 1 where anything was wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("row", choices=ROWS)
    parser.add_argument("--n", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--store", choices=("sqlite", "postgres"), default="sqlite")
    parser.add_argument("--mode", choices=("direct", "relay"), default="direct")
    parser.add_argument("--no-save", action="store_true", help="keep no results file")
    parser.add_argument("--folder", type=Path, help="keep state and logs here")
    given = parser.parse_args()
    module = importlib.import_module(f"row_{given.row.lower()}")
    with tempfile.TemporaryDirectory(prefix="tether-chaos-") as scratch:
        args = Args(given.row, given.n, given.seed, given.store, given.mode, given.folder or Path(scratch))
        outcome = asyncio.run(module.run(args))
    outcome.facts |= {"store": given.store, "path": given.mode}
    outcome.tell()
    if not given.no_save:
        names = [given.row, given.mode, given.store]
        outcome.save("-".join(name for name in names if name not in ("direct", "sqlite")))
    return 1 if outcome.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
