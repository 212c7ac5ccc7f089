"""Pending ends: kept over a restart, written once, and forgotten where the store refuses them for good."""

from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import pytest

from tether.errors import Reason, TetherError
from tether.job.hold import Position
from tether.job.state import State
from tether.node.journal import Journal
from tether.store.jobs import JobRow, Settled
from tether.v1.infer_pb2 import Infer
from tether_orchestrator.ending import End
from tether_orchestrator.pending import Pending

BY_GATEWAY = End(
    b"j" * 16, 3, State.ABANDONED, answer=b"", error="WORKER_LOST: gone", delivered=Position(4, 5, 6), gateway="g"
)
BY_WORKER = End(
    b"k" * 16, 1, State.DONE, Infer.Receipt(body=b"b", signature=b"s"), b"answer", delivered=None, worker="w"
)


async def open_(folder: Path) -> tuple[Journal, Pending]:
    journal = await Journal.open(folder / "journal.bin", bytes_max=1 << 20)
    return journal, Pending(journal)


async def test_pending_ends_survive_a_restart_as_they_were_asked(tmp_path: Path) -> None:
    journal, pending = await open_(tmp_path)
    for end in (BY_GATEWAY, BY_WORKER, BY_WORKER):
        await pending.keep(end)
    await journal.close()
    journal, pending = await open_(tmp_path)
    written: list[End] = []

    async def write(end: End) -> None:
        written.append(end)

    await pending.write(write)
    assert written == [BY_GATEWAY, BY_WORKER]
    assert len(pending) == 0
    await journal.close()
    journal, pending = await open_(tmp_path)
    assert len(pending) == 0
    await journal.close()


async def test_pending_end_stays_while_the_store_is_gone_and_goes_when_it_is_refused(tmp_path: Path) -> None:
    journal, pending = await open_(tmp_path)
    await pending.keep(BY_GATEWAY)
    await pending.keep(replace(BY_GATEWAY, epoch=4))
    reasons = [Reason.STORE_UNAVAILABLE]

    async def write(end: End) -> None:
        raise TetherError(reasons[0], "no")

    with pytest.raises(TetherError):
        await pending.write(write)
    assert len(pending) == 2
    reasons[0] = Reason.STALE_EPOCH
    await pending.write(write)
    assert len(pending) == 0
    await journal.close()


async def test_a_worker_s_end_does_not_take_the_place_of_the_driver_s(tmp_path: Path) -> None:
    journal, pending = await open_(tmp_path)
    by_driver = replace(BY_WORKER, worker="", gateway="g")
    await pending.keep(by_driver)
    await pending.keep(BY_WORKER)
    written: list[End] = []

    async def write(end: End) -> None:
        written.append(end)

    await pending.write(write)
    assert written == [by_driver, BY_WORKER]
    assert len(pending) == 0
    await journal.close()


async def test_a_reader_s_end_does_not_take_the_place_of_the_driver_s(tmp_path: Path) -> None:
    journal, pending = await open_(tmp_path)
    by_driver = replace(BY_WORKER, worker="", gateway="g")
    by_reader = replace(by_driver, gateway="h")
    await pending.keep(by_driver)
    await pending.keep(by_reader)
    written: list[End] = []

    async def write(end: End) -> None:
        written.append(end)

    assert await pending.write(write) == 2
    assert written == [by_driver, by_reader]
    await journal.close()


async def test_pending_answer_of_a_job_that_goes_on_stays_behind_the_others(tmp_path: Path) -> None:
    journal, pending = await open_(tmp_path)
    await pending.keep(BY_WORKER)
    await pending.keep(BY_GATEWAY)
    states = [State.RESERVED]
    written: list[bytes] = []

    async def write(end: End) -> Settled:
        written.append(end.job)
        return Settled(Mock(spec=JobRow, state=states[0]), written=False)

    assert await pending.write(write) == 1
    assert len(pending) == 1
    assert await pending.write(write) == 0
    states[0] = State.DONE
    assert await pending.write(write) == 1
    assert written == [BY_WORKER.job, BY_GATEWAY.job, BY_WORKER.job, BY_WORKER.job]
    await journal.close()
