"""Orphans: which open jobs nobody will end, and when they are abandoned."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from tether._native import Fleet
from tether.job.lease import Leases
from tether.job.state import State
from tether.store.jobs import Completion, Driver, JobRow, Refused, Reservation, Reserved, Settled, Subject, Worker
from tether.store.jobs_sqlite import SqliteJobStore
from tether.v1.health_pb2 import Health
from tether_orchestrator import orphan as module
from tether_orchestrator.ending import End
from tether_orchestrator.fleet import FleetView
from tether_orchestrator.orphan import Orphans, orphaned

A, B = b"a" * 16, b"b" * 16
WORKER = Worker("w" * 52, 3, "127.0.0.1:9")
LEASE_S = 5.0


class World:
    """A store with jobs, on a clock that the test moves."""

    def __init__(self, store: SqliteJobStore) -> None:
        self.now_s = 100.0
        self.store = store
        self.leases = Leases(LEASE_S, self.now_s)
        self.fleet = FleetView(Fleet(), lambda: 0)
        self.asked: list[tuple[str, bytes, int]] = []
        self.orphans = Orphans(store, self.leases, self.fleet, self, self, lambda: self.now_s)

    def ask(self, worker: str, job: bytes, epoch: int) -> None:
        self.asked.append((worker, job, epoch))

    async def write(self, end: End) -> Settled:
        [result] = await self.store.complete([Completion(end.job, end.epoch, end.outcome, error=end.error)])
        assert not isinstance(result, Refused)
        return result

    async def reserve(self, name: str, session: bytes = A, worker: Worker = WORKER) -> Reservation:
        job = self.store.job_id("t", name, "")
        subject = Subject(job, "t", name, "", True, bytes(32), "demo", "1.0", bytes(32), b"", 100)
        asked = Reservation(subject, Driver(session, "gateway"), worker, 7, 2**40 * 8)
        [result] = await self.store.reserve([asked])
        assert isinstance(result, Reserved)
        return asked

    async def row(self, asked: Reservation) -> JobRow:
        row = await self.store.get(asked.subject.job)
        assert row is not None
        return row

    async def state(self, asked: Reservation) -> State:
        return (await self.row(asked)).state

    def worker_reports(self, incarnation: int) -> None:
        report = Health.Report(
            worker_id=WORKER.node, incarnation=incarnation, sequence=1, region="local", address=WORKER.address
        )
        self.fleet.report(WORKER.node, report.SerializeToString())


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    store = await SqliteJobStore.open(tmp_path / "jobs.db")
    yield World(store)
    await store.close()


@pytest.mark.parametrize(("lapsed", "lives", "alone"), [(1, 0, 1), (1, 1, 0), (0, 0, 0), (0, 1, 0)])
async def test_orphan_has_neither_driver_nor_worker(world: World, lapsed: int, lives: int, alone: int) -> None:
    row = await world.row(await world.reserve("a"))
    asked: list[tuple[object, ...]] = []

    def alive(worker: str, incarnation: int) -> bool:
        asked.append((worker, incarnation))
        return bool(lives)

    found = orphaned([row], lambda session: bool(lapsed) and session == A, alive)
    assert found == [row] * alone
    assert set(asked) <= {(WORKER.node, WORKER.incarnation)}


async def test_sweep_waits_for_the_lease_and_releases_the_hold(world: World) -> None:
    asked = await world.reserve("a")
    world.leases.heard(A, world.now_s)
    world.now_s += LEASE_S - 0.1
    await world.orphans.sweep()
    assert await world.state(asked) is State.RESERVED
    world.now_s += 0.2
    await world.orphans.sweep()
    row = await world.row(asked)
    assert (row.state, row.held_tokens, row.error.partition(":")[0]) == (State.ABANDONED, 0, "WORKER_LOST")
    [again] = await world.store.reserve([asked])
    assert again == Reserved(2, asked.seed)  # by its key it runs again
    assert not await world.store.check()


async def test_sweep_leaves_jobs_whose_worker_lives(world: World) -> None:
    asked = await world.reserve("a")
    world.worker_reports(WORKER.incarnation)
    for _ in range(3):
        world.now_s += LEASE_S
        await world.orphans.sweep()
    assert await world.state(asked) is State.RESERVED
    assert set(world.asked) == {(WORKER.node, asked.subject.job, 1)}  # it may never have heard of the job
    world.worker_reports(WORKER.incarnation + 1)  # it was restarted: that life is over
    await world.orphans.sweep()
    assert await world.state(asked) is State.ABANDONED


async def test_sweep_after_an_outage_waits_a_lease_again(world: World) -> None:
    asked = await world.reserve("a")
    world.leases.heard(A, world.now_s)
    world.now_s += 60
    world.leases.outage(world.now_s)
    world.now_s += LEASE_S - 0.1
    await world.orphans.sweep()
    assert await world.state(asked) is State.RESERVED
    world.now_s += 0.2
    await world.orphans.sweep()
    assert await world.state(asked) is State.ABANDONED


async def test_sweep_gives_a_session_it_never_heard_of_a_lease(world: World) -> None:
    world.now_s += 60
    asked = await world.reserve("a", B)
    await world.orphans.sweep()
    assert await world.state(asked) is State.RESERVED
    world.now_s += LEASE_S
    await world.orphans.sweep()
    assert await world.state(asked) is State.ABANDONED


async def test_sweeps_reach_orphans_behind_jobs_that_are_none(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ROWS_MAX", 2)
    world.worker_reports(WORKER.incarnation)
    kept = [await world.reserve(name) for name in "abc"]
    world.now_s += 2 * LEASE_S
    asked = await world.reserve("z", B, replace(WORKER, node="gone"))
    world.leases.left(B)
    for _ in range(2):
        await world.orphans.sweep()
    assert await world.state(asked) is State.ABANDONED
    assert {await world.state(one) for one in kept} == {State.RESERVED}
