"""Bugs that are planted must be found; each is listed, with its rule, in planted.py.

Of the seven, these five are found within 50 seeds, and the tests below look for them:

- last-chunk-before-the-commit: clients get an end that says it is committed while its commit is on its way.
- hold-kept-by-the-abandoned: an abandoned job keeps what was held for it.
- second-outcome-written: an end that is told twice is written twice.
- read-on-from-the-beginning: a reader that comes back with a cursor gets the answer from position 0 again.
- placed-unheard: a reservation whose acknowledgement was lost is never looked for.

Two need some hundred seeds, too many for a test; `run.py --plant NAME --seeds 1:500` looks for them:

- settled-from-the-beginning: a rerun is paid for twice (found by seed 218 when this was written).
- ends-of-other-attempts: a reader is given its own attempt's end, though another one's was written (by seed 194).

The unpatched product passes the same seeds: `test_smoke.py` runs the first of them, `make simulate` all.
"""

import subprocess
import sys
from pathlib import Path

import pytest

RUN = Path(__file__).parent / "run.py"
LIMIT_S = 300.0


@pytest.mark.parametrize(
    ("bug", "seeds"),
    [
        ("last-chunk-before-the-commit", "1:20"),
        ("hold-kept-by-the-abandoned", "1:20"),
        ("second-outcome-written", "1:100"),
        ("read-on-from-the-beginning", "1:100"),
        ("placed-unheard", "1:120"),
    ],
)
def test_planted_bug_is_found(bug: str, seeds: str) -> None:
    done = subprocess.run(
        [sys.executable, str(RUN), "--plant", bug, "--seeds", seeds],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr[-2_000:]
    assert "found by seed" in done.stdout
