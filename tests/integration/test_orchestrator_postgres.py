"""Two orchestrators on one PostgreSQL: neither knows anything that the other does not, and both outlive their store."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.orchestrating import WAIT_S, Region, Session, ask, ending, until
from tether.errors import Reason, TetherError
from tether.identity import Identity, Trust
from tether.job.state import State
from tether.testing.fake_worker import FakeWorker, report_of
from tether.testing.postgres import PostgresServer, binaries
from tether.v1 import placement_pb2 as pb
from tether.v1.infer_pb2 import JobState
from tether_orchestrator.app import OrchestratorApp

pytestmark = pytest.mark.skipif(binaries() is None, reason="PostgreSQL is not installed")
LEASE_S = 1.0
BACK_S = 15.0  # a killed server recovers its log


class Two(Region):
    """A region with two orchestrators."""

    other: OrchestratorApp

    async def begin(self, url: str) -> None:
        settings = {"store": url, "session_lease_s": LEASE_S, "queue_wait_max_s": 0.2}
        await self.start(**settings)
        self.other = await self.start("other", **settings)

    async def linked(self, name: str = "worker-1") -> FakeWorker:
        """A worker with a link to each."""
        identity = Identity.load(self.folders[name])
        ends = []
        for app in (self.app, self.other):
            worker = FakeWorker(identity, Trust.load(self.folders[name]), report_of(identity, "local"))
            await worker.dial(app._node.node_id, app.endpoints()["orchestrator"])
            self._workers.append(worker)
            fleet = app._parts.fleet
            await until(lambda fleet=fleet: fleet.lives(identity.node_id, identity.incarnation), "it is known")
            ends.append(worker)
        return ends[0]

    async def close(self) -> None:
        for worker in self._workers:
            await worker.close()
        await self.other.close()
        await super().close()


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with PostgresServer() as running:
        yield running


@pytest.fixture
async def two(tmp_path: Path, server: PostgresServer) -> AsyncIterator[Two]:
    name = server.create_database()
    two = Two(tmp_path)
    await two.begin(name if "://" in name else server.url(name))
    yield two
    await two.close()


async def test_two_orchestrators_place_and_settle_as_one(two: Two) -> None:
    worker = await two.linked()
    here, there = two.stub("gateway"), two.stub("gateway", app=two.other)
    first = await here.Place(ask())
    assert (await there.Place(ask())).placed.epoch == 1
    read = await two.stub("gateway-2", app=two.other).Place(ask(session=b"o" * 16))
    assert read.joined.epoch == 1
    session = Session(there, two)
    await session.beat()
    stranger = two.stub("gateway-2", app=two.other)
    assert (await stranger.Complete(ending(first, worker))).outcome == JobState.JOB_STATE_DONE
    assert (await session.heard("outcome")).outcome.job_id == first.job_id
    assert (await here.Complete(ending(first, worker))).outcome == JobState.JOB_STATE_DONE
    assert (await here.Place(ask())).ended.job.answer.text == "hello"
    assert not await two.app._store.check()
    await session.close()


async def test_same_key_at_both_at_once_runs_once(two: Two) -> None:
    worker = await two.linked()
    places = [
        two.stub("gateway", app=app).Place(ask(f"job-{number}")) for number in range(8) for app in (two.app, two.other)
    ]
    found = await asyncio.gather(*places)
    assert len({place.job_id for place in found}) == 8
    assert {place.placed.epoch for place in found} == {1}
    first = found[0]
    ends = [two.stub("gateway", app=app).Complete(ending(first, worker)) for app in (two.app, two.other)] * 1
    assert {end.outcome for end in await asyncio.gather(*ends)} == {JobState.JOB_STATE_DONE}
    assert [usage.job for usage in await two.app._store.outbox(0, 10)] == [first.job_id]
    assert not await two.app._store.check()


async def test_reader_at_the_other_takes_over_once_the_driver_is_gone(two: Two) -> None:
    await two.linked("worker-1")
    session = Session(two.stub("gateway"), two)
    await session.beat()
    first = await two.stub("gateway").Place(ask(session=session.session))
    reader = two.stub("gateway-2", app=two.other)
    asks: dict[str, Any] = {"after_epoch": 1, "cause": pb.PLACE_CAUSE_TAKE_OVER, "session": b"o" * 16}
    for _ in range(3):  # while the driver beats at the one, it stands at the other
        await session.beat()
        await asyncio.sleep(LEASE_S / 2)
        assert (await reader.Place(ask(**asks))).joined.epoch == 1
    await session.close()
    deadline_s = time.monotonic() + WAIT_S
    while not (taken := await reader.Place(ask(**asks))).HasField("placed"):
        assert time.monotonic() < deadline_s, "the reader takes over"
        await asyncio.sleep(0.1)
    assert (taken.job_id, taken.placed.epoch) == (first.job_id, 2)


async def test_store_that_is_killed_refuses_fast_and_forgets_nothing(two: Two, server: PostgresServer) -> None:
    worker, gateway = await two.linked(), two.stub("gateway")
    first = await gateway.Place(ask())
    await asyncio.to_thread(server.stop, "immediate")  # as a crash: it recovers from its log
    await until(lambda: not two.app._parts.health.ok, "the store is known to be gone")
    asked_s = time.monotonic()
    with pytest.raises(TetherError) as caught:
        await gateway.Place(ask("two"))
    assert (caught.value.reason, time.monotonic() - asked_s < 0.05) == (Reason.STORE_UNAVAILABLE, True)
    assert (await gateway.Complete(ending(first, worker))).outcome == JobState.JOB_STATE_DONE
    await asyncio.to_thread(server.start)
    deadline_s = time.monotonic() + BACK_S
    while not two.app._parts.health.ok or (await two.app._store.get(first.job_id)).state is not State.DONE:
        assert time.monotonic() < deadline_s, "the end is written"
        await asyncio.sleep(0.05)
    assert (await gateway.Place(ask("two"))).placed.epoch == 1
    assert not await two.app._store.check()
