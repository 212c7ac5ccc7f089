"""An orchestrator whose store is gone: what runs from leased quota, what is refused, and what is billed in the end."""

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.orchestrating import WAIT_S, Region, Session, ask, ending, ticket_of, until
from tether.errors import Reason, TetherError
from tether.job.state import State
from tether.v1 import placement_pb2 as pb
from tether.v1 import policy_pb2 as policy
from tether.v1.infer_pb2 import Infer, JobState
from tether.v1.registry_pb2 import Quota, Tenant

RULE = policy.PolicyRule(name="go-on", without_store=policy.ALLOWANCE_ALLOWANCE)
PRICE = policy.Price(model_id="demo", version=3, input_micros=1_000, output_micros=2_000)


@pytest.fixture
async def region(tmp_path: Path) -> AsyncIterator[Region]:
    tenants = [Tenant(name="acme", quota=Quota(tokens_per_day=10_000))]
    region = Region(tmp_path, policies=[policy.Policy(version=1, rules=[RULE])], prices=[PRICE], tenants=tenants)
    await region.start(slice_tokens=1_000, queue_wait_max_s=0.2)
    yield region
    await region.close()


def unkeyed(name: str, **more: Any) -> pb.PlaceRequest:
    request = ask(name, **more)
    request.header.keyed = False
    return request


@contextlib.contextmanager
def gone(region: Region) -> Iterator[None]:
    """Nobody can write the store: an operator's shell forgot its transaction."""
    with contextlib.closing(sqlite3.connect(region.folders["orchestrator"] / "jobs.db")) as shell:
        shell.execute("BEGIN IMMEDIATE")
        yield


async def leased(region: Region, workers: Any) -> None:
    """Let the tenant ask for something, so that a slice of its quota is held."""
    gateway = region.stub("gateway")
    placed = await gateway.Place(unkeyed("before"))
    worker = workers[placed.placed.worker.worker_id] if isinstance(workers, dict) else workers
    await gateway.Complete(ending(placed, worker))
    await until(lambda: len(region.app._parts.slices) == 1, "a slice is held")


async def imported(region: Region) -> None:
    await until(lambda: region.app._parts.health.ok, "the store is back")
    await until(lambda: len(region.app._parts.offline) == 0, "the job is imported")


async def test_unkeyed_job_runs_without_the_store_and_is_billed_once(region: Region) -> None:
    worker, gateway = await region.worker(), region.stub("gateway")
    await leased(region, worker)
    parts = region.app._parts
    with gone(region):
        await until(lambda: not parts.health.ok, "the store is known to be gone")
        with pytest.raises(TetherError) as caught:
            await gateway.Place(ask("keyed"))
        assert caught.value.reason is Reason.STORE_UNAVAILABLE
        placed = await gateway.Place(unkeyed("offline"))
        assert placed.placed.without_store
        again = await gateway.Place(unkeyed("offline"))
        assert (again.job_id, again.placed.epoch) == (placed.job_id, 1)
        done = await gateway.Complete(ending(placed, worker))
        assert (done.outcome, done.settlement) == (JobState.JOB_STATE_DONE, Infer.SETTLEMENT_PENDING)
        assert (await gateway.Complete(ending(placed, worker))).settlement == Infer.SETTLEMENT_PENDING
    await imported(region)
    store = region.app._store
    row = await store.get(placed.job_id)
    assert (row.state, row.settled.input_tokens, row.settled.output_tokens, row.cost_micros) == (State.DONE, 3, 5, 13)
    assert [usage.job for usage in await store.outbox(0, 10)].count(placed.job_id) == 1
    assert not await store.check()
    assert not (await store.verify_quotas("")).violations


async def test_job_without_the_store_goes_on_at_another_worker(region: Region) -> None:
    workers = {(one := await region.worker(name)).identity.node_id: one for name in ("worker-1", "worker-2")}
    gateway = region.stub("gateway")
    await leased(region, workers)
    with gone(region):
        await until(lambda: not region.app._parts.health.ok, "the store is known to be gone")
        first = await gateway.Place(unkeyed("offline"))
        lost = unkeyed("offline", after_epoch=1, cause=pb.PLACE_CAUSE_WORKER_LOST)
        second = await gateway.Place(lost)
        assert second.placed.epoch == 2
        assert second.placed.worker.worker_id != first.placed.worker.worker_id
        assert second.placed.seed == first.placed.seed
        with pytest.raises(TetherError):
            await gateway.Complete(ending(first, workers[first.placed.worker.worker_id]))
        await gateway.Complete(ending(second, workers[second.placed.worker.worker_id]))
    await imported(region)
    assert not await region.app._store.check()


async def test_end_of_a_job_without_the_store_waits_for_who_placed_it(region: Region) -> None:
    worker, gateway = await region.worker(), region.stub("gateway")
    await leased(region, worker)
    other = await region.start("other")  # has a store of its own: it knows nothing of the job
    elsewhere = region.stub("gateway", app=other)
    try:
        with gone(region):
            await until(lambda: not region.app._parts.health.ok, "the store is known to be gone")
            placed = await gateway.Place(unkeyed("offline"))
            assert placed.placed.orchestrator_id == region.target[0] == ticket_of(placed).orchestrator_id
            end = ending(placed, worker, orchestrator_id=placed.placed.orchestrator_id)
            with pytest.raises(TetherError) as caught:
                await elsewhere.Complete(end)
            assert caught.value.reason is Reason.STORE_UNAVAILABLE  # so that its holder keeps it
            assert (await gateway.Complete(end)).settlement == Infer.SETTLEMENT_PENDING
        await imported(region)
        assert (await gateway.Complete(end)).settlement == Infer.SETTLEMENT_COMMITTED
        row = await region.app._store.get(placed.job_id)
        assert (row.state, row.settled.output_tokens) == (State.DONE, 5)
        assert not await region.app._store.check()
    finally:
        await other.close()


async def test_slice_ends_what_may_run_without_the_store(region: Region) -> None:
    worker, gateway = await region.worker(slots=500), region.stub("gateway")
    await leased(region, worker)
    taken: list[pb.PlaceResponse] = []

    async def take() -> None:
        while len(taken) < 200:
            taken.append(await gateway.Place(unkeyed(f"offline-{len(taken)}")))

    with gone(region):
        await until(lambda: not region.app._parts.health.ok, "the store is known to be gone")
        with pytest.raises(TetherError) as caught:
            await take()
    assert caught.value.reason is Reason.STORE_UNAVAILABLE
    assert len(taken) == 10_000 // 16 // 13  # of the day's limit a sixteenth; 5 of the prompt and 8 of the answer each


async def test_restart_without_an_end_imports_what_the_journal_kept(region: Region) -> None:
    worker, gateway = await region.worker(), region.stub("gateway")
    await leased(region, worker)
    with gone(region):
        await until(lambda: not region.app._parts.health.ok, "the store is known to be gone")
        placed = await gateway.Place(unkeyed("offline"))
        await gateway.Complete(ending(placed, worker))
        await region.app.close()  # with the store still gone
    await region.start(slice_tokens=1_000)
    await imported(region)
    row = await region.app._store.get(placed.job_id)
    assert (row.state, row.settled.output_tokens) == (State.DONE, 5)
    assert not await region.app._store.check()


async def test_beat_says_whether_the_store_is_there_and_splits_limits(tmp_path: Path) -> None:
    tenants = [Tenant(name="acme", quota=Quota(requests_per_minute=100))]
    region = Region(tmp_path, tenants=tenants)
    await region.start()
    one = Session(region.stub("gateway"), region)
    two = Session(region.stub("gateway-2"), region, b"o" * 16, "gateway-2")
    quiet, busy = [pb.Demand(tenant_id="acme", requests=n) for n in (0, 50)]
    first = (await one.beat(demands=[busy])).beat
    assert first.store_ok
    assert [(share.tenant_id, share.requests_per_minute) for share in first.shares] == [("acme", 100.0)]
    both = (await two.beat(demands=[busy])).beat.shares[0].requests_per_minute
    other = (await one.beat(demands=[quiet])).beat.shares[0].requests_per_minute
    assert 0 < other <= both <= 100.0
    with gone(region):
        deadline_s = time.monotonic() + WAIT_S
        while (await one.beat()).beat.store_ok:
            assert time.monotonic() < deadline_s, "the beat says that the store is gone"
            await asyncio.sleep(0.05)
    await one.close()
    await two.close()
    await region.close()


async def test_limit_of_a_tenant_is_held_by_the_store(tmp_path: Path) -> None:
    tenants = [Tenant(name="acme", quota=Quota(concurrent_jobs=2))]
    region = Region(tmp_path, tenants=tenants)
    await region.start()
    worker, gateway = await region.worker(slots=10), region.stub("gateway")
    first = await gateway.Place(ask("a"))
    await gateway.Place(ask("b"))
    with pytest.raises(TetherError) as caught:
        await gateway.Place(ask("c"))
    assert (caught.value.reason, bool(caught.value.retry_after_s)) == (Reason.QUOTA_EXCEEDED, True)
    await gateway.Complete(ending(first, worker))
    assert (await gateway.Place(ask("c"))).placed.epoch == 1
    await region.close()
