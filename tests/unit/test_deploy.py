"""The container's files name what is there, and its health check tells the truth."""

import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tether.rpc import health, server

ROOT = Path(__file__).parents[2]
HEALTH = ROOT / "deploy" / "health.py"
CONTAINERFILE = (ROOT / "deploy" / "Containerfile").read_text(encoding="utf-8")


def check(state: Path) -> int:
    environ = os.environ | {"TETHER_STATE": str(state)}
    return subprocess.run([sys.executable, HEALTH], env=environ, capture_output=True, check=False).returncode


@pytest.fixture
async def board(tmp_path: Path) -> AsyncIterator[health.HealthBoard]:
    running, board = server.create(), health.HealthBoard()
    board.install(running)
    address = await server.bind(running, "127.0.0.1:0")
    (tmp_path / "endpoints.json").write_text(f'{{"gateway": "{address}"}}')
    await running.start()
    yield board
    await running.stop(0)


async def test_health_check_follows_the_board(board: health.HealthBoard, tmp_path: Path) -> None:
    import asyncio

    assert await asyncio.to_thread(check, tmp_path) == 1
    board.set("", serving=True)
    assert await asyncio.to_thread(check, tmp_path) == 0
    board.drain()
    assert await asyncio.to_thread(check, tmp_path) == 1


def test_health_check_without_a_region_fails(tmp_path: Path) -> None:
    assert check(tmp_path) == 1


def test_containerfile_copies_only_what_is_there_and_not_ignored() -> None:
    kept = (ROOT / "deploy" / "Containerfile.dockerignore").read_text(encoding="utf-8")
    sources = re.findall(r"^COPY (?!--)(.+) \S+$", CONTAINERFILE, re.MULTILINE)
    for source in " ".join(sources).replace(" .", "").split():
        assert (ROOT / source).exists(), source
        assert f"!{source.partition('/')[0]}" in kept or f"!{source}" in kept, source


def test_container_runs_as_an_ordinary_user() -> None:
    assert re.search(r"^USER tether$", CONTAINERFILE, re.MULTILINE)
    assert CONTAINERFILE.rindex("USER tether") < CONTAINERFILE.rindex("ENTRYPOINT")
