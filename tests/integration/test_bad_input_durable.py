"""Bad input against what must not be lost: cursors, ends, receipts, policies, dead letters; on both stores.

Real processes of one region. Whatever comes in is refused at once with a typed error, changes nothing, and leaves
neither content nor secrets in a log. A node's own identity signs what a rogue node would sign.
"""

import asyncio
import os
import re
import time
from collections.abc import AsyncIterator, Awaitable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from grpc import aio

from tether._native import Chain
from tether.cli.operator import Operator, connect
from tether.cli.region import demo_folder
from tether.errors import Reason, TetherError
from tether.identity import Identity
from tether.identity.signature import RECEIPT
from tether.node.channels import Channels
from tether.rpc.channel import open_channel
from tether.rpc.status import from_rpc_error
from tether.testing.postgres import PostgresServer, binaries
from tether.testing.processes import ProcessRegion
from tether.v1 import control_pb2 as control
from tether.v1 import placement_pb2 as pb
from tether.v1.infer_pb2 import CancelRequest, GetJobRequest, Infer, JobState, ResumeRequest
from tether.v1.infer_pb2_grpc import InferenceServiceStub
from tether.v1.placement_pb2_grpc import PlacementServiceStub
from tether.v1.policy_pb2 import Policy, PolicyRule, Price
from tether.v1.registry_pb2 import (
    CreateKeyRequest,
    CreateTenantRequest,
    Quota,
    SetPolicyRequest,
    SetPriceRequest,
    SetQuotaRequest,
)

MODEL, PROMPT, PASSWORD = "tether-demo", "what-nobody-may-log", "pass-nobody-may-log"
PACED = {"engine": "simulated", "slots": 8, "simulated_token_ms": 10}
WAIT_S = 30.0
FAST_S = 3.0  # a loaded machine; what is meant is "not at a time-out"
HUGE = 2**64 - 1


@dataclass
class Site:
    """The region, with the keys of two tenants."""

    region: ProcessRegion
    keys: dict[str, str]

    def metadata(self, tenant: str = "acme") -> tuple[tuple[str, str], ...]:
        return (("authorization", f"Bearer {self.keys[tenant]}"),)

    def address(self, gateway: str) -> str:
        return self.region.running[gateway].endpoints["gateway"]

    def identity(self, name: str) -> Identity:
        return Identity.load(self.region.folder / name)

    def operator(self) -> Any:
        return connect(self.region.folder, [self.region.bootstrap], self.region.region)

    async def infer(self, request: Infer.Request, gateway: str = "gateway") -> list[Infer.Chunk]:
        async with open_channel(self.address(gateway), own_connection=True) as channel:
            return await read(InferenceServiceStub(channel).Infer(request, metadata=self.metadata(), timeout=WAIT_S))

    async def resume(self, gateway: str = "gateway", tenant: str = "acme", **fields: Any) -> list[Infer.Chunk]:
        async with open_channel(self.address(gateway), own_connection=True) as channel:
            stub = InferenceServiceStub(channel)
            return await read(stub.Resume(ResumeRequest(**fields), metadata=self.metadata(tenant), timeout=WAIT_S))

    async def unary(self, method: str, request: Any, tenant: str = "acme") -> Any:
        async with open_channel(self.address("gateway"), own_connection=True) as channel:
            call = getattr(InferenceServiceStub(channel), method)
            try:
                return await call(request, metadata=self.metadata(tenant), timeout=WAIT_S)
            except aio.AioRpcError as error:
                raise from_rpc_error(error) from None


class Node:
    """PlacementService as one node of the region calls it."""

    def __init__(self, site: Site, name: str, target: tuple[str, str]) -> None:
        self.identity = site.identity(name)
        self._channels, self._target = Channels(self.identity), target
        self._stub = PlacementServiceStub(self._channels.to(*target))

    async def __call__(self, method: str, request: Any) -> Any:
        metadata = self._channels.metadata(self._target[0])
        try:
            return await getattr(self._stub, method)(request, metadata=metadata, timeout=WAIT_S)
        except aio.AioRpcError as error:
            raise from_rpc_error(error) from None

    async def close(self) -> None:
        await self._channels.close()


async def read(call: Any) -> list[Infer.Chunk]:
    try:
        return [chunk async for chunk in call]
    except aio.AioRpcError as error:
        raise from_rpc_error(error) from None


async def refused(asked: Awaitable[Any], *reasons: Reason, field: str = "") -> TetherError:
    """The refusal, which is typed, fast, and holds no content."""
    began_s = time.monotonic()
    with pytest.raises(TetherError) as caught:
        await asked
    assert time.monotonic() - began_s < FAST_S
    assert caught.value.reason in reasons, caught.value
    assert PROMPT not in str(caught.value)
    if field:
        assert caught.value.field == field
    return caught.value


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("region")
    if request.param == "sqlite":
        with ProcessRegion(folder) as region:
            yield started(region, "", "")
        return
    if binaries() is None:
        pytest.skip("PostgreSQL is not installed")
    with PostgresServer() as server:
        urls = [server.create_database(name).replace("@", f":{PASSWORD}@", 1) for name in ("jobs", "registry")]
        with ProcessRegion(folder) as region:
            yield started(region, *urls)


def started(region: ProcessRegion, jobs: str, registry: str) -> Site:
    region.start("registry", {"demo_model": demo_folder()} | ({"store": registry} if registry else {}))
    launched = [region.launch("orchestrator", {"store": jobs} if jobs else {})]
    launched += [region.launch(f"worker-{number}", PACED) for number in (1, 2)]
    launched += [region.launch(name, {"listen": "127.0.0.1:0"}) for name in ("gateway", "gateway-2")]
    for process in launched:
        region.wait(process)
    return asyncio.run(furnished(Site(region, {})))


async def furnished(site: Site) -> Site:
    async with site.operator() as operator:
        access = await operator.access()
        for tenant in ("acme", "other"):
            await access.CreateTenant(CreateTenantRequest(tenant_id=tenant))
            site.keys[tenant] = (await access.CreateKey(CreateKeyRequest(tenant_id=tenant, label="test"))).token
    until_s = time.monotonic() + WAIT_S
    for gateway in ("gateway", "gateway-2"):
        while True:
            try:
                await site.infer(asking("ready", tokens=2), gateway)
                break
            except TetherError:
                if time.monotonic() > until_s:
                    raise
                await asyncio.sleep(0.05)
    return site


@pytest.fixture
async def operator(site: Site) -> AsyncIterator[Operator]:
    async with site.operator() as found:
        yield found


@pytest.fixture
async def target(operator: Operator) -> tuple[str, str]:
    return await operator.find_orchestrator()


@pytest.fixture
async def gateway(site: Site, target: tuple[str, str]) -> AsyncIterator[Node]:
    node = Node(site, "gateway", target)
    yield node
    await node.close()


def asking(name: str, text: str = PROMPT, tokens: int = 40, **more: Any) -> Infer.Request:
    parameters = Infer.Parameters(max_tokens=tokens, seed=7)
    return Infer.Request(
        model_id=MODEL, input=Infer.Input(text=text), correlation_id=name, parameters=parameters, **more
    )


def fresh() -> str:
    return f"k-{os.urandom(4).hex()}"


def place(name: str, **more: Any) -> pb.PlaceRequest:
    header = pb.Header(
        tenant_id="acme", model_id=MODEL, correlation_id=name, keyed=True, request_hash=name.encode().ljust(32, b".")
    )
    header.input_bytes = header.input_tokens_max = 5
    header.on_disconnect = Infer.ON_DISCONNECT_DETACH
    header.timeout.FromSeconds(60)
    header.parameters.max_tokens = 8
    return pb.PlaceRequest(**{"header": header, "session_id": b"s" * 16} | more)


def changed(cursor: Infer.Cursor, **fields: Any) -> bytes:
    other = Infer.Cursor()
    other.CopyFrom(cursor)
    for name, value in fields.items():
        setattr(other, name, value)
    return other.SerializeToString()


def chain(tokens: int) -> bytes:
    made = Chain()
    made.feed_tokens([1] * tokens)
    return made.state()


async def test_cursors_of_a_finished_job(site: Site) -> None:
    name = fresh()
    chunks = await site.infer(asking(name))
    whole = "".join(chunk.payload.text for chunk in chunks)
    at = next(chunk.continuation for chunk in chunks[3:] if chunk.continuation)
    cursor = Infer.Cursor.FromString(at)
    far = Infer.Position(tokens=9_000, bytes=90_000)
    future = Infer.Cursor(job_id=cursor.job_id, epoch=1, position=far, chain_state=chain(9_000)).SerializeToString()
    wrong: dict[bytes, Reason] = {
        at[:-5]: Reason.CURSOR_INVALID,
        b"\xff" * 40: Reason.CURSOR_INVALID,
        bytes(10_000): Reason.CURSOR_INVALID,
        changed(cursor, epoch=0): Reason.CURSOR_INVALID,
        changed(cursor, epoch=2**32 - 1): Reason.CURSOR_INVALID,
        changed(cursor, chain_state=b"\x01" * 103): Reason.CURSOR_INVALID,
        changed(cursor, chain_state=chain(3)): Reason.CURSOR_INVALID,
        changed(cursor, job_id=os.urandom(16)): Reason.JOB_UNKNOWN,  # purged long ago, or never there
        future: Reason.CURSOR_INVALID,
    }
    for gateway in ("gateway", "gateway-2"):
        for continuation, reason in wrong.items():
            await refused(site.resume(gateway, continuation=continuation), reason)
        await refused(site.resume(gateway, "other", continuation=at), Reason.JOB_UNKNOWN)
        await refused(site.resume(gateway, continuation=at, job_id="ab" * 16), Reason.CURSOR_INVALID)
        await refused(site.resume(gateway, continuation=at, request=asking(name, "another")), Reason.JOB_CONFLICT)
        await refused(site.resume(gateway, continuation=at, request=asking(fresh())), Reason.JOB_CONFLICT)
        for timeout in (Duration(seconds=-1), Duration(nanos=2**31 - 1)):
            await refused(site.resume(gateway, continuation=at, timeout=timeout), Reason.INVALID_FIELD, field="timeout")
        rest = await site.resume(gateway, continuation=at)
        assert "".join(chunk.payload.text for chunk in rest).encode() == whole.encode()[cursor.position.bytes :]
        assert rest[-1].done


async def test_cancel_before_and_after_the_end(site: Site) -> None:
    done, running = fresh(), fresh()
    await site.infer(asking(done))
    held = await site.unary("Cancel", CancelRequest(correlation_id=done))
    assert held.job.state == JobState.JOB_STATE_DONE  # the first outcome holds
    for request in (CancelRequest(correlation_id=done), GetJobRequest(correlation_id=done)):
        await refused(site.unary(type(request).__name__[:-7], request, "other"), Reason.JOB_UNKNOWN)
    for request in (CancelRequest(), CancelRequest(job_id="zz"), GetJobRequest(job_id="../x")):
        await refused(site.unary(type(request).__name__[:-7], request), Reason.INVALID_FIELD)
    reading = asyncio.create_task(site.infer(asking(running, tokens=400)))
    until_s = time.monotonic() + WAIT_S
    while True:
        try:
            first = await site.unary("Cancel", CancelRequest(correlation_id=running))
            break
        except TetherError as error:
            if error.reason is not Reason.JOB_UNKNOWN or time.monotonic() > until_s:  # else it is not placed yet
                raise
    assert first.job.state == JobState.JOB_STATE_CANCELLED
    again = await site.unary("Cancel", CancelRequest(correlation_id=running))
    assert again.job.state == JobState.JOB_STATE_CANCELLED
    [told] = await asyncio.gather(reading, return_exceptions=True)
    if isinstance(told, TetherError):
        assert told.reason is Reason.JOB_CANCELLED
    else:
        assert told[-1].finish_reason == Infer.FINISH_REASON_CANCELLED
    for gateway in ("gateway", "gateway-2"):
        await refused(site.resume(gateway, correlation_id=running), Reason.JOB_CANCELLED)


class Bill:
    """An attempt that was placed, and what its worker could sign."""

    def __init__(self, site: Site, placed: pb.PlaceResponse) -> None:
        workers = [site.identity(name) for name in ("worker-1", "worker-2")]
        self.placed = placed
        self.mine = next(one for one in workers if one.node_id == placed.placed.worker.worker_id)
        self.other = next(one for one in workers if one is not self.mine)

    def receipt(self, signer: Identity | None = None, by: Identity | None = None, **fields: Any) -> Infer.Receipt:
        """As `signer` would say it, signed by `by`; with `fields` in place of what is true."""
        signer = signer or self.mine
        tokens = fields.pop("tokens", 5)
        true: dict[str, Any] = {
            "network_id": signer.network_id,
            "job_id": self.placed.job_id,
            "epoch": self.placed.placed.epoch,
            "worker_id": signer.node_id,
            "usage": Infer.Usage(input_tokens=fields.pop("input_tokens", 3), output_tokens=tokens),
            "end": Infer.Position(tokens=tokens, bytes=20),
            "complete": True,
        }
        body = Infer.ReceiptBody(**true | fields).SerializeToString()
        return Infer.Receipt(body=body, signature=(by or signer).sign(RECEIPT, body), credential=signer.credential)

    def end(self, receipt: Infer.Receipt | None = None, **fields: Any) -> pb.CompleteRequest:
        """A Complete with a receipt."""
        given = {"job_id": self.placed.job_id, "epoch": self.placed.placed.epoch, "outcome": JobState.JOB_STATE_DONE}
        return pb.CompleteRequest(**given | fields, receipt=receipt)


async def test_ends_that_are_not_of_this_attempt(
    site: Site, gateway: Node, operator: Operator, target: tuple[str, str]
) -> None:
    bill = Bill(site, await gateway("Place", place(fresh())))
    cancelled = JobState.JOB_STATE_CANCELLED
    far = Infer.Position(tokens=HUGE, bytes=HUGE)
    wrong: list[tuple[pb.CompleteRequest, Reason]] = [
        (bill.end(), Reason.INVALID_FIELD),  # no receipt
        (bill.end(bill.receipt(), outcome=0), Reason.INVALID_FIELD),
        (bill.end(bill.receipt(), outcome=99), Reason.INVALID_FIELD),
        (bill.end(bill.receipt(), job_id=b"x"), Reason.INVALID_FIELD),
        (bill.end(bill.receipt(job_id=b"x" * 16), job_id=b"x" * 16), Reason.JOB_UNKNOWN),
        (bill.end(bill.receipt(by=bill.other)), Reason.NODE_TOKEN_INVALID),
        (bill.end(bill.receipt(bill.other)), Reason.ROLE_FORBIDDEN),
        (bill.end(bill.receipt(gateway.identity)), Reason.ROLE_FORBIDDEN),
        (bill.end(bill.receipt(worker_id=bill.other.node_id)), Reason.INVALID_FIELD),
        (bill.end(bill.receipt(job_id=b"y" * 16)), Reason.INVALID_FIELD),
        (bill.end(bill.receipt(epoch=2)), Reason.INVALID_FIELD),
        (bill.end(bill.receipt(epoch=2), epoch=2), Reason.STALE_EPOCH),
        (bill.end(bill.receipt(network_id=b"n" * 32)), Reason.INVALID_FIELD),
        (bill.end(bill.receipt(complete=False)), Reason.INVALID_FIELD),
        (bill.end(bill.receipt(tokens=HUGE)), Reason.INVALID_FIELD),
        (bill.end(bill.receipt(tokens=2**62)), Reason.INVALID_FIELD),
        (bill.end(bill.receipt(tokens=1_000)), Reason.INVALID_FIELD),  # 13 are held
        (bill.end(bill.receipt(input_tokens=HUGE)), Reason.INVALID_FIELD),
        (bill.end(Infer.Receipt(body=b"x", signature=bytes(64))), Reason.NODE_TOKEN_INVALID),
        (bill.end(outcome=cancelled, delivered=far, input_tokens=HUGE), Reason.INVALID_FIELD),
        (bill.end(outcome=cancelled, delivered=Infer.Position(tokens=2**31)), Reason.INVALID_FIELD),
    ]
    for request, reason in wrong:
        await refused(gateway("Complete", request), reason)
    worker = Node(site, "worker-1", target)
    await refused(worker("Complete", bill.end(bill.receipt())), Reason.ROLE_FORBIDDEN)
    await worker.close()
    settled = [await gateway("Complete", bill.end(bill.receipt())) for _ in range(2)]
    settled.append(await gateway("Complete", bill.end(outcome=cancelled)))
    assert [one.outcome for one in settled] == [JobState.JOB_STATE_DONE] * 3
    assert {one.job.usage.output_tokens for one in settled} == {5}
    books = await (await operator.control()).VerifyQuotas(control.VerifyQuotasRequest())
    assert not books.violations


async def test_places_that_are_out_of_step(gateway: Node) -> None:
    name = fresh()
    await refused(gateway("Place", place(name, after_epoch=7)), Reason.JOB_UNKNOWN)
    placed = await gateway("Place", place(name))
    assert placed.placed.epoch == 1
    for epoch in (7, 2**32 - 1):
        await refused(gateway("Place", place(name, after_epoch=epoch)), Reason.STALE_EPOCH)
    far = Infer.Position(tokens=HUGE, bytes=HUGE)
    lost = {"after_epoch": 1, "cause": pb.PLACE_CAUSE_WORKER_LOST}
    await refused(gateway("Place", place(name, position=far, **lost)), Reason.INVALID_FIELD, field="position")
    for wrong in ({"cause": 77}, {"session_id": b"x"}, {"fingerprint": b"x"}, {"header": pb.Header()}):
        await refused(gateway("Place", place(name, **wrong)), Reason.INVALID_FIELD)
    request = place(fresh())
    request.header.input_tokens_max = HUGE
    await refused(gateway("Place", request), Reason.INVALID_FIELD, field="input_tokens_max")


async def test_deposits_and_requeues_that_are_not_for_this_job(
    site: Site, gateway: Node, operator: Operator, target: tuple[str, str]
) -> None:
    placed = await gateway("Place", place(fresh()))
    dead = pb.CompleteRequest(job_id=placed.job_id, epoch=1, outcome=JobState.JOB_STATE_DEAD, error="POISON: a\0b")
    assert (await gateway("Complete", dead)).outcome == JobState.JOB_STATE_DEAD
    other = asking("x").SerializeToString()
    stranger = Node(site, "gateway-2", target)
    await refused(stranger("Deposit", pb.DepositRequest(job_id=placed.job_id, request=other)), Reason.ROLE_FORBIDDEN)
    await stranger.close()
    for request in (other, b"\xff" * 50):
        await refused(
            gateway("Deposit", pb.DepositRequest(job_id=placed.job_id, request=request)), Reason.INVALID_FIELD
        )
    await refused(gateway("Deposit", pb.DepositRequest()), Reason.INVALID_FIELD)
    await refused(gateway("Deposit", pb.DepositRequest(job_id=b"abc", request=b"r")), Reason.JOB_UNKNOWN)
    long = pb.DepositRequest(frame=b"f" * 1_000_000, error="e\0" * 5_000, peer_id="p\0" * 50_000)
    assert (await gateway("Deposit", long)).kept
    found = await operator.control()
    name = placed.job_id.hex()
    requeue = control.RequeueDeadLetterRequest
    await refused(found.RequeueDeadLetter(requeue(name=name)), Reason.INVALID_FIELD, field="request")
    twice = [found.RequeueDeadLetter(requeue(name=name, request=other)) for _ in range(2)]
    for one in twice:
        await refused(one, Reason.INVALID_FIELD)
    for missing in ("nope", "ab" * 16, "frame-zz"):
        await refused(found.GetDeadLetter(control.GetDeadLetterRequest(name=missing)), Reason.JOB_UNKNOWN)
        await refused(found.RequeueDeadLetter(requeue(name=missing)), Reason.JOB_UNKNOWN)
        await refused(found.DropDeadLetter(control.DropDeadLetterRequest(name=missing)), Reason.JOB_UNKNOWN)


async def test_dead_job_requeued_twice_at_once_runs_once(site: Site, gateway: Node, operator: Operator) -> None:
    name, text = fresh(), asking(fresh())
    from tether import _native

    asked = place(name)
    asked.header.request_hash = _native.request_hash(text.SerializeToString(), "acme")
    placed = await gateway("Place", asked)
    dead = pb.CompleteRequest(job_id=placed.job_id, epoch=1, outcome=JobState.JOB_STATE_DEAD, error="POISON: three")
    await gateway("Complete", dead)
    found = await operator.control()
    request = control.RequeueDeadLetterRequest(name=placed.job_id.hex(), request=text.SerializeToString())
    results = await asyncio.gather(*(found.RequeueDeadLetter(request) for _ in range(4)), return_exceptions=True)
    taken = [one for one in results if not isinstance(one, BaseException)]
    assert len(taken) == 1, results
    assert {one.reason for one in results if isinstance(one, TetherError)} == {Reason.JOB_CONFLICT}
    assert taken[0].job.epoch == 2


async def test_control_filters_that_no_name_is(operator: Operator) -> None:
    found = await operator.control()
    for asked in (
        found.ListJobs(control.ListJobsRequest(tenant_id="a\0b")),
        found.ListJobs(control.ListJobsRequest(state=99)),
        found.ListJobs(control.ListJobsRequest(state=-1)),
        found.ListJobs(control.ListJobsRequest(page_token="-1")),
        found.ListAccounts(control.ListAccountsRequest(tenant_id="a\0b")),
        found.ListAccounts(control.ListAccountsRequest(page_token="\0")),
        found.ListDeadLetters(control.ListDeadLettersRequest(reason="\0")),
        found.VerifyQuotas(control.VerifyQuotasRequest(tenant_id="\0")),
        found.GetDeadLetter(control.GetDeadLetterRequest(name="\0")),
        found.GetDeadLetter(control.GetDeadLetterRequest(name="z" * 100_000)),
        found.AnalyzeDeadLetters(control.AnalyzeDeadLettersRequest(by="x")),
    ):
        await refused(asked, Reason.INVALID_FIELD)


async def test_policies_limits_and_prices_that_cannot_hold(operator: Operator) -> None:
    access = await operator.access()

    def policy(*rules: PolicyRule, expected: int = 0, **more: Any) -> Awaitable[Any]:
        return access.SetPolicy(SetPolicyRequest(policy=Policy(rules=rules, **more), expected_version=expected))

    odd = PolicyRule(name="x", queue_wait_max=Duration(seconds=1, nanos=2**31 - 1))
    for asked in (
        policy(PolicyRule(name="x", forbid=True)),
        policy(PolicyRule(name="x", regions=["a"]), PolicyRule(name="y", regions=["b"])),
        policy(PolicyRule(name="x", points={"local": float("nan")})),
        policy(PolicyRule(name="x", weight=2**32 - 1)),
        policy(PolicyRule(name="x", path=99)),
        policy(*(PolicyRule(name=f"r{number}", weight=2) for number in range(10_000))),
        policy(odd),
        policy(PolicyRule(name="x", weight=2), note="a\0b"),
        policy(PolicyRule(name="x", weight=2), expected=77),
        access.CreateTenant(CreateTenantRequest(tenant_id="nul", display_name="a\0b")),
        access.CreateKey(CreateKeyRequest(tenant_id="acme", label="a\0b")),
        access.SetQuota(SetQuotaRequest(tenant_id="acme", quota=Quota(tokens_per_day=HUGE))),
        access.SetPrice(SetPriceRequest(price=Price(model_id=MODEL, input_micros=HUGE))),
        access.SetPrice(SetPriceRequest(price=Price(model_id=MODEL, output_micros=10**9 + 1))),
    ):
        await refused(asked, Reason.INVALID_FIELD)
    await refused(policy(PolicyRule(name="x", allowed_models=["nope"])), Reason.MODEL_UNKNOWN)
    await refused(access.SetPrice(SetPriceRequest(price=Price(model_id="nope"))), Reason.MODEL_UNKNOWN)


async def test_dearest_price_and_widest_limits_settle_exactly(site: Site, operator: Operator) -> None:
    access = await operator.access()
    most = 2**53 - 1
    quota = Quota(tokens_per_minute=most, tokens_per_day=most, spend_per_day_micros=most)
    await access.SetQuota(SetQuotaRequest(tenant_id="acme", quota=quota))
    await access.SetPrice(SetPriceRequest(price=Price(model_id=MODEL, input_micros=10**9, output_micros=10**9)))
    found = await operator.control()
    until_s = time.monotonic() + WAIT_S
    while True:  # until the orchestrator knows the price
        name = fresh()
        last = (await site.infer(asking(name)))[-1]
        job = (await site.unary("GetJob", GetJobRequest(correlation_id=name))).job
        if job.cost_micros:
            break
        assert time.monotonic() < until_s
    assert job.cost_micros == (last.usage.input_tokens + last.usage.output_tokens) * 10**6
    assert not (await found.VerifyQuotas(control.VerifyQuotasRequest())).violations


FORMS = {
    "none": {"json_schema": "{{{"},
    "text": {"json_schema": '"string"'},
    "itself": {"json_schema": '{"$defs":{"a":{"$ref":"#/$defs/a"}},"$ref":"#/$defs/a"}'},
    "nothing": {"json_schema": '{"enum":[]}'},
    "empty range": {"json_schema": '{"type":"integer","minimum":10,"maximum":1}'},
    "deep": {"json_schema": '{"a":' * 9_000 + "1" + "}" * 9_000},
    "long": {"json_schema": '{"description":"' + "x" * 1_000_000 + '"}'},
    "file": {"json_schema": '{"$ref":"file:///etc/passwd"}'},
    "digits": {"json_schema": '{"type":"integer","minimum":' + "9" * 5_000 + "}"},
    "regex": {"regex": "("},
    "look-around": {"regex": "(?=a)b"},
    "nested regex": {"regex": "(" * 2_000 + "a" + ")" * 2_000},
    "regex of nothing": {"regex": r"[^\s\S]"},
}


@pytest.mark.parametrize("form", FORMS)
async def test_form_that_no_answer_can_have(site: Site, form: str) -> None:
    request = asking(fresh(), tokens=4)
    request.parameters.response_format.CopyFrom(Infer.ResponseFormat(**FORMS[form]))
    await refused(site.infer(request), Reason.SCHEMA_INVALID, Reason.INVALID_FIELD)


def test_logs_hold_no_content_and_no_secret(site: Site) -> None:
    """Runs last: whatever was refused above, nothing of it stands in a log, and nothing fell over."""
    secrets = [PROMPT, PASSWORD, *(key.split("_", 2)[2] for key in site.keys.values())]
    for process in site.region.running.values():
        text = Path(process.log).read_text(errors="replace")
        for secret in secrets:
            assert secret not in text, process.name
        faults = [line for line in text.splitlines() if re.search(r"Traceback|handler failed|never retrieved", line)]
        assert not faults, (process.name, faults[:2])
        assert process.child.poll() is None
