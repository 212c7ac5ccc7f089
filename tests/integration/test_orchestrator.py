"""The orchestrator as gateways, workers and operators meet it: real node, real store, real gRPC on loopback."""

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc import aio

from tests.integration.orchestrating import REGION, WAIT_S, Caller, Region, Session, ask, ending, ticket_of, until
from tether.errors import Reason, TetherError
from tether.identity import Identity, Role
from tether.identity.signature import TICKET
from tether.job.state import State
from tether.link import Kind
from tether.testing.fake_worker import FakeWorker
from tether.v1 import control_pb2 as control
from tether.v1 import placement_pb2 as pb
from tether.v1.control_pb2_grpc import ControlServiceStub
from tether.v1.infer_pb2 import Infer, JobState
from tether.v1.link_pb2 import Link
from tether.v1.placement_pb2_grpc import PlacementServiceStub


@pytest.fixture
async def region(tmp_path: Path) -> AsyncIterator[Region]:
    region = Region(tmp_path)
    await region.start()
    yield region
    await region.close()


async def test_place_gives_worker_and_a_ticket_that_holds(region: Region) -> None:
    worker, gateway = await region.worker(), region.stub("gateway")
    placed = await gateway.Place(ask())
    assert placed.placed.epoch == 1
    assert placed.placed.worker.worker_id == worker.identity.node_id
    ticket = pb.Ticket.FromString(placed.placed.ticket)
    signed = (TICKET, ticket.body, ticket.signature, ticket.credential)
    worker.trust.signed(*signed, Role.ORCHESTRATOR, time.time())
    body = ticket_of(placed)
    assert (body.job_id, body.tenant_id, body.model_id, body.version) == (placed.job_id, "acme", "demo", "1.0")
    assert body.parameters.max_tokens == 8
    assert body.parameters.HasField("seed")
    assert body.driver_id == Identity.load(region.folders["gateway"]).node_id


async def test_place_without_a_worker_is_refused_fast(region: Region) -> None:
    gateway = region.stub("gateway")
    with pytest.raises(TetherError) as caught:
        await gateway.Place(ask())
    assert caught.value.reason is Reason.NO_WORKER
    assert caught.value.retry_after_s


async def test_place_of_an_unknown_model_names_the_nearest(region: Region) -> None:
    with pytest.raises(TetherError, match="demo") as caught:
        await region.stub("gateway").Place(ask(model="demi"))
    assert caught.value.reason is Reason.MODEL_UNKNOWN


async def test_place_on_a_full_fleet_waits_and_is_shed_with_a_hint(tmp_path: Path) -> None:
    region = Region(tmp_path)
    await region.start(queue_wait_max_s=0.1)
    await region.worker(slots=2)
    gateway = region.stub("gateway")
    await gateway.Place(ask("a"))
    await gateway.Place(ask("b"))
    with pytest.raises(TetherError) as caught:
        await gateway.Place(ask("c"))
    assert caught.value.reason is Reason.OVERLOADED
    assert caught.value.retry_after_s is not None
    await region.close()


async def test_place_while_the_model_loads_waits_and_is_no_worker_at_last(region: Region) -> None:
    await region.worker(loading=True)
    asked = ask()
    asked.header.timeout.FromMilliseconds(500)
    with pytest.raises(TetherError, match="1 worker is loading demo:1.0") as caught:
        await region.stub("gateway").Place(asked)
    assert caught.value.reason is Reason.NO_WORKER
    assert caught.value.retry_after_s


async def test_place_again_by_its_driver_is_the_same_attempt(region: Region) -> None:
    await region.worker()
    gateway = region.stub("gateway")
    first, second = await gateway.Place(ask()), await gateway.Place(ask())
    assert (second.job_id, second.placed.epoch) == (first.job_id, 1)
    assert second.placed.worker == first.placed.worker
    assert ticket_of(first).parameters.seed == ticket_of(second).parameters.seed


async def test_place_by_another_gateway_joins(region: Region) -> None:
    worker = await region.worker()
    first = await region.stub("gateway").Place(ask())
    second = await region.stub("gateway-2").Place(ask(session=b"o" * 16))
    assert (second.job_id, second.joined.epoch) == (first.job_id, 1)
    assert second.joined.worker.worker_id == worker.identity.node_id


async def test_same_key_sixteen_times_at_once_runs_once_and_is_billed_once(region: Region) -> None:
    worker = await region.worker(slots=32)
    gateways = [(region.stub("gateway"), b"s" * 16), (region.stub("gateway-2"), b"o" * 16)]
    asks = [gateway.Place(ask(session=session)) for gateway, session in gateways * 8]
    places = await asyncio.gather(*asks)
    assert len({place.job_id for place in places}) == 1
    drivers = {number % 2 for number, place in enumerate(places) if place.HasField("placed")}
    assert len(drivers) == 1
    driven = next(place for place in places if place.HasField("placed"))
    ends = await asyncio.gather(*(gateways[n % 2][0].Complete(ending(driven, worker)) for n in range(16)))
    assert {end.outcome for end in ends} == {JobState.JOB_STATE_DONE}
    again = await asyncio.gather(*(gateway.Place(ask(session=session)) for gateway, session in gateways * 8))
    assert {place.ended.job.answer.text for place in again} == {"hello"}
    store = region.app._store
    assert [usage.job for usage in await store.outbox(0, 10)] == [driven.job_id]
    assert not await store.check()


async def test_place_of_another_body_conflicts(region: Region) -> None:
    await region.worker()
    gateway = region.stub("gateway")
    await gateway.Place(ask())
    with pytest.raises(TetherError) as caught:
        await gateway.Place(ask(body="else"))
    assert caught.value.reason is Reason.JOB_CONFLICT


async def test_place_after_the_end_gets_answer_and_receipt_even_without_workers(region: Region) -> None:
    worker, gateway = await region.worker(), region.stub("gateway")
    placed = await gateway.Place(ask())
    done = await gateway.Complete(ending(placed, worker))
    assert done.outcome == JobState.JOB_STATE_DONE
    await worker.close()
    again = await gateway.Place(ask())
    assert again.ended.job.answer.text == "hello"
    assert again.ended.job.receipt.body == ending(placed, worker).receipt.body
    assert (again.ended.job.usage.input_tokens, again.ended.job.usage.output_tokens) == (3, 5)
    assert again.ended.job.held_tokens == 0


async def test_place_of_an_abandoned_job_runs_it_again_with_its_seed(region: Region) -> None:
    await region.worker()
    gateway = region.stub("gateway")
    first = await gateway.Place(ask())
    lost = pb.CompleteRequest(
        job_id=first.job_id, epoch=1, outcome=JobState.JOB_STATE_ABANDONED, error="WORKER_LOST: gone",
        delivered=Infer.Position(tokens=2, bytes=4),
    )  # fmt: skip
    assert (await gateway.Complete(lost)).outcome == JobState.JOB_STATE_ABANDONED
    second = await gateway.Place(ask())
    assert (second.job_id, second.placed.epoch) == (first.job_id, 2)
    assert ticket_of(first).parameters.seed == ticket_of(second).parameters.seed


async def test_resume_of_an_abandoned_unkeyed_job_runs_it_again_and_a_repeat_does_not(region: Region) -> None:
    await region.worker()
    gateway, asked = region.stub("gateway"), ask()
    asked.header.keyed = False
    first = await gateway.Place(asked)
    lost = pb.CompleteRequest(job_id=first.job_id, epoch=1, outcome=JobState.JOB_STATE_ABANDONED)
    await gateway.Complete(lost)
    assert (await gateway.Place(asked)).ended.job.state == JobState.JOB_STATE_ABANDONED
    asked.cause = pb.PLACE_CAUSE_RESUME
    second = await gateway.Place(asked)
    assert (second.job_id, second.placed.epoch) == (first.job_id, 2)
    assert ticket_of(first).parameters.seed == ticket_of(second).parameters.seed


async def test_place_again_elsewhere_raises_the_epoch(region: Region) -> None:
    first_worker = await region.worker()
    gateway = region.stub("gateway")
    first = await gateway.Place(ask())
    second_worker = await region.worker("worker-2")
    again = await gateway.Place(ask(after_epoch=1, cause=pb.PLACE_CAUSE_REFUSED))
    assert again.placed.epoch == 2
    assert first.placed.worker.worker_id == first_worker.identity.node_id
    assert again.placed.worker.worker_id == second_worker.identity.node_id


async def test_complete_with_a_forged_receipt_is_refused(region: Region) -> None:
    worker, gateway = await region.worker(), region.stub("gateway")
    placed = await gateway.Place(ask())
    forged = ending(placed, worker)
    forged.receipt.signature = bytes(64)
    with pytest.raises(TetherError) as caught:
        await gateway.Complete(forged)
    assert caught.value.reason is Reason.NODE_TOKEN_INVALID
    assert (await gateway.Complete(ending(placed, worker))).outcome == JobState.JOB_STATE_DONE


async def test_complete_by_a_worker_that_does_not_run_it_is_refused(region: Region) -> None:
    await region.worker()
    gateway = region.stub("gateway")
    placed = await gateway.Place(ask())
    stranger = await region.worker("worker-2", model="idle")
    with pytest.raises(TetherError) as caught:
        await gateway.Complete(ending(placed, stranger))
    assert caught.value.reason is Reason.ROLE_FORBIDDEN


async def test_complete_keeps_no_answer_that_disagrees_with_its_receipt(region: Region) -> None:
    worker, gateway = await region.worker(), region.stub("gateway")
    placed = await gateway.Place(ask())
    request = ending(placed, worker)
    request.answer = Infer.Payload(text="another answer").SerializeToString()
    await gateway.Complete(request)
    assert not (await gateway.Place(ask())).ended.job.HasField("answer")


async def test_cancel_wins_over_a_later_answer(region: Region) -> None:
    worker, gateway = await region.worker(), region.stub("gateway")
    placed = await gateway.Place(ask())
    cancel = pb.CompleteRequest(job_id=placed.job_id, epoch=1, outcome=JobState.JOB_STATE_CANCELLED)
    assert (await gateway.Complete(cancel)).outcome == JobState.JOB_STATE_CANCELLED
    assert (await gateway.Complete(ending(placed, worker))).outcome == JobState.JOB_STATE_CANCELLED
    job, epoch, outcome = await worker.outcome()
    assert (job, epoch, outcome.outcome) == (placed.job_id, 1, JobState.JOB_STATE_CANCELLED)


async def test_worker_commits_over_its_link_and_the_driver_is_told(region: Region) -> None:
    worker, gateway = await region.worker(), region.stub("gateway")
    session = Session(gateway, region)
    await session.beat()
    placed = await gateway.Place(ask())
    receipt = worker.receipt(placed.job_id, 1)
    body = Link.Complete(receipt=receipt, outcome=JobState.JOB_STATE_DONE)
    worker.complete(placed.job_id, 1, body)
    job, _epoch, outcome = await worker.outcome()
    assert (job, outcome.outcome, outcome.written) == (placed.job_id, JobState.JOB_STATE_DONE, True)
    told = await session.heard("outcome")
    assert (told.outcome.job_id, told.outcome.outcome) == (placed.job_id, JobState.JOB_STATE_DONE)
    await session.close()


async def test_worker_that_breaks_the_protocol_loses_its_link(region: Region) -> None:
    worker = await region.worker()
    worker._send(Kind.COMPLETE, b"\xff", b"j" * 16, 1)
    await until(lambda: not _placeable(region, worker), "its link is closed")
    operator, letters = region.stub("operator", ControlServiceStub), []
    deadline_s = time.monotonic() + WAIT_S
    while not letters:
        assert time.monotonic() < deadline_s, "the frame is kept"
        letters = (await operator.ListDeadLetters(control.ListDeadLettersRequest(reason="LINK_PROTOCOL"))).dead_letters
        await asyncio.sleep(0.02)
    assert (letters[0].peer_id, letters[0].kept) == (worker.identity.node_id, True)


async def test_end_of_a_job_waits_for_a_store_that_cannot_be_written(region: Region) -> None:
    worker, gateway = await region.worker(), region.stub("gateway")
    placed, other = await gateway.Place(ask()), await gateway.Place(ask("other"))
    with contextlib.closing(sqlite3.connect(region.folders["orchestrator"] / "jobs.db")) as shell:
        shell.execute("BEGIN IMMEDIATE")  # an operator's shell that forgot its transaction
        await until(lambda: not region.app._parts.health.ok, "the store is known to be gone")
        refused_s = time.monotonic()
        with pytest.raises(TetherError) as caught:
            await gateway.Place(ask("two"))
        assert time.monotonic() - refused_s < 0.05
        assert caught.value.reason is Reason.STORE_UNAVAILABLE
        assert caught.value.retry_after_s
        body = Link.Complete(receipt=worker.receipt(placed.job_id, 1), outcome=JobState.JOB_STATE_DONE)
        worker.complete(placed.job_id, 1, body)
        assert (await worker.outcome())[2].written
        pending = await gateway.Complete(ending(other, worker))
        assert (pending.outcome, pending.settlement) == (JobState.JOB_STATE_DONE, Infer.SETTLEMENT_PENDING)
        with pytest.raises(TetherError):  # a Cancel that is acknowledged must hold
            await gateway.Complete(pb.CompleteRequest(job_id=placed.job_id, outcome=JobState.JOB_STATE_CANCELLED))
    store = region.app._store
    for job in (placed.job_id, other.job_id):
        await until_row(store, job, State.DONE)
    assert (await gateway.Place(ask())).ended.job.receipt.body
    assert not await store.check()


async def until_row(store: Any, job: bytes, state: State) -> None:
    """Wait until the store has a job in a state."""
    deadline_s = time.monotonic() + WAIT_S
    while (await store.get(job)).state is not state:
        assert time.monotonic() < deadline_s, f"the job is not {state.name}"
        await asyncio.sleep(0.02)


async def test_worker_that_drains_gets_no_more(region: Region) -> None:
    worker, gateway = await region.worker(), region.stub("gateway")
    fleet = region.app._parts.fleet
    worker.beat(draining=True)
    await until(lambda: fleet.worker(worker.identity.node_id).standing == control.WORKER_STANDING_DRAINING, "it drains")
    with pytest.raises(TetherError) as caught:
        await gateway.Place(ask())
    assert caught.value.reason is Reason.NO_WORKER


async def test_worker_is_not_suspect_because_the_loop_was_blocked(region: Region) -> None:
    worker = await region.worker()
    scheduler = region.app._parts.scheduler
    request = scheduler.resolve(ask().header)
    time.sleep(1.5)  # noqa: ASYNC251 - what is tested: nobody listened for longer than makes a worker suspect
    assert scheduler.choose(request).node == worker.identity.node_id


async def test_worker_whose_link_ends_is_out_at_once_and_declared_dead(region: Region) -> None:
    worker, gateway = await region.worker(), region.stub("gateway")
    session = Session(gateway, region)
    await session.beat()
    started_s = time.monotonic()
    await worker.close()
    await until(lambda: not _placeable(region, worker), "it is out of rotation")
    assert time.monotonic() - started_s < 1.0
    told = await session.heard("worker_lost")
    assert (told.worker_lost.worker_id, told.worker_lost.incarnation) == (
        worker.identity.node_id,
        worker.identity.incarnation,
    )
    assert time.monotonic() - started_s < 2.0
    await session.close()


def _placeable(region: Region, worker: FakeWorker) -> bool:
    known = region.app._parts.fleet.worker(worker.identity.node_id)
    return known.standing == control.WORKER_STANDING_LIVE


async def test_job_of_a_dead_gateway_and_worker_is_taken_over(tmp_path: Path) -> None:
    region = Region(tmp_path)
    await region.start(session_lease_s=0.5)
    try:
        worker, gateway = await region.worker(), region.stub("gateway")
        first = await gateway.Place(ask())
        await worker.close()
        second_worker = await region.worker("worker-2")
        other = region.stub("gateway-2")
        fleet = region.app._parts.fleet
        node = worker.identity.node_id
        await until(lambda: not fleet.lives(node, worker.identity.incarnation), "the first worker is dead")
        leases, clock = region.app._parts.leases, region.app._parts.clock
        await until(lambda: leases.lapsed(b"s" * 16, clock.now_s()), "the session has lapsed")
        taken = await other.Place(ask(session=b"o" * 16))
        assert (taken.job_id, taken.placed.epoch) == (first.job_id, 2)
        assert taken.placed.worker.worker_id == second_worker.identity.node_id
    finally:
        await region.close()


async def test_job_that_a_dead_gateway_never_started_is_taken_over(tmp_path: Path) -> None:
    region = Region(tmp_path)
    await region.start(session_lease_s=0.5)
    try:
        worker, gateway, other = await region.worker(), region.stub("gateway"), region.stub("gateway-2")
        first = await gateway.Place(ask())
        joined = await other.Place(ask(session=b"o" * 16, after_epoch=1))
        assert joined.joined.epoch == 1
        leases, clock = region.app._parts.leases, region.app._parts.clock
        await until(lambda: leases.lapsed(b"s" * 16, clock.now_s()), "the session has lapsed")
        assert (await other.Place(ask(session=b"o" * 16))).joined.epoch == 1  # its worker may run it: read there first
        taken = await other.Place(ask(session=b"o" * 16, after_epoch=1))
        assert (taken.job_id, taken.placed.epoch) == (first.job_id, 2)
        assert taken.placed.worker.worker_id == worker.identity.node_id
    finally:
        await region.close()


async def test_session_answers_beats_and_keeps_its_row(region: Region) -> None:
    session = Session(region.stub("gateway"), region)
    answer = await session.beat()
    assert (answer.beat.beat, answer.beat.lease.ToMilliseconds()) == (1, 5_000)
    store = region.app._store
    deadline_s = time.monotonic() + WAIT_S
    while not await store.sessions():
        assert time.monotonic() < deadline_s
        await asyncio.sleep(0.02)
    [row] = await store.sessions()
    assert (row.session, row.node) == (b"s" * 16, session.node)
    await session.close()


async def test_session_of_another_node_is_refused(region: Region) -> None:
    session = Session(region.stub("gateway-2"), region)
    session.requests.put_nowait(pb.SessionRequest(session_id=b"s" * 16, node_id=session.node, beat=1))
    with pytest.raises(aio.AioRpcError) as caught:
        await session.heard("beat")
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_model_that_keeps_failing_is_tried_by_one_probe_at_a_time(region: Region) -> None:
    await region.worker(slots=100)
    gateway = region.stub("gateway")
    session = Session(gateway, region)
    await session.beat()
    for number in range(10):
        placed = await gateway.Place(ask(f"job-{number}"))
        failed = pb.CompleteRequest(
            job_id=placed.job_id, epoch=1, outcome=JobState.JOB_STATE_FAILED, error="ENGINE_FAILED: broke"
        )
        await gateway.Complete(failed)
    told = await session.heard("breaker")
    assert (told.breaker.model_id, told.breaker.region, told.breaker.state) == ("demo", REGION, "open")
    with pytest.raises(TetherError, match="failed lately"):
        await gateway.Place(ask("refused"))
    probe = await place_when_it_may(gateway, "probe")
    with pytest.raises(TetherError, match="failed lately"):
        await gateway.Place(ask("behind-the-probe"))
    worker = region._workers[0]
    await gateway.Complete(ending(probe, worker))
    assert (await gateway.Place(ask("closed-again"))).placed.epoch == 1
    await session.close()


async def place_when_it_may(gateway: Caller, name: str) -> pb.PlaceResponse:
    """Place again and again until a breaker lets it through."""
    deadline_s = time.monotonic() + WAIT_S
    while time.monotonic() < deadline_s:
        try:
            return await gateway.Place(ask(name))
        except TetherError as error:
            if "failed lately" not in error.message:
                raise
        await asyncio.sleep(0.05)
    raise AssertionError("the breaker lets no probe through")


async def test_explain_shows_candidates_and_what_was_removed(region: Region) -> None:
    worker = await region.worker()
    other = await region.worker("worker-2", model="idle")
    explained = await region.stub("operator").Explain(pb.ExplainRequest(header=ask().header))
    assert [one.worker_id for one in explained.candidates] == [worker.identity.node_id]
    assert sum(term.value for term in explained.candidates[0].terms) == pytest.approx(explained.candidates[0].score)
    assert [(one.worker_id, one.rule) for one in explained.removed] == [(other.identity.node_id, "model")]
    assert (explained.model_id, explained.version) == ("demo", "1.0")


async def test_operator_lists_workers_and_jobs(region: Region) -> None:
    worker = await region.worker()
    placed = await region.stub("gateway").Place(ask())
    operator = region.stub("operator", ControlServiceStub)
    workers = (await operator.ListWorkers(control.ListWorkersRequest())).workers
    assert [(one.name, one.standing) for one in workers] == [(worker.identity.node_id, control.WORKER_STANDING_LIVE)]
    jobs = (await operator.ListJobs(control.ListJobsRequest(tenant_id="acme"))).jobs
    assert [(one.name, one.state, one.held_tokens) for one in jobs] == [
        (placed.job_id.hex(), JobState.JOB_STATE_RESERVED, 13)
    ]
    found = await operator.LookupJob(control.LookupJobRequest(tenant_id="acme", correlation_id="one"))
    assert found.job.name == placed.job_id.hex()


async def test_lookup_of_another_tenants_job_finds_nothing(region: Region) -> None:
    await region.worker()
    placed = await region.stub("gateway").Place(ask())
    operator = region.stub("operator", ControlServiceStub)
    with pytest.raises(TetherError) as caught:
        await operator.LookupJob(control.LookupJobRequest(job_id=placed.job_id.hex(), tenant_id="other"))
    assert caught.value.reason is Reason.JOB_UNKNOWN


async def test_watch_shows_the_fleet_and_then_what_changes(region: Region) -> None:
    worker = await region.worker()
    watch = region.stub("operator", ControlServiceStub).stream("WatchWorkers", control.WatchWorkersRequest())
    first = await watch.read()
    assert (first.worker.name, first.worker.standing) == (worker.identity.node_id, control.WORKER_STANDING_LIVE)
    await worker.close()
    standings = set()
    while control.WORKER_STANDING_DEAD not in standings:
        standings.add((await watch.read()).worker.standing)
    watch.cancel()


async def test_gateway_may_not_list_and_client_may_not_place(region: Region) -> None:
    gateway = region.stub("gateway", ControlServiceStub)
    with pytest.raises(TetherError) as caught:
        await gateway.ListWorkers(control.ListWorkersRequest())
    assert caught.value.reason is Reason.ROLE_FORBIDDEN
    async with aio.insecure_channel(region.target[1]) as channel:
        with pytest.raises(aio.AioRpcError) as refused:
            await PlacementServiceStub(channel).Place(ask(), timeout=WAIT_S)
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_place_with_a_malformed_header_names_the_field(region: Region) -> None:
    request = ask()
    request.header.request_hash = b"short"
    with pytest.raises(TetherError) as caught:
        await region.stub("gateway").Place(request)
    assert (caught.value.reason, caught.value.field) == (Reason.INVALID_FIELD, "request_hash")


async def test_drain_refuses_new_jobs_and_waits_for_running_ones(region: Region) -> None:
    worker, gateway = await region.worker(), region.stub("gateway")
    placed = await gateway.Place(ask())
    draining = asyncio.create_task(region.app.drain(WAIT_S))
    gate = region.app._parts.gate
    await until(lambda: gate.draining, "it drains")
    with pytest.raises(TetherError) as caught:
        await gateway.Place(ask("two"))
    assert caught.value.reason is Reason.DRAINING
    assert not draining.done()
    assert (await gateway.Complete(ending(placed, worker))).outcome == JobState.JOB_STATE_DONE
    await asyncio.wait_for(draining, WAIT_S)


async def test_restart_keeps_jobs_and_answers(region: Region) -> None:
    worker, gateway = await region.worker(), region.stub("gateway")
    placed = await gateway.Place(ask())
    await gateway.Complete(ending(placed, worker))
    open_job = await gateway.Place(ask("two"))
    await worker.close()
    await region.app.close()
    await region.start()
    await region.worker()
    gateway = region.stub("gateway")
    assert (await gateway.Place(ask())).ended.job.answer.text == "hello"
    again = await gateway.Place(ask("two"))
    assert (again.job_id, again.placed.epoch) == (open_job.job_id, 1)
    assert not await region.app._store.check()


async def test_job_of_a_dead_gateway_and_a_dead_worker_is_released_and_runs_again_by_its_key(tmp_path: Path) -> None:
    region = Region(tmp_path)
    await region.start(session_lease_s=0.5)
    try:
        worker, gateway = await region.worker(), region.stub("gateway")
        placed = await gateway.Place(ask())
        await worker.close()
        operator, wanted = region.stub("operator", ControlServiceStub), control.LookupJobRequest()
        wanted.job_id = placed.job_id.hex()
        deadline_s = time.monotonic() + 2 * WAIT_S
        while (job := (await operator.LookupJob(wanted)).job).state != JobState.JOB_STATE_ABANDONED:
            assert time.monotonic() < deadline_s, job
            await asyncio.sleep(0.02)
        assert job.held_tokens == 0
        await region.worker("worker-2")
        again = await region.stub("gateway-2").Place(ask(session=b"o" * 16))
        assert (again.job_id, again.placed.epoch) == (placed.job_id, 2)
        assert not await region.app._store.check()
    finally:
        await region.close()


async def test_second_orchestrator_with_another_store_refuses_to_start(region: Region) -> None:
    overlay = region.app.endpoints()["orchestrator-overlay"]
    with pytest.raises(TetherError, match="PostgreSQL") as caught:
        await region.start("other", bootstrap=(overlay,))
    assert caught.value.reason is Reason.STATE_UNUSABLE
    assert region.target[0] in caught.value.message
