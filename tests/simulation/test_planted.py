"""Bugs that are planted must be found; each is listed, with its rule, in planted.py.

- settled-from-the-beginning: a rerun is paid for twice.
- second-outcome-written: an end that is told twice is written twice.
- last-chunk-before-the-commit: clients get an end that says it is committed while its commit is on its way.
- read-on-from-the-beginning: a reader that comes back with a cursor gets the answer from position 0 again.
- hold-kept-by-the-abandoned: an abandoned job keeps what was held for it.
- ends-of-other-attempts: a reader is given its own attempt's end, though another one's was written.
- placed-unheard: a reservation whose acknowledgement was lost is never looked for.

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
        ("last-chunk-before-the-commit", "1:10"),
        ("hold-kept-by-the-abandoned", "1:20"),
        ("second-outcome-written", "1:60"),
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
