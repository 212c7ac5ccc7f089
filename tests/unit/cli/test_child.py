"""A service as a child: ready, killed, back again, gone with its parent."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tether.cli.child import Child
from tether.errors import Reason, TetherError

SERVICE = """
import json, signal, sys
print(json.dumps({"service": "fake", "ready": True, "fake": "127.0.0.1:1"}), flush=True)
signal.sigwait({signal.SIGTERM})
"""


@pytest.fixture
def fake(tmp_path, monkeypatch):
    (tmp_path / "tether_fake.py").write_text(SERVICE)
    (tmp_path / "tether_broken.py").write_text("raise SystemExit('no such luck')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path


async def test_child_is_killed_and_comes_back(fake):
    child = Child("fake-1", {"state": fake}, fake / "log")
    await child.start()
    assert child.endpoints()["fake"] == "127.0.0.1:1"
    first = child.pid
    child.kill()
    await child.revive()
    assert child.alive
    assert child.pid != first
    await child.drain(5.0)
    assert not child.alive
    await child.close()


async def test_child_that_ends_at_once_says_why(fake):
    child = Child("broken-1", {}, fake / "log")
    with pytest.raises(TetherError) as caught:
        await child.start()
    assert caught.value.reason is Reason.UNREACHABLE
    assert "no such luck" in caught.value.message


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of its parent's death")
def test_child_dies_with_its_parent(fake):
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(fake / "log")], stdout=subprocess.PIPE, text=True, env={**os.environ}
    )
    pid = int(parent.stdout.readline())
    parent.kill()
    parent.wait(10)
    parent.stdout.close()
    until_s = time.monotonic() + 10
    while _lives(pid):
        assert time.monotonic() < until_s, "the child outlived its parent"
        time.sleep(0.01)


PARENT = """
import asyncio, pathlib, sys
from tether.cli.child import Child
async def main():
    child = Child("fake-1", {}, pathlib.Path(sys.argv[1]))
    await child.start()
    print(child.pid, flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""


def _lives(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
