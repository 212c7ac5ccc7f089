"""The store that was promoted last is the only one that an orchestrator works on, whatever others say of themselves."""

import shutil
from pathlib import Path

import pytest

from tether.config import load
from tether.errors import Reason, TetherError
from tether.store.manage import init_jobs, promote_jobs
from tether_orchestrator.config import Config
from tether_orchestrator.store_open import DATABASE, GENERATIONS, open_store, read_seen


def config_of(state: Path) -> Config:
    return load(Config, service="orchestrator", flags={"state": state}, environ={})


async def opened(state: Path) -> int:
    store = await open_store(config_of(state))
    await store.close()
    return store.generation


async def test_old_primary_that_nobody_could_fence_is_refused_at_a_fresh_start(tmp_path: Path) -> None:
    assert await opened(tmp_path) == 1
    old = tmp_path / "old.db"
    shutil.copy(tmp_path / DATABASE, old)
    assert await promote_jobs(tmp_path / DATABASE) == 2
    assert await opened(tmp_path) == 2
    shutil.copy(old, tmp_path / DATABASE)
    for _ in range(2):
        with pytest.raises(TetherError) as caught:
            await opened(tmp_path)
        assert caught.value.reason is Reason.STORE_UNUSABLE
    assert await promote_jobs(tmp_path / DATABASE) == 2  # an operator may choose it after all
    assert await opened(tmp_path) == 2


async def test_another_store_is_taken_whatever_was_seen_before(tmp_path: Path) -> None:
    await init_jobs(tmp_path / DATABASE)
    await promote_jobs(tmp_path / DATABASE)
    assert await opened(tmp_path) == 2
    for name in (DATABASE, f"{DATABASE}-wal", f"{DATABASE}-shm"):
        (tmp_path / name).unlink(missing_ok=True)
    assert await opened(tmp_path) == 1
    assert sorted(read_seen(tmp_path / GENERATIONS).values()) == [1, 2]


@pytest.mark.parametrize("text", ["{", "[1]", '{"zz": 1}', '{"00": "many"}', "x" * 5_000])
async def test_damaged_memory_is_said(tmp_path: Path, text: str) -> None:
    (tmp_path / GENERATIONS).write_text(text)
    with pytest.raises(TetherError) as caught:
        await opened(tmp_path)
    assert caught.value.reason is Reason.STATE_UNUSABLE
