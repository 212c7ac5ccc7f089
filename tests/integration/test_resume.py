"""Real processes: a reader that comes back to another gateway, after its own, or its worker too, was killed with -9."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from grpc import aio

from tether._native import Chain
from tether.cli.operator import connect
from tether.cli.region import demo_folder
from tether.client.aio import Client
from tether.errors import Reason, TetherError
from tether.rpc.channel import open_channel
from tether.rpc.status import from_rpc_error
from tether.testing.processes import ProcessRegion
from tether.v1.control_pb2 import LookupJobRequest
from tether.v1.infer_pb2 import CancelRequest, Infer, JobState, ResumeRequest
from tether.v1.infer_pb2_grpc import InferenceServiceStub
from tether.v1.registry_pb2 import CreateKeyRequest, CreateTenantRequest

MODEL = "tether-demo"
PACED = {"engine": "simulated", "slots": 4, "simulated_token_ms": 10}
WAIT_S = 30.0  # the lease of a session and its grace, on a machine that does other things too
TOKENS = 150


class Running:
    """A region with two gateways, and the keys of two tenants."""

    def __init__(self, region: ProcessRegion, keys: dict[str, str]) -> None:
        self.region = region
        self.keys = keys

    def metadata(self, tenant: str) -> tuple[tuple[str, str], ...]:
        return (("authorization", f"Bearer {self.keys[tenant]}"),)

    def address(self, gateway: str) -> str:
        return self.region.running[gateway].endpoints["gateway"]

    def kill(self, *names: str) -> None:
        for name in names:
            self.region.running[name].kill()

    async def resume(self, gateway: str = "gateway-2", tenant: str = "test", **fields: Any) -> list[Infer.Chunk]:
        """All chunks of a Resume call; raises TetherError."""
        request = ResumeRequest(**fields)
        async with open_channel(self.address(gateway), own_connection=True) as channel:
            call = InferenceServiceStub(channel).Resume(request, metadata=self.metadata(tenant), timeout=WAIT_S)
            try:
                return [chunk async for chunk in call]
            except aio.AioRpcError as error:
                raise from_rpc_error(error) from error


class Reading:
    """An Infer call that is read chunk by chunk."""

    def __init__(self, running: Running, name: str, tokens: int = TOKENS) -> None:
        self.request = Infer.Request(
            model_id=MODEL,
            input=Infer.Input(text="say something"),
            correlation_id=name,
            parameters=Infer.Parameters(max_tokens=tokens, seed=7),
        )
        self.channel = open_channel(running.address("gateway"), own_connection=True)
        stub = InferenceServiceStub(self.channel)
        self.call = stub.Infer(self.request, metadata=running.metadata("test"), timeout=WAIT_S)
        self.chunks: list[Infer.Chunk] = []

    async def read(self, tokens: int) -> None:
        """Read until that many tokens have come."""
        while not self.chunks or not self.chunks[-1].continuation or self.cursor.position.tokens < tokens:
            async with asyncio.timeout(WAIT_S):
                self.chunks.append(await self.call.read())  # type: ignore[arg-type]

    @property
    def cursor(self) -> Infer.Cursor:
        return Infer.Cursor.FromString(self.chunks[-1].continuation)

    @property
    def continuation(self) -> bytes:
        return self.chunks[-1].continuation

    async def close(self) -> None:
        self.call.cancel()
        await self.channel.close()


def text_of(chunks: list[Infer.Chunk]) -> str:
    return "".join(chunk.payload.text for chunk in chunks)


def check_rest(read: list[Infer.Chunk], rest: list[Infer.Chunk], whole: str) -> None:
    """No gap, no repeat, one end: what was read and what came after it are the unfaulted answer."""
    assert text_of(read) + text_of(rest) == whole
    assert [chunk.seq for chunk in rest] == list(range(len(rest)))
    assert [chunk.done for chunk in rest] == [False] * (len(rest) - 1) + [True]
    at = Infer.Cursor.FromString(read[-1].continuation).position.bytes if read else 0
    for chunk in rest:
        assert chunk.start.bytes == at
        at += len(chunk.payload.text.encode())
    last = rest[-1]
    assert last.usage.output_tokens == TOKENS
    assert last.settlement == Infer.SETTLEMENT_COMMITTED
    assert Infer.ReceiptBody.FromString(last.receipt.body).end.bytes == at


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    with ProcessRegion(tmp_path) as region:
        region.start("registry", {"demo_model": demo_folder()})
        launched = [region.launch("orchestrator")]
        launched += [region.launch(f"worker-{number}", PACED) for number in (1, 2)]
        launched += [region.launch(name, {"listen": "127.0.0.1:0"}) for name in ("gateway", "gateway-2")]
        for process in launched:
            region.wait(process)
        keys = {}
        async with connect(region.folder, [region.bootstrap], region.region) as operator:
            access = await operator.access()
            for tenant in ("test", "other"):
                await access.CreateTenant(CreateTenantRequest(tenant_id=tenant))
                keys[tenant] = (await access.CreateKey(CreateKeyRequest(tenant_id=tenant, label="test"))).token
        found = Running(region, keys)
        for gateway in ("gateway", "gateway-2"):  # both know the keys, the model and the workers
            async with Client(found.address(gateway), keys["test"]) as client:
                await _answers(client)
        yield found


async def _answers(client: Client) -> None:
    async with asyncio.timeout(WAIT_S):
        while True:
            try:
                await client.infer("x", model=MODEL, max_tokens=2)
            except TetherError as error:
                if not error.row.again and error.reason is not Reason.KEY_INVALID:
                    raise
                await asyncio.sleep(0.05)
            else:
                return


async def whole_of(running: Running) -> str:
    reading = Reading(running, "whole")
    await reading.read(TOKENS)
    await reading.close()
    return text_of(reading.chunks)


async def test_killed_gateway_is_followed_by_another(running: Running) -> None:
    whole = await whole_of(running)
    reading = Reading(running, "gateway-dies")
    await reading.read(40)
    running.kill("gateway")
    rest = await running.resume(continuation=reading.continuation)
    check_rest(reading.chunks, rest, whole)
    again = await running.resume(continuation=reading.continuation)  # from the kept answer
    check_rest(reading.chunks, again, whole)
    from_start = await running.resume(correlation_id="gateway-dies")
    check_rest([], from_start, whole)
    await reading.close()


async def test_killed_gateway_and_workers_cost_nothing_with_the_request(running: Running) -> None:
    whole = await whole_of(running)
    reading = Reading(running, "both-die")
    await reading.read(40)
    running.kill("gateway", "worker-1", "worker-2")
    running.region.start("worker-3", PACED)
    without = asyncio.create_task(running.resume(continuation=reading.continuation))
    rest = await running.resume(continuation=reading.continuation, request=reading.request)
    check_rest(reading.chunks, rest, whole)
    try:
        check_rest(reading.chunks, await without, whole)  # it met the other one
    except TetherError as error:
        assert error.reason is Reason.WORKER_LOST  # noqa: PT017 - either is fine: without the request nobody runs it
    await reading.close()


async def test_job_that_its_client_did_not_name_runs_again_though_it_was_abandoned(running: Running) -> None:
    whole = await whole_of(running)
    reading = Reading(running, "")
    await reading.read(40)
    job = reading.cursor.job_id.hex()
    running.kill("gateway", "worker-1", "worker-2")
    running.region.start("worker-3", PACED)
    async with connect(running.region.folder, [running.region.bootstrap], running.region.region) as operator:
        control = await operator.control()
        async with asyncio.timeout(WAIT_S):
            wanted = LookupJobRequest(job_id=job)
            while (await control.LookupJob(wanted)).job.state != JobState.JOB_STATE_ABANDONED:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
    with pytest.raises(TetherError) as raised:
        await running.resume(continuation=reading.continuation)
    assert raised.value.reason is Reason.WORKER_LOST
    rest = await running.resume(continuation=reading.continuation, request=reading.request)
    check_rest(reading.chunks, rest, whole)
    await reading.close()


async def test_drained_gateway_hands_its_clients_to_another(running: Running) -> None:
    whole = await whole_of(running)
    third = running.region.start("gateway-3", {"listen": "127.0.0.1:0", "drain_grace_s": 0.6})
    addresses = f"{third.endpoints['gateway']},{running.address('gateway-2')}"
    async with Client(third.endpoints["gateway"], running.keys["test"]) as only:
        await _answers(only)
    async with Client(addresses, running.keys["test"]) as client:
        stream = client.stream("say something", model=MODEL, max_tokens=TOKENS, seed=7)
        async for piece in stream:
            if piece.seq == 20:
                third.child.terminate()
        assert (await stream.answer()).text == whole
        assert stream.resumes >= 1
    assert third.child.wait(WAIT_S) == 0


async def test_bad_cursors_get_typed_errors(running: Running) -> None:
    reading = Reading(running, "bad", TOKENS)
    await reading.read(30)
    cursor = reading.cursor

    async def refused(tenant: str = "test", gateway: str = "gateway-2", **fields: Any) -> Reason:
        with pytest.raises(TetherError) as raised:
            await running.resume(gateway, tenant, **fields)
        return raised.value.reason

    def changed(**fields: Any) -> bytes:
        other = Infer.Cursor()
        other.CopyFrom(cursor)
        for key, value in fields.items():
            setattr(other, key, value)
        return other.SerializeToString()

    forged = Chain()
    forged.feed_tokens([1] * int(cursor.position.tokens))
    for gateway in ("gateway", "gateway-2"):
        assert await refused(gateway=gateway, continuation=b"\xff" * 9) is Reason.CURSOR_INVALID
        assert await refused(gateway=gateway, continuation=changed(job_id=bytes(16))) is Reason.JOB_UNKNOWN
        assert await refused(gateway=gateway, tenant="other", continuation=changed()) is Reason.JOB_UNKNOWN
        assert (
            await refused(gateway=gateway, continuation=changed(chain_state=forged.state())) is Reason.STREAM_DIVERGED
        )
    assert await refused(continuation=changed(epoch=99)) is Reason.CURSOR_INVALID
    other = Infer.Request()
    other.CopyFrom(reading.request)
    other.input.text = "something else"
    assert await refused(continuation=changed(), request=other) is Reason.JOB_CONFLICT
    assert await refused(gateway="gateway", continuation=changed(), request=other) is Reason.JOB_CONFLICT
    assert await refused() is Reason.INVALID_FIELD

    ahead = Chain()
    ahead.feed_tokens([1] * 9_000)
    future = Infer.Cursor(
        job_id=cursor.job_id, epoch=1, position=Infer.Position(tokens=9_000, bytes=90_000), chain_state=ahead.state()
    ).SerializeToString()
    assert await refused(continuation=future) is Reason.CURSOR_INVALID  # waits for the end, which is before it
    assert await refused(continuation=future) is Reason.CURSOR_INVALID  # and again, from the kept answer
    await reading.close()


async def test_cancelled_job_is_resumed_as_such(running: Running) -> None:
    reading = Reading(running, "stopped")
    await reading.read(10)
    async with open_channel(running.address("gateway-2")) as channel:
        stub = InferenceServiceStub(channel)
        await stub.Cancel(CancelRequest(correlation_id="stopped"), metadata=running.metadata("test"), timeout=WAIT_S)
    with pytest.raises(TetherError) as raised:
        await running.resume(continuation=reading.continuation)
    assert raised.value.reason is Reason.JOB_CANCELLED
    await reading.close()
