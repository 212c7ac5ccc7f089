"""Attempts as drivers and readers ask for them: continuation, take-over, races, poison, dead letters and requeue."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.orchestrating import Region, Session, ask, ending, ticket_of, until
from tether import _native
from tether.errors import Reason, TetherError
from tether.testing.fake_worker import FakeWorker
from tether.v1 import control_pb2 as control
from tether.v1 import placement_pb2 as pb
from tether.v1 import policy_pb2 as policy
from tether.v1.control_pb2_grpc import ControlServiceStub
from tether.v1.health_pb2 import Health
from tether.v1.infer_pb2 import Infer, JobState
from tether.v1.link_pb2 import Link

PRINTS = {"worker-1": b"1" * 32, "worker-2": b"2" * 32, "worker-3": b"1" * 32}


@pytest.fixture
async def region(tmp_path: Path) -> AsyncIterator[Region]:
    region = Region(tmp_path)
    await region.start(queue_wait_max_s=0.2)
    yield region
    await region.close()


async def engine(region: Region, name: str, **facts: Any) -> FakeWorker:
    """A worker whose engine has a fingerprint."""
    worker = await region.worker(name, **facts)
    ref = Health.ModelRef(model_id="demo", version="1.0", digest=bytes(32))
    one = Health.Engine(model=ref, kind="onnx", fingerprint=PRINTS[name], continuity=Infer.CONTINUITY_EXACT)
    worker.report.engines.append(one)
    worker.beat()
    parts = region.app._parts
    node = worker.identity.node_id
    await until(lambda: parts.engines.of(node, bytes(32)).fingerprint == PRINTS[name], "its engine is known")
    return worker


def again(epoch: int, *, tokens: int = 0, cause: Any = pb.PLACE_CAUSE_WORKER_LOST, **more: Any) -> pb.PlaceRequest:
    position = Infer.Position(tokens=tokens, bytes=tokens * 4)
    return ask(after_epoch=epoch, cause=cause, position=position, error="WORKER_LOST: gone", **more)


async def test_place_tells_attempts_seed_engine_and_continuity(region: Region) -> None:
    await engine(region, "worker-1")
    placed = (await region.stub("gateway").Place(ask())).placed
    assert (placed.attempts, placed.fingerprint, placed.continuity) == (1, PRINTS["worker-1"], Infer.CONTINUITY_EXACT)
    assert placed.HasField("worker")
    assert not placed.HasField("relay")


async def test_driver_goes_on_where_the_engine_is_the_same(region: Region) -> None:
    workers = {name: await engine(region, name) for name in ("worker-1", "worker-2", "worker-3")}
    gateway = region.stub("gateway")
    first = await gateway.Place(ask())
    name = next(name for name, one in workers.items() if one.identity.node_id == first.placed.worker.worker_id)
    print_ = PRINTS["worker-1"] if name != "worker-1" else PRINTS["worker-3"]
    other = await gateway.Place(again(1, tokens=100, fingerprint=print_))
    assert other.job_id == first.job_id
    assert (other.placed.epoch, other.placed.attempts) == (2, 2)
    assert other.placed.worker.worker_id != first.placed.worker.worker_id
    assert other.placed.fingerprint == print_
    assert other.placed.seed == first.placed.seed == ticket_of(other).parameters.seed
    same = await gateway.Place(again(1, tokens=100, fingerprint=print_))
    assert (same.placed.epoch, same.placed.worker) == (2, other.placed.worker)


async def test_driver_goes_on_elsewhere_where_no_engine_is_the_same(region: Region) -> None:
    one, two = await engine(region, "worker-1"), await engine(region, "worker-2")
    gateway = region.stub("gateway")
    first = await gateway.Place(ask())
    left = two if first.placed.worker.worker_id == one.identity.node_id else one
    other = await gateway.Place(again(1, fingerprint=first.placed.fingerprint))
    assert other.placed.worker.worker_id == left.identity.node_id


async def test_driver_stays_with_the_only_worker_until_the_job_is_poison(region: Region) -> None:
    one = await engine(region, "worker-1")
    gateway = region.stub("gateway")
    await gateway.Place(ask())
    for epoch in (1, 2):
        other = await gateway.Place(again(epoch))
        assert (other.placed.epoch, other.placed.worker.worker_id) == (epoch + 1, one.identity.node_id)
    assert (await gateway.Place(again(3))).ended.job.state == JobState.JOB_STATE_DEAD


async def test_driver_that_was_refused_goes_elsewhere_or_nowhere(region: Region) -> None:
    await engine(region, "worker-1")
    gateway = region.stub("gateway")
    await gateway.Place(ask())
    with pytest.raises(TetherError) as caught:
        await gateway.Place(again(1, cause=pb.PLACE_CAUSE_REFUSED))
    assert caught.value.row.again


async def test_attempt_remembers_where_it_began_and_how_the_one_before_ended(region: Region) -> None:
    await engine(region, "worker-1")
    await engine(region, "worker-2")
    gateway = region.stub("gateway")
    first = await gateway.Place(ask())
    await gateway.Place(again(1, tokens=100))
    store = region.app._store
    row = await store.get(first.job_id)
    assert (row.position.output_tokens, row.poison) == (100, 0)
    past = await store.attempts_of(first.job_id)
    assert [one.epoch for one in past] == [1, 2]
    assert (past[0].gained.output_tokens, past[0].error) == (100, "WORKER_LOST: gone")


async def test_place_after_an_attempt_that_was_never_made_is_stale(region: Region) -> None:
    await region.worker()
    gateway = region.stub("gateway")
    await gateway.Place(ask())
    with pytest.raises(TetherError) as caught:
        await gateway.Place(again(7))
    assert caught.value.reason is Reason.STALE_EPOCH


async def test_reader_joins_while_the_driver_stands_whatever_became_of_the_worker(region: Region) -> None:
    await engine(region, "worker-1")
    await engine(region, "worker-2")
    driver = Session(region.stub("gateway"), region)
    await driver.beat()
    await region.stub("gateway").Place(ask(session=driver.session))
    read = await region.stub("gateway-2").Place(again(1, session=b"o" * 16))
    assert read.joined.epoch == 1
    await driver.close()


async def test_new_attempt_is_told_to_the_other_gateways(region: Region) -> None:
    await engine(region, "worker-1")
    await engine(region, "worker-2")
    reader = Session(region.stub("gateway-2"), region, b"o" * 16, "gateway-2")
    await reader.beat()
    gateway = region.stub("gateway")
    first = await gateway.Place(ask())
    other = await gateway.Place(again(1))
    told = (await reader.heard("new_epoch")).new_epoch
    assert (told.job_id, told.epoch, told.worker) == (first.job_id, 2, other.placed.worker)
    await reader.close()


async def test_race_runs_beside_and_only_its_driver_ends_it(region: Region) -> None:
    both = [await engine(region, "worker-1"), await engine(region, "worker-2")]
    workers = {one.identity.node_id: one for one in both}
    gateway = region.stub("gateway")
    first = await gateway.Place(ask())
    second = await gateway.Place(again(1, cause=pb.PLACE_CAUSE_HEDGE, race=True))
    assert (second.placed.epoch, ticket_of(second).raced) == (2, True)
    with pytest.raises(TetherError) as caught:
        await gateway.Place(again(2, cause=pb.PLACE_CAUSE_HEDGE, race=True))
    assert caught.value.reason is Reason.STALE_EPOCH
    worker = workers[first.placed.worker.worker_id]
    stranger = region.stub("gateway-2")
    assert (await stranger.Complete(ending(first, worker))).outcome == JobState.JOB_STATE_RESERVED
    body = Link.Complete(receipt=worker.receipt(first.job_id, 1), outcome=JobState.JOB_STATE_DONE)
    worker.complete(first.job_id, 1, body)
    assert not (await worker.outcome())[2].written
    loser = workers[second.placed.worker.worker_id]
    done = await gateway.Complete(ending(first, worker))
    assert done.outcome == JobState.JOB_STATE_DONE
    for one, epoch in ((worker, 1), (loser, 2)):
        job, told, outcome = await one.outcome()
        assert (job, told, outcome.outcome) == (first.job_id, epoch, JobState.JOB_STATE_DONE)
    assert not await region.app._store.check()


async def test_relayed_job_names_its_relay_to_driver_and_readers(region: Region) -> None:
    await engine(region, "worker-1")
    request = ask()
    request.header.path = Infer.PATH_RELAY
    node, address = region.target
    placed = await region.stub("gateway").Place(request)
    assert (placed.placed.relay.worker_id, placed.placed.relay.address) == (node, address)
    assert ticket_of(placed).path == Infer.PATH_RELAY
    read = await region.stub("gateway-2").Place(ask(session=b"o" * 16))
    assert read.joined.relay == placed.placed.relay


async def test_request_of_a_dead_job_is_kept_where_policy_says_so(tmp_path: Path) -> None:
    rule = policy.PolicyRule(name="keep", retain=policy.RETAIN_REQUEST)
    region = Region(tmp_path, policies=[policy.Policy(version=1, rules=[rule])])
    await region.start(queue_wait_max_s=0.2)
    for name in ("worker-1", "worker-2", "worker-3"):
        await engine(region, name)
    session = Session(region.stub("gateway"), region)
    await session.beat()
    raw, digest = request_of("one")
    request = ask("one", session=session.session)
    request.header.request_hash = digest
    dead = await poisoned(region, request)
    assert dead.ended.retain
    request.after_epoch = 3
    assert (await region.stub("gateway").Place(request)).ended.retain  # the answer was lost: it is told again
    assert (await region.stub("gateway").Deposit(pb.DepositRequest(job_id=dead.job_id, request=raw))).kept
    operator, name = region.stub("operator", ControlServiceStub), dead.job_id.hex()
    whole = (await operator.GetDeadLetter(control.GetDeadLetterRequest(name=name))).dead_letter
    assert (whole.request, whole.kept) == (raw, True)
    job = (await operator.RequeueDeadLetter(control.RequeueDeadLetterRequest(name=name))).job
    assert job.requeues == 1
    assert (await session.heard("drive")).drive.request == raw
    await session.close()
    await region.close()


async def poisoned(region: Region, request: pb.PlaceRequest) -> pb.PlaceResponse:
    """Let a job lose three workers at its start; returns what the fourth Place gets."""
    gateway = region.stub("gateway")
    first = await gateway.Place(request)
    for epoch in (1, 2):
        request.after_epoch, request.cause = epoch, pb.PLACE_CAUSE_WORKER_LOST
        request.error = f"WORKER_LOST: {epoch}"
        placed = await gateway.Place(request)
        assert placed.placed.epoch == epoch + 1
        assert ticket_of(placed).alone is (epoch == 2)
    request.after_epoch, request.error = 3, "WORKER_LOST: 3"
    dead = await gateway.Place(request)
    assert dead.job_id == first.job_id
    return dead


async def test_job_that_kills_three_workers_is_dead_with_its_attempts(region: Region) -> None:
    for name in ("worker-1", "worker-2", "worker-3"):
        await engine(region, name)
    dead = await poisoned(region, ask())
    assert dead.ended.job.state == JobState.JOB_STATE_DEAD
    assert not dead.ended.retain  # nothing is kept where policy does not say so
    operator = region.stub("operator", ControlServiceStub)
    [letter] = (await operator.ListDeadLetters(control.ListDeadLettersRequest())).dead_letters
    assert (letter.name, letter.reason) == (dead.job_id.hex(), "POISON")
    whole = (await operator.GetDeadLetter(control.GetDeadLetterRequest(name=letter.name))).dead_letter
    assert [one.epoch for one in whole.attempts] == [1, 2, 3]
    assert len({one.worker_id for one in whole.attempts}) <= 3
    groups = (await operator.AnalyzeDeadLetters(control.AnalyzeDeadLettersRequest(by="reason"))).groups
    assert [(one.value, one.count) for one in groups] == [("POISON", 1)]
    assert not await region.app._store.check()
    await operator.DropDeadLetter(control.DropDeadLetterRequest(name=letter.name))
    with pytest.raises(TetherError):
        await operator.GetDeadLetter(control.GetDeadLetterRequest(name=letter.name))


def request_of(name: str) -> tuple[bytes, bytes]:
    """A serialized request, and its hash."""
    raw = Infer.Request(model_id="demo", input=Infer.Input(text="hello"), correlation_id=name).SerializeToString()
    return raw, _native.request_hash(raw, "acme")


async def test_dead_job_is_requeued_under_its_identity_and_driven_by_a_gateway(region: Region) -> None:
    three = [await engine(region, name) for name in ("worker-1", "worker-2", "worker-3")]
    workers = {one.identity.node_id: one for one in three}
    raw, digest = request_of("one")
    request = ask("one")
    request.header.request_hash = digest
    session = Session(region.stub("gateway"), region)
    await session.beat()
    request.session_id = session.session
    dead = await poisoned(region, request)
    operator, name = region.stub("operator", ControlServiceStub), dead.job_id.hex()
    with pytest.raises(TetherError) as caught:
        await operator.RequeueDeadLetter(control.RequeueDeadLetterRequest(name=name))
    assert (caught.value.reason, caught.value.field) == (Reason.INVALID_FIELD, "request")
    other = raw.replace(b"hello", b"hallo")
    with pytest.raises(TetherError):
        await operator.RequeueDeadLetter(control.RequeueDeadLetterRequest(name=name, request=other))
    job = (await operator.RequeueDeadLetter(control.RequeueDeadLetterRequest(name=name, request=raw))).job
    assert (job.name, job.state, job.requeues) == (name, JobState.JOB_STATE_RESERVED, 1)
    drive = (await session.heard("drive")).drive
    assert (drive.job_id, drive.request) == (dead.job_id, raw)
    placed = await region.stub("gateway").Place(
        pb.PlaceRequest(header=drive.header, session_id=session.session, after_epoch=drive.after_epoch)
    )
    assert placed.job_id == dead.job_id
    assert placed.placed.epoch == job.epoch
    done = await region.stub("gateway").Complete(ending(placed, workers[placed.placed.worker.worker_id]))
    assert done.outcome == JobState.JOB_STATE_DONE
    with pytest.raises(TetherError) as caught:
        await operator.RequeueDeadLetter(control.RequeueDeadLetterRequest(name=name, request=raw))
    assert caught.value.reason is Reason.JOB_CONFLICT
    await session.close()


async def test_deposit_is_for_the_driver_and_of_the_request_alone(region: Region) -> None:
    await region.worker()
    gateway, (raw, digest) = region.stub("gateway"), request_of("one")
    request = ask("one")
    request.header.request_hash = digest
    placed = await gateway.Place(request)
    with pytest.raises(TetherError) as caught:
        await region.stub("gateway-2").Deposit(pb.DepositRequest(job_id=placed.job_id, request=raw))
    assert caught.value.reason is Reason.ROLE_FORBIDDEN
    other = raw.replace(b"hello", b"hallo")
    with pytest.raises(TetherError) as caught:
        await gateway.Deposit(pb.DepositRequest(job_id=placed.job_id, request=other))
    assert caught.value.reason is Reason.INVALID_FIELD
    assert not (await gateway.Deposit(pb.DepositRequest(job_id=placed.job_id, request=raw))).kept
    frame = pb.DepositRequest(frame=b"\xff" * 9_000, error="LINK_PROTOCOL: no such kind", peer_id="w")
    assert (await gateway.Deposit(frame)).kept
    operator = region.stub("operator", ControlServiceStub)
    [letter] = (await operator.ListDeadLetters(control.ListDeadLettersRequest())).dead_letters
    assert (letter.reason, letter.message, letter.peer_id, letter.frame) == ("LINK_PROTOCOL", "no such kind", "w", b"")
    whole = (await operator.GetDeadLetter(control.GetDeadLetterRequest(name=letter.name))).dead_letter
    assert whole.frame == b"\xff" * 4_096
    with pytest.raises(TetherError) as caught:
        await operator.RequeueDeadLetter(control.RequeueDeadLetterRequest(name=letter.name))
    assert caught.value.reason is Reason.UNSUPPORTED


async def test_operator_verifies_quotas_and_sees_accounts_and_breakers(region: Region) -> None:
    worker = await region.worker()
    gateway = region.stub("gateway")
    operator = region.stub("operator", ControlServiceStub)
    placed = await gateway.Place(ask())
    [account] = (await operator.ListAccounts(control.ListAccountsRequest())).accounts
    assert (account.tenant_id, account.open_jobs, account.held_tokens) == ("acme", 1, 13)
    await gateway.Complete(ending(placed, worker))
    [account] = (await operator.ListAccounts(control.ListAccountsRequest(tenant_id="acme"))).accounts
    assert (account.open_jobs, account.held_tokens, account.input_tokens, account.output_tokens) == (0, 0, 3, 5)
    found = await operator.VerifyQuotas(control.VerifyQuotasRequest())
    assert (list(found.violations), found.jobs) == ([], 1)
    breakers = (await operator.ListBreakers(control.ListBreakersRequest())).breakers
    assert [(one.model_id, one.state) for one in breakers] == [("demo", "closed")]


async def test_end_without_a_receipt_pays_prompt_and_delivered_once_over_all_attempts(region: Region) -> None:
    worker, gateway = await engine(region, "worker-1"), region.stub("gateway")
    placed = await gateway.Place(ask())
    at = Infer.Position(tokens=2, bytes=2)
    left = pb.CompleteRequest(
        job_id=placed.job_id, epoch=1, outcome=JobState.JOB_STATE_ABANDONED, delivered=at, input_tokens=3
    )
    ended = await gateway.Complete(left)
    assert (ended.job.usage.input_tokens, ended.job.usage.output_tokens) == (3, 2)
    rerun = await gateway.Place(ask())
    assert rerun.placed.epoch == 2
    done = await gateway.Complete(ending(rerun, worker))
    assert (done.job.usage.input_tokens, done.job.usage.output_tokens) == (3, 5)
    bills = await region.app._store.outbox(0, 10)
    assert [(bill.position.input_tokens, bill.position.output_tokens) for bill in bills] == [(3, 2), (0, 3)]
    assert not await region.app._store.check()


async def test_cancel_after_the_end_gets_the_end_and_an_end_of_no_attempt_is_stale(region: Region) -> None:
    worker, gateway = await engine(region, "worker-1"), region.stub("gateway")
    placed = await gateway.Place(ask())
    never = ending(placed, worker)
    never.epoch = 9
    never.receipt.CopyFrom(worker.receipt(placed.job_id, 9))
    with pytest.raises(TetherError) as caught:
        await gateway.Complete(never)
    assert caught.value.reason is Reason.STALE_EPOCH
    await gateway.Complete(ending(placed, worker))
    cancel = pb.CompleteRequest(job_id=placed.job_id, outcome=JobState.JOB_STATE_CANCELLED)
    assert (await gateway.Complete(cancel)).outcome == JobState.JOB_STATE_DONE
    twice = await gateway.Complete(ending(placed, worker))
    assert (twice.outcome, twice.settlement) == (JobState.JOB_STATE_DONE, Infer.SETTLEMENT_COMMITTED)
    assert len(await region.app._store.outbox(0, 10)) == 1


@pytest.mark.parametrize(
    ("field", "value"), [("session_id", b"short"), ("fingerprint", b"short"), ("cause", 99), ("session_id", b"")]
)
async def test_place_with_a_field_out_of_range_names_it(region: Region, field: str, value: Any) -> None:
    request = ask()
    setattr(request, field, value)
    with pytest.raises(TetherError) as caught:
        await region.stub("gateway").Place(request)
    assert (caught.value.reason, caught.value.field) == (Reason.INVALID_FIELD, field)
