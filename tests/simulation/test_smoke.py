"""A few seeds of the simulation, in processes of their own: it takes over the clocks of whoever imports it."""

import json
import os
import subprocess
import sys
from pathlib import Path

RUN = Path(__file__).parent / "run.py"
LIMIT_S = 300.0  # on a machine that is busy with everything else


def run(*arguments: str, hash_seed: str = "random") -> str:
    env = os.environ | {"PYTHONHASHSEED": hash_seed}
    done = subprocess.run(
        [sys.executable, str(RUN), *arguments], capture_output=True, text=True, timeout=LIMIT_S, check=False, env=env
    )
    assert done.returncode == 0, done.stdout + done.stderr[-2_000:]
    return done.stdout


def test_seeds_are_clean() -> None:
    told = run("--seeds", "1:24", "--jobs", "2")
    assert "24 seeds, 0 failed" in told


def test_same_seed_tells_the_same_story_in_another_process() -> None:
    one, other = run("--digest", "3:6", hash_seed="1"), run("--digest", "3:6", hash_seed="2")
    assert one == other
    assert len(set(json.loads(one).values())) == 4


def test_direct_seeds_are_clean() -> None:
    told = run("--direct", "--seeds", "1:200", "--jobs", "1")
    assert "200 seeds, 0 failed" in told
