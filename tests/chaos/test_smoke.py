"""Each row of the chaos harness, small: that it runs, and that nothing is lost in a few of its faults.

The figures are made by `make chaos ROW=… N=…`; here a row that reports anything wrong fails. R6B, R26 and S20 need a
minute each to say anything, and are left to that.
"""

import subprocess
import sys
from pathlib import Path

import pytest

from tether.testing.postgres import binaries

RUN = Path(__file__).parent / "run.py"
SMALL = {
    "R1": 4,
    "R2": 12,
    "R3": 40,
    "R4": 60,
    "R8": 1,
    "R11": 6,
    "R13": 3,
    "R14": 1,
    "R17": 50,
    "R18": 1,
    "R23": 2_000,
    "R24": 24,
}


def run(row: str, n: int, *more: str) -> None:
    done = subprocess.run(
        [sys.executable, str(RUN), row, "--n", str(n), "--no-save", *more],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr[-2_000:]


@pytest.mark.parametrize(("row", "n"), SMALL.items(), ids=list(SMALL))
def test_row_holds_in_the_small(row, n):
    run(row, n)


@pytest.mark.skipif(binaries() is None, reason="PostgreSQL is not installed")
@pytest.mark.parametrize(("row", "n"), [("R5", 3), ("R6", 20), ("R23", 2_000)])
def test_row_holds_in_the_small_on_postgresql(row, n):
    run(row, n, "--store", "postgres")


@pytest.mark.parametrize(("row", "n"), [("R1", 4)])
def test_row_holds_in_the_small_over_a_relay(row, n):
    run(row, n, "--mode", "relay")
