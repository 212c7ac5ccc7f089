"""Streams from client to engine and back over real gRPC: gateway, paced worker, and an orchestrator in memory."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc import aio

from tether.errors import Reason, TetherError
from tether.identity import Role
from tether.link import Handshake, LinkLimits
from tether.node.channels import Channels
from tether.node.journal import Journal
from tether.registry.catalogue import Catalogue
from tether.rpc import server as rpc_server
from tether.rpc.channel import open_channel
from tether.rpc.status import from_rpc_error
from tether.testing import catalogue as kit
from tether.testing.identities import Identities, TestNode
from tether.testing.orchestrator import FakeOrchestrator
from tether.v1 import infer_pb2, infer_pb2_grpc, placement_pb2, registry_pb2
from tether_gateway.config import Config as GatewayConfig
from tether_gateway.core import GatewayCore
from tether_gateway.core import Ground as GatewayGround
from tether_worker.config import Config as WorkerConfig
from tether_worker.core import Ground as WorkerGround
from tether_worker.core import WorkerCore
from tether_worker.engine.simulated import SimulatedRuntime
from tether_worker.model import ModelName
from tether_worker.supply import SimulatedOpener

WAIT_S = 5.0
KEY = kit.token(1)
OTHER_KEY = kit.token(2)
MODEL = "sim"
LIMITS = LinkLimits(hello_s=2.0, silence_s=2.0)


async def until(condition: Callable[[], object], what: str = "") -> None:
    """Wait for a condition, not for time."""
    async with asyncio.timeout(WAIT_S):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


@dataclass
class WorkerUnderTest:
    """A worker with a paced engine and its server."""

    core: WorkerCore
    server: aio.Server
    channels: Channels
    runtime: SimulatedRuntime

    @property
    def address(self) -> placement_pb2.WorkerAddress:
        report = self.core.health.report()
        return placement_pb2.WorkerAddress(
            worker_id=report.worker_id, incarnation=report.incarnation, address=report.address
        )

    async def kill(self) -> None:
        """Break all its connections, with nothing said."""
        await self.core.control.close()
        await self.server.stop(0)

    async def close(self) -> None:
        await self.core.close()
        await self.server.stop(0)
        await self.channels.close()


@dataclass
class Region:
    """Gateway, workers and the orchestrator in memory."""

    folder: Path
    identities: Identities
    orchestrator: FakeOrchestrator
    gateway_node: TestNode
    catalogue: Catalogue
    stack: AsyncExitStack
    workers: list[WorkerUnderTest] = field(default_factory=list)
    gateway: GatewayCore | None = None
    address: str = ""

    @property
    def core(self) -> GatewayCore:
        assert self.gateway is not None
        return self.gateway

    async def add_worker(self, *, slots: int = 4, token_ms: float = 5.0, **settings: Any) -> WorkerUnderTest:
        number = len(self.workers)
        node = self.identities.node(f"worker-{number}", Role.WORKER)
        config = WorkerConfig(state=self.folder, engine="simulated", slots=slots, **settings)
        channels = Channels(node.identity)
        ground = WorkerGround(node.identity, node.trust, channels, None)
        core = WorkerCore(ground, config, SimulatedOpener(config), limits=LIMITS)
        server = rpc_server.create()
        core.add_to(server)
        address = await rpc_server.bind(server, "127.0.0.1:0")
        await server.start()
        runtime = SimulatedRuntime(slots=slots, token_ms=token_ms)
        core.supply.serve(ModelName(MODEL, "1.0", self.orchestrator.digest), runtime)
        core.serve_at(address)
        core.start()
        peer = self.orchestrator.peer
        assert peer is not None
        before = len(self.orchestrator.workers)
        core.orchestrators_are([peer])
        await until(lambda: len(self.orchestrator.workers) > before, "worker linked")
        worker = WorkerUnderTest(core, server, channels, runtime)
        self.workers.append(worker)
        self.stack.push_async_callback(worker.close)
        return worker

    async def add_gateway(self, journal: Journal | None = None, **settings: Any) -> GatewayCore:
        node = self.gateway_node
        channels = Channels(node.identity)
        self.stack.push_async_callback(channels.close)
        peers, catalogue = self.orchestrator, self.catalogue
        ground = GatewayGround(node.identity, node.trust, channels, peers, catalogue, journal=journal)
        core = self.gateway = GatewayCore(ground, GatewayConfig(state=self.folder, **settings), LIMITS)
        server = rpc_server.create()
        core.add_to(server)
        self.address = await rpc_server.bind(server, "127.0.0.1:0")
        await server.start()
        core.start()
        self.stack.push_async_callback(server.stop, 0)
        self.stack.push_async_callback(core.close)
        return core

    async def unary(self, method: str, request: Any, key: Any = KEY) -> Any:
        async with open_channel(self.address) as channel:
            stub = infer_pb2_grpc.InferenceServiceStub(channel)
            metadata = (("authorization", f"Bearer {key.text()}"),)
            return await getattr(stub, method)(request, metadata=metadata, timeout=WAIT_S)

    def call(self, **fields: Any) -> "Call":
        return Call(self, fields)

    def quiet(self) -> bool:
        """Whether nothing is left of any job."""
        stats = self.core.splice.table.stats()
        idle = all(
            len(worker.core.jobs) == 0 and worker.runtime.slots_free == worker.runtime.slots_max
            for worker in self.workers
        )
        return stats["jobs"] == 0 and stats["readers"] == 0 and idle

    async def end_quiet(self) -> None:
        await until(self.quiet, repr((self.gateway, self.workers)))


class Call:
    """One Infer call of a test client."""

    def __init__(self, region: Region, fields: dict[str, Any]) -> None:
        key = fields.pop("key", KEY)
        timeout_s = fields.pop("call_timeout_s", None)
        max_tokens = fields.pop("max_tokens", 5)
        request = infer_pb2.Infer.Request(model_id=MODEL, **fields)
        if not request.HasField("input"):
            request.input.text = "say something"
        if not request.parameters.HasField("max_tokens"):
            request.parameters.max_tokens = max_tokens
        self.channel = open_channel(region.address, own_connection=True)
        infer: Any = self.channel.unary_stream(
            "/tether.v1.InferenceService/Infer",
            request_serializer=infer_pb2.Infer.Request.SerializeToString,
            response_deserializer=infer_pb2.Infer.Chunk.FromString,
        )
        metadata = (("authorization", f"Bearer {key.text()}"),) if key else ()
        self.call = infer(request, metadata=metadata, timeout=timeout_s)
        self.chunks: list[infer_pb2.Infer.Chunk] = []

    async def next(self) -> infer_pb2.Infer.Chunk | None:
        async with asyncio.timeout(WAIT_S):
            chunk = await self.call.read()
        if chunk is aio.EOF:
            return None
        self.chunks.append(chunk)
        return chunk

    async def rest(self) -> list[infer_pb2.Infer.Chunk]:
        while await self.next() is not None:
            pass
        await self.close()
        return self.chunks

    async def failure(self) -> TetherError:
        try:
            await self.rest()
        except aio.AioRpcError as error:
            return from_rpc_error(error)
        finally:
            await self.close()
        pytest.fail("the call ended well")

    async def cancel(self) -> None:
        self.call.cancel()
        await self.close()

    async def close(self) -> None:
        await self.channel.close()

    @property
    def text(self) -> str:
        return "".join(chunk.payload.text for chunk in self.chunks)

    @property
    def done(self) -> bool:
        return bool(self.chunks) and self.chunks[-1].done


@pytest.fixture
async def empty(tmp_path: Path) -> AsyncIterator[Region]:
    """Orchestrator and catalogue; no gateway, no workers."""
    identities = Identities(tmp_path)
    gateway_node = identities.node("gateway", Role.GATEWAY)
    orchestrator = FakeOrchestrator(identities.node("orchestrator", Role.ORCHESTRATOR), gateway_node.node_id)
    tenants = [registry_pb2.Tenant(name="demo"), registry_pb2.Tenant(name="other")]
    keys = [kit.key_of(KEY, "demo"), kit.key_of(OTHER_KEY, "other")]
    model = kit.model_of(MODEL)
    model.context_tokens = 4096
    model.capabilities.extend(["choices"])
    catalogue = kit.catalogue_of(tenants, keys, [model])
    async with AsyncExitStack() as stack:
        await orchestrator.start()
        stack.push_async_callback(orchestrator.close)
        yield Region(tmp_path, identities, orchestrator, gateway_node, catalogue, stack)


@pytest.fixture
async def region(empty: Region) -> Region:
    """A gateway and one worker."""
    await empty.add_gateway()
    await empty.add_worker()
    return empty


def check_whole(chunks: list[infer_pb2.Infer.Chunk], tokens: int) -> None:
    """The promise of a stream: from 0 on, no gap, one end."""
    assert [chunk.seq for chunk in chunks] == list(range(len(chunks)))
    assert [chunk.done for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    at = 0
    for chunk in chunks:
        assert chunk.start.bytes == at
        at += len(chunk.payload.text.encode())
    last = chunks[-1]
    assert last.usage.output_tokens == tokens
    assert last.settlement == infer_pb2.Infer.SETTLEMENT_COMMITTED
    body = infer_pb2.Infer.ReceiptBody.FromString(last.receipt.body)
    assert (body.end.tokens, body.end.bytes, body.complete) == (tokens, at, True)


async def prompt_tokens(region: Region) -> int:
    """Tokens of the prompt that all these calls send."""
    tokens = (await region.call(max_tokens=1).rest())[-1].usage.input_tokens
    assert tokens > 0
    return tokens


async def test_stream_is_exact_and_committed(region: Region) -> None:
    call = region.call(max_tokens=20, correlation_id="c-1")
    chunks = await call.rest()
    check_whole(chunks, 20)
    assert chunks[0].started.job_id
    assert chunks[0].correlation_id == "c-1"
    assert chunks[-1].finish_reason == infer_pb2.Infer.FINISH_REASON_LENGTH
    await region.end_quiet()
    job = bytes.fromhex(chunks[0].started.job_id)
    assert region.orchestrator.jobs[job].state == infer_pb2.JOB_STATE_DONE
    assert region.orchestrator.jobs[job].answer.text == call.text
    await until(lambda: len(region.workers[0].core.committer) == 0, "worker heard the outcome")
    assert [who for who, *_ in region.orchestrator.completions] == ["gateway"]


async def test_many_streams_at_once_are_all_whole(region: Region) -> None:
    calls = [region.call(max_tokens=10) for _ in range(8)]
    for chunks in await asyncio.gather(*(call.rest() for call in calls)):
        check_whole(chunks, 10)
    assert len({call.chunks[0].started.job_id for call in calls}) == 8
    await region.end_quiet()


async def test_two_readers_of_one_key_read_the_same(region: Region) -> None:
    first = region.call(max_tokens=40, correlation_id="same")
    await first.next()
    second = region.call(max_tokens=40, correlation_id="same")
    await asyncio.gather(first.rest(), second.rest())
    assert first.text == second.text
    check_whole(first.chunks, 40)
    check_whole(second.chunks, 40)
    await region.end_quiet()


async def test_repeat_after_the_end_gets_the_stored_answer(region: Region) -> None:
    first = region.call(max_tokens=6, correlation_id="again")
    await first.rest()
    before = region.workers[0].core.jobs.started_total
    second = region.call(max_tokens=6, correlation_id="again")
    await second.rest()
    assert second.text == first.text
    assert second.done
    assert second.chunks[-1].receipt == first.chunks[-1].receipt
    assert region.workers[0].core.jobs.started_total == before


async def test_repeat_with_another_body_is_refused(region: Region) -> None:
    await region.call(max_tokens=6, correlation_id="mine").rest()
    failure = await region.call(max_tokens=7, correlation_id="mine").failure()
    assert failure.reason is Reason.JOB_CONFLICT


async def test_repeat_of_an_answer_that_was_not_kept_gets_its_receipt(region: Region) -> None:
    first = region.call(max_tokens=6, correlation_id="long")
    await first.rest()
    region.orchestrator.jobs[bytes.fromhex(first.chunks[0].started.job_id)].ClearField("answer")
    second = region.call(max_tokens=6, correlation_id="long")
    metadata = await second.call.initial_metadata()
    assert infer_pb2.Infer.Receipt.FromString(metadata["tether-receipt-bin"]) == first.chunks[-1].receipt
    assert (await second.failure()).reason is Reason.ANSWER_NOT_KEPT


async def test_disconnect_under_cancel_stops_the_worker_at_once(region: Region) -> None:
    call = region.call(max_tokens=4000)
    await call.next()
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    await call.cancel()
    await until(lambda: region.workers[0].runtime.slots_free == 4, "slot free")
    assert loop.time() - began_s < 0.5  # the bench tells the figure; here only that it does not run on
    await region.end_quiet()
    await until(lambda: len(region.workers[0].core.committer) == 0, "abandonment told")
    job = bytes.fromhex(call.chunks[0].started.job_id)
    assert region.orchestrator.jobs[job].state == infer_pb2.JOB_STATE_ABANDONED
    assert region.orchestrator.prompts[job] == await prompt_tokens(region)  # without a receipt


async def test_prompt_of_a_job_whose_workers_died_is_told(region: Region) -> None:
    tokens = await prompt_tokens(region)
    call = region.call(max_tokens=4000, timeout={"seconds": 2})
    for _ in range(20):
        await call.next()
    for worker in region.workers:
        await worker.kill()
    assert (await call.failure()).reason in (Reason.DEADLINE, Reason.NO_WORKER)
    job = bytes.fromhex(call.chunks[0].started.job_id)
    await until(lambda: job in region.orchestrator.prompts, "told")
    assert region.orchestrator.prompts[job] == tokens


async def test_cancel_tells_the_prompt(region: Region) -> None:
    call = region.call(max_tokens=4000)
    for _ in range(20):
        await call.next()
    job = call.chunks[0].started.job_id
    await region.unary("Cancel", infer_pb2.CancelRequest(job_id=job))
    assert region.orchestrator.prompts[bytes.fromhex(job)] == await prompt_tokens(region)
    await call.close()


async def test_disconnect_under_detach_goes_on_and_is_joined(region: Region) -> None:
    first = region.call(max_tokens=60, correlation_id="kept")
    await first.next()
    await first.cancel()
    second = region.call(max_tokens=60, correlation_id="kept")
    check_whole(await second.rest(), 60)
    assert region.workers[0].core.jobs.started_total == 1
    await region.end_quiet()


async def test_reader_of_a_job_that_was_never_started_takes_it_over(region: Region) -> None:
    region.orchestrator.foreign = 2
    call = region.call(max_tokens=5, correlation_id="unstarted")
    check_whole(await call.rest(), 5)
    assert call.chunks[0].epoch == 3
    assert region.workers[0].core.jobs.started_total == 1
    await region.end_quiet()


async def test_disconnect_under_detach_stops_after_its_grace(empty: Region) -> None:
    await empty.add_gateway(detach_grace_s=0.2)
    worker = await empty.add_worker()
    call = empty.call(max_tokens=4000, correlation_id="left")
    await call.next()
    await call.cancel()
    await empty.end_quiet()
    job = bytes.fromhex(call.chunks[0].started.job_id)
    await until(lambda: empty.orchestrator.jobs[job].state == infer_pb2.JOB_STATE_ABANDONED, "abandoned")
    assert worker.runtime.slots_free == 4


async def test_slow_reader_stops_only_itself(empty: Region) -> None:
    await empty.add_gateway()
    await empty.add_worker(token_ms=1.0)
    slow = empty.call(max_tokens=3000)
    await slow.next()
    quick = [empty.call(max_tokens=50) for _ in range(3)]
    for chunks in await asyncio.gather(*(call.rest() for call in quick)):
        check_whole(chunks, 50)
    check_whole(await slow.rest(), 3000)
    await empty.end_quiet()


async def test_worker_lost_mid_stream_with_no_other_waits_and_never_ends_done(region: Region) -> None:
    call = region.call(max_tokens=4000, correlation_id="lost", timeout={"seconds": 1})
    await call.next()
    await region.workers[0].kill()
    failure = await call.failure()
    assert failure.reason in {Reason.NO_WORKER, Reason.DEADLINE}
    assert not call.done
    await until(lambda: region.core.splice.table.stats()["jobs"] == 0, "forgotten")
    job = bytes.fromhex(call.chunks[0].started.job_id)
    await until(lambda: region.orchestrator.jobs[job].state == infer_pb2.JOB_STATE_ABANDONED, "abandoned")


async def test_stream_goes_on_when_a_worker_comes_after_all_were_lost(region: Region) -> None:
    call = region.call(max_tokens=60, correlation_id="rerun")
    await call.next()
    await region.workers[0].kill()
    await until(lambda: not region.orchestrator.workers, "worker gone")
    await region.add_worker()
    check_whole(await call.rest(), 60)
    assert (call.chunks[0].epoch, call.chunks[-1].epoch) == (1, 2)


def text_of(call: Call) -> str:
    return "".join(chunk.payload.text for chunk in call.chunks)


async def test_killed_worker_costs_nothing_but_a_moment(region: Region) -> None:
    await region.add_worker()
    whole = region.call(max_tokens=80, correlation_id="whole", parameters={"seed": 3})
    await whole.rest()
    calls = [region.call(max_tokens=80, correlation_id=f"c{n}", parameters={"seed": 3}) for n in range(4)]
    for call in calls:
        await call.next()
    await region.workers[0].kill()
    for call in calls:
        check_whole(await call.rest(), 80)
        assert text_of(call) == text_of(whole)
    assert {call.chunks[-1].epoch for call in calls} == {1, 2}
    moved = next(call for call in calls if call.chunks[-1].epoch == 2)
    receipt = infer_pb2.Infer.ReceiptBody.FromString(moved.chunks[-1].receipt.body)
    assert [part.epoch for part in receipt.handed] == [1]
    assert receipt.handed[0].driver_id == region.gateway_node.node_id
    assert [chunk.continuity for chunk in moved.chunks].count(infer_pb2.Infer.CONTINUITY_UNSPECIFIED) == len(
        moved.chunks
    ) - 1


async def test_commit_that_fails_ends_without_done(empty: Region) -> None:
    await empty.add_gateway(commit_timeout_s=0.3)
    await empty.add_worker()
    empty.orchestrator.complete_error = TetherError(Reason.STORE_UNAVAILABLE, "the store is away")
    call = empty.call(max_tokens=5)
    failure = await call.failure()
    assert failure.reason is Reason.SETTLEMENT_FAILED
    assert not call.done


async def test_store_that_is_away_costs_a_moment_and_is_told_later(empty: Region, tmp_path: Path) -> None:
    journal = await Journal.open(tmp_path / "ends", bytes_max=1 << 20)
    await empty.add_gateway(journal)
    await empty.add_worker()
    empty.orchestrator.complete_error = TetherError(Reason.STORE_UNAVAILABLE, "the store is away")
    call = empty.call(max_tokens=5, correlation_id="kept")
    chunks = await call.rest()
    assert [chunk.done for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert chunks[-1].settlement == infer_pb2.Infer.SETTLEMENT_PENDING
    assert len(journal) == 1
    empty.orchestrator.complete_error = None
    await until(lambda: not len(journal), "acknowledged")
    job = bytes.fromhex(chunks[0].started.job_id)
    assert empty.orchestrator.jobs[job].state == infer_pb2.JOB_STATE_DONE
    await journal.close()


async def test_reader_comes_back_while_no_orchestrator_answers(region: Region) -> None:
    call = region.call(max_tokens=120, correlation_id="alone", input={"text": "say something"})
    while not call.chunks or len(call.chunks) < 10:
        await call.next()
    region.orchestrator.place_error = TetherError(Reason.STORE_UNAVAILABLE, "the store is away")
    region.orchestrator.jobs.clear()  # nor is anything found there
    async with open_channel(region.address) as channel:
        stub = infer_pb2_grpc.InferenceServiceStub(channel)
        request = infer_pb2.ResumeRequest(continuation=call.chunks[-1].continuation)
        resumed = stub.Resume(request, metadata=(("authorization", f"Bearer {KEY.text()}"),), timeout=WAIT_S)
        second = await resumed.read()
        assert second.start.bytes == call.chunks[-1].start.bytes + len(call.chunks[-1].payload.text.encode())
        again = region.call(max_tokens=120, correlation_id="alone")
        first = await again.next()
        assert first is not None
        assert (first.start.bytes, first.started.joined) == (0, True)
        await again.cancel()
        resumed.cancel()
    await call.cancel()


async def test_drain_that_is_cut_off_leaves_the_job_for_another_gateway(region: Region) -> None:
    call = region.call(max_tokens=4000, correlation_id="cut")
    await call.next()
    await region.core.drain(0.05)
    failure = await call.failure()
    assert failure.reason is Reason.DRAINING
    assert call.chunks[-1].continuation
    job = bytes.fromhex(call.chunks[0].started.job_id)
    assert region.orchestrator.jobs[job].state == infer_pb2.JOB_STATE_RESERVED
    assert region.workers[0].runtime.slots_free < region.workers[0].runtime.slots_max


async def test_requeued_job_is_driven_without_a_client(region: Region) -> None:
    whole = region.call(max_tokens=30, correlation_id="again")
    chunks = await whole.rest()
    job = bytes.fromhex(chunks[0].started.job_id)
    row, header = region.orchestrator.jobs[job], region.orchestrator.headers[job]
    row.state = infer_pb2.JOB_STATE_ABANDONED
    row.ClearField("answer")
    request = infer_pb2.Infer.Request(model_id=MODEL, correlation_id="again")
    request.input.text = "say something"
    request.parameters.max_tokens = 30
    drive = placement_pb2.Drive(job_id=job, header=header, request=request.SerializeToString())
    region.core.drives.drive(drive)
    await until(lambda: row.state == infer_pb2.JOB_STATE_DONE, "done")
    assert row.answer.text == text_of(whole)
    await region.end_quiet()


async def test_full_worker_is_passed_over_before_the_first_chunk(empty: Region) -> None:
    await empty.add_gateway()
    await empty.add_worker(slots=1, queue_max=0)
    busy = empty.call(max_tokens=4000)
    await busy.next()
    await empty.add_worker()
    full = empty.workers[0].address.worker_id
    empty.orchestrator.workers.sort(key=lambda one: one.worker_id != full)
    call = empty.call(max_tokens=5)
    check_whole(await call.rest(), 5)
    assert call.chunks[0].epoch == 2
    await busy.cancel()
    await empty.end_quiet()


async def test_job_that_waits_long_for_a_slot_stays_where_it_is(empty: Region) -> None:
    await empty.add_gateway(silence_s=0.6)
    await empty.add_worker(slots=1, queue_max=4, token_ms=60.0)
    await empty.add_worker(slots=1, queue_max=4, token_ms=60.0)
    calls = [empty.call(max_tokens=12) for _ in range(6)]  # the last wait for two others, twice the silence
    for chunks in await asyncio.gather(*(call.rest() for call in calls)):
        check_whole(chunks, 12)
        assert {chunk.epoch for chunk in chunks} == {1}  # progress was told: nobody thought the worker dead


async def test_full_region_is_refused_with_a_typed_error(empty: Region) -> None:
    await empty.add_gateway(attempts_max=2)
    await empty.add_worker(slots=1, queue_max=0)
    busy = empty.call(max_tokens=4000)
    await busy.next()
    failure = await empty.call(max_tokens=5, correlation_id="unlucky").failure()
    assert failure.reason is Reason.OVERLOADED
    [unlucky] = [row for row in empty.orchestrator.jobs.values() if row.correlation_id == "unlucky"]
    await until(lambda: unlucky.state == infer_pb2.JOB_STATE_ABANDONED, "settled")
    await busy.cancel()
    await empty.end_quiet()


async def test_job_that_cannot_be_placed_again_is_given_up(empty: Region) -> None:
    await empty.add_gateway()
    worker = await empty.add_worker(slots=1, queue_max=0)
    busy = empty.call(max_tokens=4000)
    await busy.next()
    empty.orchestrator.place_limit = 2
    failure = await empty.call(max_tokens=5, correlation_id="unlucky").failure()
    assert failure.reason is Reason.NO_WORKER
    [unlucky] = [row for row in empty.orchestrator.jobs.values() if row.correlation_id == "unlucky"]
    await until(lambda: unlucky.state == infer_pb2.JOB_STATE_ABANDONED, "settled")
    await busy.cancel()
    await empty.end_quiet()
    assert worker.core.jobs.started_total == 1


async def test_worker_that_is_gone_is_passed_over(empty: Region) -> None:
    await empty.add_gateway()
    gone = await empty.add_worker()
    address = gone.address
    await gone.kill()
    await until(lambda: not empty.orchestrator.workers, "worker gone")
    await empty.add_worker()
    empty.orchestrator.workers.insert(0, address)  # its death is not known yet
    call = empty.call(max_tokens=5)
    check_whole(await call.rest(), 5)
    assert call.chunks[0].epoch == 2


async def test_deadline_ends_the_stream_and_the_engine(region: Region) -> None:
    call = region.call(max_tokens=4000, timeout={"nanos": 200_000_000})
    failure = await call.failure()
    assert failure.reason is Reason.DEADLINE
    await region.end_quiet()


async def test_call_deadline_counts_too(region: Region) -> None:
    call = region.call(max_tokens=4000, call_timeout_s=0.3)
    with pytest.raises(aio.AioRpcError) as raised:
        await call.rest()
    assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await call.close()
    await region.end_quiet()


async def test_message_over_the_limit_is_refused(region: Region) -> None:
    call = region.call(input={"text": "x" * (100 << 20)})
    with pytest.raises(aio.AioRpcError) as raised:
        await call.rest()
    assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    await call.close()
    await region.end_quiet()


async def test_choices_come_as_outputs_of_one_job(region: Region) -> None:
    request = {"choices": 3, "max_tokens": 6}
    call = region.call(parameters=request)
    await call.rest()
    assert {chunk.output_index for chunk in call.chunks if chunk.payload.text} == {0, 1, 2}
    assert call.chunks[-1].usage.output_tokens == 18
    await region.end_quiet()


async def test_large_input_travels_in_pieces(region: Region) -> None:
    call = region.call(input={"text": "y " * 6000}, max_tokens=4)  # 12 KB, 3,000 tokens of the paced engine
    check_whole(await call.rest(), 4)
    await region.end_quiet()


# other calls


async def test_cancel_is_terminal_and_replayed_as_such(region: Region) -> None:
    call = region.call(max_tokens=4000, correlation_id="stop")
    first = await call.next()
    assert first is not None
    held = await region.unary("Cancel", infer_pb2.CancelRequest(correlation_id="stop"))
    assert held.job.state == infer_pb2.JOB_STATE_CANCELLED
    assert (await call.failure()).reason is Reason.JOB_CANCELLED
    await region.end_quiet()
    assert (await region.call(max_tokens=4000, correlation_id="stop").failure()).reason is Reason.JOB_CANCELLED


async def test_cancel_of_a_finished_job_tells_its_outcome(region: Region) -> None:
    call = region.call(max_tokens=3, correlation_id="ended")
    await call.rest()
    name = call.chunks[0].started.job_id
    held = await region.unary("Cancel", infer_pb2.CancelRequest(job_id=name))
    assert held.job.state == infer_pb2.JOB_STATE_DONE


async def test_job_is_shown_to_its_tenant_alone(region: Region) -> None:
    call = region.call(max_tokens=3, correlation_id="mine")
    await call.rest()
    name = call.chunks[0].started.job_id
    shown = await region.unary("GetJob", infer_pb2.GetJobRequest(job_id=name))
    assert (shown.job.state, shown.job.answer.text) == (infer_pb2.JOB_STATE_DONE, call.text)
    for method, request in (("GetJob", infer_pb2.GetJobRequest), ("Cancel", infer_pb2.CancelRequest)):
        with pytest.raises(aio.AioRpcError) as raised:
            await region.unary(method, request(job_id=name), key=OTHER_KEY)
        assert from_rpc_error(raised.value).reason is Reason.JOB_UNKNOWN


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"key": None}, Reason.KEY_MISSING),
        ({"key": kit.token(9)}, Reason.KEY_INVALID),
        ({"tenant_id": "other"}, Reason.TENANT_MISMATCH),
        ({"version": "9.9"}, Reason.VERSION_UNKNOWN),
        ({"input": {"text": ""}}, Reason.INVALID_FIELD),
        ({"parameters": {"max_tokens": 5, "temperature": float("nan")}}, Reason.INVALID_FIELD),
        ({"parameters": {"max_tokens": 4_000_000_000}}, Reason.INVALID_FIELD),
    ],
)
async def test_bad_request_gets_a_typed_error_and_nothing_is_placed(
    region: Region, fields: dict[str, Any], reason: Reason
) -> None:
    assert (await region.call(**fields).failure()).reason is reason
    assert region.orchestrator.places == 0


async def test_no_worker_is_told(empty: Region) -> None:
    await empty.add_gateway()
    assert (await empty.call().failure()).reason is Reason.NO_WORKER


async def test_client_that_leaves_during_its_placement_leaves_nothing(region: Region) -> None:
    region.orchestrator.place_delay_s = 0.2
    call = region.call(max_tokens=4000)
    await until(lambda: region.orchestrator.places == 1, "placing")
    await call.cancel()
    await until(lambda: len(region.orchestrator.completions) == 1, "given up")
    [(_, job, _, outcome)] = region.orchestrator.completions
    assert outcome == infer_pb2.JOB_STATE_ABANDONED
    assert region.orchestrator.jobs[job].state == infer_pb2.JOB_STATE_ABANDONED
    await region.end_quiet()


async def test_deadline_that_passes_during_the_placement_leaves_nothing(region: Region) -> None:
    region.orchestrator.place_delay_s = 0.3
    call = region.call(max_tokens=4000, timeout={"nanos": 100_000_000})
    assert (await call.failure()).reason is Reason.DEADLINE
    await until(lambda: len(region.orchestrator.completions) == 1, "given up")
    [(_, job, _, outcome)] = region.orchestrator.completions
    assert outcome == infer_pb2.JOB_STATE_ABANDONED
    assert region.orchestrator.jobs[job].state == infer_pb2.JOB_STATE_ABANDONED
    await region.end_quiet()


async def test_drain_finishes_streams_and_takes_no_more(region: Region) -> None:
    running = region.call(max_tokens=60)
    await running.next()
    draining = asyncio.create_task(region.core.drain(WAIT_S))
    await until(lambda: region.core.governor.draining, "draining")
    assert (await region.call().failure()).reason is Reason.DRAINING
    check_whole(await running.rest(), 60)
    await asyncio.wait_for(draining, WAIT_S)


async def test_worker_drain_finishes_streams_and_passes_new_ones_on(region: Region) -> None:
    running = region.call(max_tokens=60)
    await running.next()
    await region.add_worker()
    draining = asyncio.create_task(region.workers[0].core.drain(WAIT_S))
    await until(lambda: region.workers[0].core.jobs.draining, "draining")
    check_whole(await region.call(max_tokens=5).rest(), 5)
    check_whole(await running.rest(), 60)
    await asyncio.wait_for(draining, WAIT_S)
    assert region.workers[0].core.jobs.started_total == 1


@pytest.mark.parametrize("grace_s", [0.4, 0.0])
async def test_worker_that_leaves_hands_its_streams_over(region: Region, grace_s: float) -> None:
    call = region.call(max_tokens=300, parameters={"seed": 3})
    await call.next()
    await region.add_worker()
    leaving = region.workers[0].core
    await asyncio.wait_for(leaving.drain(grace_s) if grace_s else leaving.close(), WAIT_S)
    check_whole(await call.rest(), 300)
    assert call.chunks[-1].epoch == 2
    assert len(leaving.committer) == 0  # nothing was decided there
    receipt = infer_pb2.Infer.ReceiptBody.FromString(call.chunks[-1].receipt.body)
    assert [part.epoch for part in receipt.handed] == [1]
    await region.end_quiet()


async def test_end_that_nobody_could_write_is_journaled_and_sent_later(empty: Region) -> None:
    gateway = await empty.add_gateway()
    worker = await empty.add_worker(commit_wait_s=0.1)
    await worker.core.keeper.open(empty.folder / "ends.journal", 1 << 20)
    call = empty.call(max_tokens=60, correlation_id="orphan")
    first = await call.next()
    assert first is not None
    await worker.core.control.close()
    await until(lambda: not len(worker.core.control), "no orchestrator")
    empty.orchestrator.complete_error = TetherError(Reason.STORE_UNAVAILABLE, "a dead gateway completes nothing")
    await gateway.links.close()
    await until(lambda: len(worker.core.jobs) == 0 and len(worker.core.committer) == 1, "ended")
    await until(lambda: worker.core.committer.exposed == 0, "journaled")
    assert empty.orchestrator.peer is not None
    worker.core.orchestrators_are([empty.orchestrator.peer])
    await until(lambda: len(worker.core.committer) == 0, "told")
    assert empty.orchestrator.jobs[bytes.fromhex(first.started.job_id)].state == infer_pb2.JOB_STATE_DONE
    await call.close()


async def test_gateway_that_dies_leaves_the_commit_to_the_worker(empty: Region) -> None:
    gateway = await empty.add_gateway()
    worker = await empty.add_worker(commit_wait_s=0.1)
    call = empty.call(max_tokens=60, correlation_id="orphan")
    first = await call.next()
    assert first is not None
    empty.orchestrator.complete_error = TetherError(Reason.STORE_UNAVAILABLE, "a dead gateway completes nothing")
    await gateway.links.close()
    await until(lambda: len(worker.core.jobs) == 0, "ran on to its end")
    job = bytes.fromhex(first.started.job_id)
    await until(lambda: any(who == "worker" for who, *_ in empty.orchestrator.completions), "committed")
    await until(lambda: len(worker.core.committer) == 0, "told")
    assert empty.orchestrator.jobs[job].state == infer_pb2.JOB_STATE_DONE
    assert empty.orchestrator.jobs[job].receipt.body
    await call.close()


async def test_link_with_a_foreign_identity_is_refused(region: Region, tmp_path: Path) -> None:
    stranger = Identities(tmp_path / "strangers").node("gateway", Role.GATEWAY)
    worker = region.workers[0]
    channel = open_channel(worker.address.address)
    open_: Any = channel.stream_stream("/tether.v1.LinkService/Open")
    call = open_()
    await call.write(Handshake(stranger.identity, stranger.trust).hello(worker.address.worker_id))
    with pytest.raises(aio.AioRpcError) as raised:
        await call.read()
    assert from_rpc_error(raised.value).reason is Reason.NODE_TOKEN_INVALID
    await channel.close()


@pytest.mark.parametrize("garbage", [b"\xff\xff\xff", b"\x0a\x04abcd", b"\x0a\x80\x80\x04" + bytes(65_536)])
async def test_garbage_on_a_link_ends_that_link_alone(region: Region, garbage: bytes) -> None:
    running = region.call(max_tokens=40)
    await running.next()
    worker = region.workers[0]
    other = region.identities.node("gateway-2", Role.GATEWAY)
    channel = open_channel(worker.address.address, own_connection=True)
    open_: Any = channel.stream_stream("/tether.v1.LinkService/Open")
    call = open_()
    await call.write(Handshake(other.identity, other.trust).hello(worker.address.worker_id))
    assert await call.read() is not aio.EOF
    await call.write(garbage)
    while await call.read() is not aio.EOF:
        pass
    await channel.close()
    check_whole(await running.rest(), 40)


async def test_start_without_a_good_ticket_runs_nothing(region: Region) -> None:
    region.orchestrator.gateway_id = "somebody-else"
    failure = await region.call().failure()
    assert failure.reason is Reason.TICKET_INVALID
    assert region.workers[0].core.jobs.started_total == 0
    await region.end_quiet()
