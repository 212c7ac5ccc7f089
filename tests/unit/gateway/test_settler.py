"""Ends on their way into the store: tried, journaled, sent again after a restart."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from tether.errors import Reason, TetherError
from tether.node.journal import Journal
from tether.v1 import infer_pb2, placement_pb2
from tether_gateway.settler import Settled, Settler

DONE, CANCELLED = infer_pb2.JOB_STATE_DONE, infer_pb2.JOB_STATE_CANCELLED
COMMITTED, PENDING = infer_pb2.Infer.SETTLEMENT_COMMITTED, infer_pb2.Infer.SETTLEMENT_PENDING
AWAY = TetherError(Reason.STORE_UNAVAILABLE, "the store is away")


class Store:
    """Writes ends unless it is away; counts."""

    def __init__(self) -> None:
        self.fault: TetherError | None = None
        self.held: infer_pb2.JobState.ValueType | None = None
        self.settlement = COMMITTED
        self.gate: asyncio.Event | None = None
        self.asked = 0
        self.written: list[bytes] = []

    async def complete(self, request: placement_pb2.CompleteRequest) -> placement_pb2.CompleteResponse:
        self.asked += 1
        if self.gate is not None:
            await self.gate.wait()
        if self.fault is not None:
            raise self.fault
        self.written.append(request.job_id)
        return placement_pb2.CompleteResponse(outcome=self.held or request.outcome, settlement=self.settlement)


def end(number: int = 1) -> placement_pb2.CompleteRequest:
    return placement_pb2.CompleteRequest(job_id=bytes([number]) * 16, epoch=1, outcome=DONE)


def late() -> asyncio.Event:
    event = asyncio.Event()
    event.set()
    return event


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.001)


@pytest.fixture
def store() -> Store:
    return Store()


async def opened(folder: Path) -> Journal:
    return await Journal.open(folder / "ends", bytes_max=1 << 20)


def settler(store: Store, journal: Journal | None, try_s: float = 1.0) -> Settler:
    made = Settler(store, journal, try_s, chance=lambda: 0.01)
    made.start()
    return made


async def test_end_is_committed_and_not_journaled(store: Store, tmp_path: Path) -> None:
    journal = await opened(tmp_path)
    made = settler(store, journal)
    assert await made.settle(end(), asyncio.Event()) == Settled(DONE, COMMITTED)
    assert journal.entries() == []
    await made.close()
    await journal.close()


async def test_orchestrators_journal_counts_as_pending(store: Store) -> None:
    store.settlement = PENDING
    made = settler(store, None)
    assert await made.settle(end(), asyncio.Event()) == Settled(DONE, PENDING)
    await made.close()


async def test_first_outcome_holds(store: Store) -> None:
    store.held = CANCELLED
    made = settler(store, None)
    assert await made.settle(end(), asyncio.Event()) == Settled(CANCELLED, COMMITTED)
    await made.close()


async def test_fault_is_tried_again_before_it_is_late(store: Store) -> None:
    store.fault = AWAY
    made = settler(store, None)
    running = asyncio.create_task(made.settle(end(), asyncio.Event()))
    await until(lambda: store.asked >= 3)
    store.fault = None
    assert (await running).settlement == COMMITTED
    await made.close()


async def test_late_end_leaves_pending_and_is_written_when_the_store_is_back(store: Store, tmp_path: Path) -> None:
    journal = await opened(tmp_path)
    store.fault = AWAY
    made = settler(store, journal, try_s=0.02)
    assert await made.settle(end(), late()) == Settled(DONE, PENDING)
    assert len(journal.entries()) == 1
    store.fault = None
    await until(lambda: not journal.entries())
    assert store.written == [end().job_id]
    await made.close()
    await journal.close()


async def test_delivered_end_that_is_undecided_stays_until_the_job_has_an_end(store: Store, tmp_path: Path) -> None:
    journal = await opened(tmp_path)
    made = settler(store, journal)
    store.held, store.gate = infer_pb2.JOB_STATE_RESERVED, asyncio.Event()
    assert await made.settle(end(), late()) == Settled(DONE, PENDING)
    store.gate.set()
    await until(lambda: store.asked > 2)
    assert [name for name, _ in journal.entries()] == [bytes([1]) * 16 + b"\1\0\0\0"]
    store.held = None
    await until(lambda: not journal.entries())
    await made.close()
    await journal.close()


@pytest.mark.parametrize(
    ("outcome", "settlement", "open_yet"),
    [
        (infer_pb2.JOB_STATE_RESERVED, COMMITTED, True),
        (infer_pb2.JOB_STATE_ABANDONED, PENDING, True),
        (infer_pb2.JOB_STATE_ABANDONED, COMMITTED, False),
        (DONE, PENDING, False),
    ],
)
def test_end_is_undecided(
    outcome: infer_pb2.JobState.ValueType, settlement: infer_pb2.Infer.Settlement.ValueType, *, open_yet: bool
) -> None:
    assert Settled(outcome, settlement).undecided is open_yet


async def test_gauge_of_journaled_ends_falls_back_to_zero(store: Store, tmp_path: Path) -> None:
    journal = await opened(tmp_path)
    store.fault = AWAY
    made = settler(store, journal, try_s=0.02)
    await made.settle(end(), late())
    await until(lambda: REGISTRY.get_sample_value("tether_gateway_journaled") == 1)
    store.fault = None
    await until(lambda: REGISTRY.get_sample_value("tether_gateway_journaled") == 0)
    await made.close()
    await journal.close()


async def test_end_survives_a_restart(store: Store, tmp_path: Path) -> None:
    store.fault = AWAY
    journal = await opened(tmp_path)
    made = settler(store, journal)
    for number in (1, 2, 3):
        assert (await made.settle(end(number), late())).settlement == PENDING
    await made.close()  # the journal is not closed: the process was killed
    store.fault = None
    again = await opened(tmp_path)
    second = settler(store, again)
    await until(lambda: not again.entries())
    assert sorted(store.written) == [bytes([number]) * 16 for number in (1, 2, 3)]
    await second.close()
    await again.close()
    await journal.close()


async def test_slow_commit_that_comes_through_leaves_the_journal_empty(store: Store, tmp_path: Path) -> None:
    journal = await opened(tmp_path)
    store.gate = asyncio.Event()
    made = settler(store, journal, try_s=5.0)
    assert (await made.settle(end(), late())).settlement == PENDING
    assert len(journal.entries()) == 1
    store.gate.set()
    await until(lambda: not journal.entries())
    assert store.written == [end().job_id]  # once: what is on its way is not sent beside
    await made.close()
    await journal.close()


async def test_neither_store_nor_journal_fails(store: Store) -> None:
    store.fault = AWAY
    made = settler(store, None, try_s=0.02)
    with pytest.raises(TetherError) as raised:
        await made.settle(end(), late())
    assert raised.value.reason is Reason.SETTLEMENT_FAILED
    await made.close()


async def test_full_journal_waits_for_the_store(store: Store, tmp_path: Path) -> None:
    journal = await Journal.open(tmp_path / "ends", bytes_max=1)
    store.gate = asyncio.Event()
    made = settler(store, journal)
    running = asyncio.create_task(made.settle(end(), late()))
    await until(lambda: store.asked)
    assert not running.done()
    store.gate.set()
    assert (await running).settlement == COMMITTED
    await made.close()
    await journal.close()


async def test_refused_end_fails_at_once_and_is_not_kept(store: Store, tmp_path: Path) -> None:
    journal = await opened(tmp_path)
    store.fault = TetherError(Reason.STALE_EPOCH, "a newer attempt runs")
    made = settler(store, journal)
    with pytest.raises(TetherError):
        await made.settle(end(), asyncio.Event())
    assert (store.asked, journal.entries()) == (1, [])
    await made.close()
    await journal.close()


async def test_journaled_end_that_is_refused_is_dropped(store: Store, tmp_path: Path) -> None:
    journal = await opened(tmp_path)
    await journal.add(b"bad", b"\xff\xff")
    await journal.add(b"stale", end().SerializeToString())
    store.fault = TetherError(Reason.JOB_UNKNOWN, "there is no such job")
    made = settler(store, journal)
    await until(lambda: not journal.entries())
    await made.close()
    await journal.close()


async def test_giving_up_is_journaled_too(store: Store, tmp_path: Path) -> None:
    journal = await opened(tmp_path)
    store.fault = AWAY
    made = settler(store, journal, try_s=0.02)
    request = end()
    request.outcome = infer_pb2.JOB_STATE_ABANDONED
    assert await made.give_up(request) == Settled(infer_pb2.JOB_STATE_ABANDONED, PENDING)
    store.fault = None
    await until(lambda: not journal.entries())
    assert store.written == [request.job_id]
    await made.close()
    await journal.close()
