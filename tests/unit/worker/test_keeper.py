"""Ends outlive their worker on its disk."""

import asyncio
import time
from pathlib import Path

from tether_worker.commit import Committer
from tether_worker.keeper import FILE, Keeper

JOB = bytes(range(16))
BYTES_MAX = 1 << 20


async def until_still(keeper: Keeper) -> None:
    """Until nothing is under way."""
    async with asyncio.timeout(5):
        while "0 under way" not in repr(keeper):  # noqa: ASYNC110
            await asyncio.sleep(0.001)


async def life(folder: Path, bytes_max: int = BYTES_MAX) -> tuple[Committer, Keeper]:
    """A worker's life."""
    committer = Committer()
    keeper = Keeper(committer)
    await keeper.open(folder / FILE, bytes_max)
    return committer, keeper


def due(committer: Committer) -> list[tuple[bytes, int, bytes]]:
    return list(committer.due(time.monotonic()))


async def test_next_life_sends_what_the_last_one_could_not(tmp_path: Path) -> None:
    committer, keeper = await life(tmp_path)
    committer.ended(JOB, 7, b"body", 0, time.monotonic())
    keeper.tick()
    await until_still(keeper)
    assert committer.exposed == 0
    committer, keeper = await life(tmp_path)  # the first was killed
    assert due(committer) == [(JOB, 7, b"body")]
    committer.outcome(JOB, 7, written=True)
    keeper.tick()
    await keeper.close()
    committer, keeper = await life(tmp_path)
    assert due(committer) == []
    await keeper.close()


async def test_end_that_the_driver_writes_in_time_costs_no_write(tmp_path: Path) -> None:
    committer, keeper = await life(tmp_path)
    size = (tmp_path / FILE).stat().st_size
    committer.ended(JOB, 1, b"body", 7, time.monotonic())
    keeper.tick()
    committer.outcome(JOB, 1, written=True)
    keeper.tick()
    await keeper.close()
    assert (tmp_path / FILE).stat().st_size == size


async def test_close_keeps_what_still_waits_for_its_driver(tmp_path: Path) -> None:
    committer, keeper = await life(tmp_path)
    committer.ended(JOB, 1, b"body", 7, time.monotonic())
    await keeper.close()
    await keeper.close()
    committer, keeper = await life(tmp_path)
    assert due(committer) == [(JOB, 1, b"body")]
    await keeper.close()


async def test_full_journal_keeps_ends_in_memory_and_says_so(tmp_path: Path) -> None:
    committer, keeper = await life(tmp_path, bytes_max=10)
    committer.ended(JOB, 1, bytes(20), 0, time.monotonic())
    keeper.tick()
    await until_still(keeper)
    assert (committer.exposed, len(due(committer))) == (1, 1)
    await keeper.close()


async def test_path_that_is_a_folder_leaves_a_worker_without_a_journal(tmp_path: Path) -> None:
    (tmp_path / FILE).mkdir()
    committer, keeper = await life(tmp_path)
    committer.ended(JOB, 1, b"body", 0, time.monotonic())
    keeper.tick()
    assert (committer.exposed, len(due(committer))) == (1, 1)
    committer.outcome(JOB, 1, written=True)
    await keeper.close()
    assert len(committer) == 0
