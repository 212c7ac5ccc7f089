"""The orchestrator as a process: what it acknowledged survives `kill -9`, and SIGTERM ends it in order."""

import asyncio
import contextlib
import signal
import sqlite3
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from grpc import aio

from tether.identity import Identity, Trust
from tether.identity.signature import SNAPSHOT
from tether.node.channels import Channels
from tether.node.region import prepare
from tether.store import open_jobs
from tether.testing.fake_worker import FakeWorker, report_of
from tether.testing.processes import Process, ProcessRegion
from tether.v1 import placement_pb2 as pb
from tether.v1.infer_pb2 import Infer, JobState
from tether.v1.placement_pb2_grpc import PlacementServiceStub
from tether.v1.registry_pb2 import Model, Snapshot, WatchSnapshotResponse

REGION = "local"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator["World"]:
    world = World(tmp_path)
    yield world
    await world.close()


class World:
    """An orchestrator process, a fake worker and a gateway's calls."""

    def __init__(self, folder: Path) -> None:
        self.region = ProcessRegion(folder, REGION)
        roles = {"orchestrator": "orchestrator", "gateway": "gateway", "worker-1": "worker", "registry": "registry"}
        self.folders = prepare(folder, REGION, roles)
        self.database = self.folders["orchestrator"] / "jobs.db"
        self.worker: FakeWorker | None = None
        self.channels: Channels | None = None
        self._snapshot()

    def _snapshot(self) -> None:
        registry = Identity.load(self.folders["registry"])
        models = [Model(model_id="demo", version="1.0", digest=bytes(32), context_tokens=64)]
        body = Snapshot(network_id=registry.network_id, revision=1, models=models).SerializeToString()
        kept = WatchSnapshotResponse(
            snapshot=body, signature=registry.sign(SNAPSHOT, body), credential=registry.credential, revision=1
        )
        (self.folders["orchestrator"] / "snapshot.bin").write_bytes(kept.SerializeToString())

    async def start(self) -> Process:
        """Start the orchestrator, link the worker, open the gateway's channel."""
        await self.close_clients()
        process = await asyncio.to_thread(self.region.start, "orchestrator")
        self.node = Identity.load(self.folders["orchestrator"]).node_id
        address = process.endpoints["orchestrator"]
        folder = self.folders["worker-1"]
        identity = Identity.load(folder)
        self.worker = FakeWorker(identity, Trust.load(folder), report_of(identity, REGION, slots=100_000))
        await self.worker.dial(self.node, address)
        self.channels = Channels(Identity.load(self.folders["gateway"]))
        self.stub = PlacementServiceStub(self.channels.to(self.node, address))
        return process

    def call(self, method: str, request: Any) -> Any:
        return getattr(self.stub, method)(request, metadata=self.channels.metadata(self.node), timeout=5)

    async def place(self, number: int) -> pb.PlaceResponse:
        header = pb.Header(
            tenant_id="acme", model_id="demo", correlation_id=f"job-{number}", keyed=True,
            request_hash=number.to_bytes(32, "big"), input_bytes=5, on_disconnect=Infer.ON_DISCONNECT_DETACH,
        )  # fmt: skip
        header.timeout.FromSeconds(60)
        header.parameters.max_tokens = 8
        return await self.call("Place", pb.PlaceRequest(header=header, session_id=b"s" * 16))

    async def place_until_refused(self) -> list[pb.PlaceResponse]:
        """Place until a drain refuses it; returns what was placed before."""
        placed = []
        for number in range(2, 500):
            try:
                placed.append(await self.place(number))
            except aio.AioRpcError as error:
                if "finishes its work" not in (error.details() or ""):
                    raise
                return placed
        raise AssertionError("the drain refused nothing")

    async def close_clients(self) -> None:
        if self.worker is not None:
            await self.worker.close()
        if self.channels is not None:
            await self.channels.close()
        self.worker, self.channels = None, None

    async def close(self) -> None:
        await self.close_clients()
        for process in self.region.running.values():
            process.kill()  # a drain would wait for jobs that nobody will end
        await asyncio.to_thread(self.region.stop)


async def test_acknowledged_jobs_survive_kill_9(world: World) -> None:
    process = await world.start()
    placed: dict[int, bytes] = {}
    done: set[int] = set()

    async def caller(first: int) -> None:
        for number in range(first, 10_000, 8):
            response = await world.place(number)
            placed[number] = response.job_id
            if number % 2:
                receipt = world.worker.receipt(response.job_id, response.placed.epoch)
                outcome = JobState.JOB_STATE_DONE
                request = pb.CompleteRequest(job_id=response.job_id, epoch=1, outcome=outcome, receipt=receipt)
                await world.call("Complete", request)
                done.add(number)

    callers = [asyncio.create_task(caller(first)) for first in range(8)]
    deadline_s = time.monotonic() + 20
    while len(placed) < 200 and time.monotonic() < deadline_s:  # noqa: ASYNC110 - counts what callers did
        await asyncio.sleep(0.005)
    process.child.send_signal(signal.SIGKILL)
    failures = await asyncio.gather(*callers, return_exceptions=True)
    assert all(isinstance(failure, aio.AioRpcError) for failure in failures)
    await asyncio.to_thread(process.child.wait, 10)

    with contextlib.closing(sqlite3.connect(world.database, isolation_level=None)) as connection:
        states = dict(connection.execute("SELECT job, state FROM jobs").fetchall())
    store = await open_jobs(world.database)
    assert not await store.check()
    await store.close()
    assert len(placed) >= 200
    assert set(placed.values()) <= states.keys()
    assert all(states[placed[number]] == JobState.JOB_STATE_DONE for number in done)


async def test_restart_after_kill_9_replays_and_joins(world: World) -> None:
    process = await world.start()
    first = await world.place(1)
    process.kill()
    world.region.stop()
    await world.start()
    again = await world.place(1)
    assert (again.job_id, again.placed.epoch) == (first.job_id, 1)
    old, new = (pb.Ticket.FromString(one.placed.ticket).body for one in (first, again))
    assert pb.TicketBody.FromString(old).parameters.seed == pb.TicketBody.FromString(new).parameters.seed


async def test_sigterm_waits_for_the_running_job_and_exits_0(world: World) -> None:
    process = await world.start()
    running = [await world.place(1)]
    process.child.send_signal(signal.SIGTERM)
    running += await world.place_until_refused()
    assert process.child.poll() is None
    for response in running:
        receipt = world.worker.receipt(response.job_id, 1)
        outcome = JobState.JOB_STATE_DONE
        request = pb.CompleteRequest(job_id=response.job_id, epoch=1, outcome=outcome, receipt=receipt)
        assert (await world.call("Complete", request)).outcome == outcome
    assert await asyncio.to_thread(process.child.wait, 10) == 0


async def test_second_sigterm_ends_it_at_once(world: World) -> None:
    process = await world.start()
    await world.place(1)
    process.child.send_signal(signal.SIGTERM)
    await world.place_until_refused()
    process.child.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(process.child.wait, 10) == 128 + signal.SIGTERM


async def test_orchestrator_that_was_stopped_suspects_nobody(world: World) -> None:
    process = await world.start()
    await world.place(1)
    process.child.send_signal(signal.SIGSTOP)
    waiting = [asyncio.create_task(world.place(number)) for number in range(2, 34)]
    await asyncio.sleep(2.5)  # what is tested: over twice the silence that makes a worker suspect
    process.child.send_signal(signal.SIGCONT)
    assert [placed.placed.epoch for placed in await asyncio.gather(*waiting)] == [1] * 32
