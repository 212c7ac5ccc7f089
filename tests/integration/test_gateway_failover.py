"""Real processes: a worker killed with -9, and two gateways that share a job."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tether.cli.operator import connect
from tether.cli.region import demo_folder
from tether.client.aio import Client
from tether.client.result import Answer
from tether.errors import Reason, TetherError
from tether.testing.processes import ProcessRegion
from tether.v1.infer_pb2 import Infer, JobState
from tether.v1.policy_pb2 import Policy, PolicyRule
from tether.v1.registry_pb2 import CreateKeyRequest, CreateTenantRequest, SetPolicyRequest

MODEL = "tether-demo"
PACED = {"engine": "simulated", "slots": 4, "simulated_token_ms": 10}
LIMIT_S = 5.0  # targets say 2 s on a quiet machine


@pytest.fixture
async def region(tmp_path: Path) -> AsyncIterator[tuple[ProcessRegion, Client]]:
    with ProcessRegion(tmp_path) as running:
        running.start("registry", {"demo_model": demo_folder()})
        running.start("orchestrator")
        running.start("worker-1", PACED)
        running.start("worker-2", PACED)
        gateway = running.start("gateway", {"listen": "127.0.0.1:0"})
        async with connect(running.folder, [running.bootstrap], running.region) as operator:
            access = await operator.access()
            await access.CreateTenant(CreateTenantRequest(tenant_id="test"))
            key = (await access.CreateKey(CreateKeyRequest(tenant_id="test", label="test"))).token
        (tmp_path / "key").write_text(key)
        async with Client(gateway.endpoints["gateway"], key) as client:
            yield running, client


async def answered(client: Client) -> float:
    """Seconds until a request is answered again."""
    began_s = time.monotonic()
    async with asyncio.timeout(LIMIT_S):
        while True:
            try:
                answer = await client.infer("x", model=MODEL, max_tokens=3)
            except TetherError as error:
                if not error.row.again:
                    raise
                await asyncio.sleep(0.02)
            else:
                assert answer.output_tokens == 3
                return time.monotonic() - began_s


async def test_killed_worker_costs_its_streams_nothing(region: tuple[ProcessRegion, Client]) -> None:
    running, client = region
    whole = await client.infer("x", model=MODEL, max_tokens=200, seed=5)
    streams = [client.stream("x", model=MODEL, max_tokens=200, seed=5) for _ in range(4)]
    readers = [aiter(stream) for stream in streams]
    for reader in readers:
        await anext(reader)
    running.running["worker-1"].kill()
    assert await asyncio.gather(*(drain(reader) for reader in readers)) == [None] * 4
    answers = [await stream.answer() for stream in streams]
    assert [answer.text for answer in answers] == [whole.text] * 4
    assert {answer.output_tokens for answer in answers} == {200}
    assert all(stream.resumes == 0 for stream in streams)  # it was the gateway that went on
    assert await answered(client) < LIMIT_S


async def drain(reader: AsyncIterator[object]) -> Reason | None:
    """Read to the end: the reason of a failure, or None for a whole answer."""
    try:
        async for _ in reader:
            pass
    except TetherError as error:
        return error.reason
    return None


async def test_second_gateway_reads_along_and_cancels(region: tuple[ProcessRegion, Client]) -> None:
    running, client = region
    second = running.start("gateway-2", {"listen": "127.0.0.1:0"})
    key = (running.folder / "key").read_text()
    async with Client(second.endpoints["gateway"], key) as other:
        await answered(other)
        first = client.stream("x", model=MODEL, max_tokens=100, correlation_id="shared")
        reader = aiter(first)
        await anext(reader)
        along = await other.infer("x", model=MODEL, max_tokens=100, correlation_id="shared")
        assert await drain(reader) is None
        whole = await first.answer()
        assert (along.text, along.joined, along.output_tokens) == (whole.text, True, 100)

        stopped = client.stream("x", model=MODEL, max_tokens=240, correlation_id="stopped")
        reader = aiter(stopped)
        await anext(reader)
        job = await other.cancel(correlation_id="stopped")
        assert JobState.Name(job.state) == "JOB_STATE_CANCELLED"
        assert await drain(reader) is Reason.JOB_CANCELLED


async def test_killed_worker_costs_readers_at_both_gateways_nothing(region: tuple[ProcessRegion, Client]) -> None:
    running, client = region
    second = running.start("gateway-2", {"listen": "127.0.0.1:0"})
    key = (running.folder / "key").read_text()
    async with Client(second.endpoints["gateway"], key) as other:
        await answered(other)
        whole = await client.infer("x", model=MODEL, max_tokens=200, seed=5)
        names = [f"both-{number}" for number in range(4)]
        streams = [client.stream("x", model=MODEL, max_tokens=200, seed=5, correlation_id=name) for name in names]
        readers = [aiter(stream) for stream in streams]
        for reader in readers:
            await anext(reader)
        along = [other.stream("x", model=MODEL, max_tokens=200, seed=5, correlation_id=name) for name in names]
        readers += [aiter(stream) for stream in along]
        for reader in readers[4:]:
            await anext(reader)
        running.running["worker-1"].kill()
        assert await asyncio.gather(*(drain(reader) for reader in readers)) == [None] * 8
        answers = [await stream.answer() for stream in (*streams, *along)]
        assert [answer.text for answer in answers] == [whole.text] * 8
        assert [stream.resumes for stream in (*streams, *along)] == [0] * 8


async def test_killed_worker_costs_nothing_on_the_relayed_path(region: tuple[ProcessRegion, Client]) -> None:
    running, client = region
    whole = await client.infer("x", model=MODEL, max_tokens=200, seed=5)
    rule = PolicyRule(name="through-the-middle", path=Infer.PATH_RELAY)
    async with connect(running.folder, [running.bootstrap], running.region) as operator:
        access = await operator.access()
        await access.SetPolicy(SetPolicyRequest(policy=Policy(tenant_id="test", rules=[rule])))
    async with asyncio.timeout(LIMIT_S):
        while path_of(await client.infer("x", model=MODEL, max_tokens=3)) != Infer.PATH_RELAY:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    streams = [client.stream("x", model=MODEL, max_tokens=200, seed=5) for _ in range(4)]
    readers = [aiter(stream) for stream in streams]
    for reader in readers:
        await anext(reader)
    running.running["worker-1"].kill()
    assert await asyncio.gather(*(drain(reader) for reader in readers)) == [None] * 4
    answers = [await stream.answer() for stream in streams]
    assert [answer.text for answer in answers] == [whole.text] * 4
    assert {path_of(answer) for answer in answers} == {Infer.PATH_RELAY}


def path_of(answer: Answer) -> int:
    """Way of the chunks, as the worker signed it."""
    return Infer.ReceiptBody.FromString(answer.receipt.body).path
