"""A client whose gateways fail: the answer has no gap, no repeat and one end, or the error says why not."""

import asyncio

import pytest
from grpc import aio

from tether.client.aio import Client
from tether.client.retry import PATIENCE_S, Patience, fresh, resumable
from tether.errors import Reason, TetherError
from tether.rpc.status import abort
from tether.v1.infer_pb2 import CancelResponse, Infer, Job
from tether.v1.infer_pb2_grpc import InferenceServiceServicer, add_InferenceServiceServicer_to_server

WORDS = [f"word{number} " for number in range(20)]
JOB = bytes(range(16))


def chunks(from_bytes):
    """The answer from a place on, cut as another gateway might, each with where it ends."""
    text = "".join(WORDS)[from_bytes:]
    at = from_bytes
    for seq, begin in enumerate(range(0, len(text), 7)):
        piece = text[begin : begin + 7]
        start, at = at, at + len(piece)
        cursor = Infer.Cursor(job_id=JOB, epoch=1, position=Infer.Position(bytes=at))
        yield Infer.Chunk(
            seq=seq,
            start=Infer.Position(bytes=start),
            payload=Infer.Payload(text=piece),
            continuation=cursor.SerializeToString(),
            started=Infer.Started(job_id=JOB.hex(), model_id="m", version="1.0") if seq == 0 else None,
        )
    yield Infer.Chunk(seq=seq + 1, start=Infer.Position(bytes=at), done=True, finish_reason=Infer.FINISH_REASON_STOP)


class Failing(InferenceServiceServicer):
    """Ends each call after `pieces` chunks: with an error, or as if all were well."""

    def __init__(self, pieces, error=None):
        self.pieces, self.error = pieces, error
        self.infers, self.resumes, self.cancels = [], [], []

    async def Infer(self, request, context):
        self.infers.append(request)
        async for chunk in self._answer(0, context):
            yield chunk

    async def Resume(self, request, context):
        self.resumes.append(request)
        at = Infer.Cursor.FromString(request.continuation).position.bytes
        async for chunk in self._answer(at, context):
            yield chunk

    async def _answer(self, at, context):
        for number, chunk in enumerate(chunks(at)):
            if self.pieces is not None and number == self.pieces:
                if self.error is not None:
                    await abort(context, self.error)
                return
            yield chunk

    async def Cancel(self, request, context):
        self.cancels.append(request.correlation_id)
        return CancelResponse(job=Job())


@pytest.fixture
async def gateways():
    servers = []

    async def start(servicer):
        server = aio.server()
        add_InferenceServiceServicer_to_server(servicer, server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        servers.append(server)
        return f"127.0.0.1:{port}"

    yield start
    for server in servers:
        await server.stop(None)


@pytest.mark.parametrize(
    "error",
    [
        TetherError(Reason.DRAINING, "going"),
        TetherError(Reason.WORKER_LOST, "gone", retry_after_s=0.1),
        TetherError(Reason.SETTLEMENT_FAILED, "no store"),
        None,  # a clean end without the last chunk
    ],
)
async def test_stream_that_is_cut_goes_on_at_the_next_gateway(gateways, error):
    first, second = Failing(3, error), Failing(None)
    addresses = f"{await gateways(first)},{await gateways(second)}"
    async with Client(addresses, "k") as client, client.stream("p", model="m") as stream:
        pieces = [piece async for piece in stream]
    assert "".join(piece.text for piece in pieces) == "".join(WORDS)
    assert [piece.seq for piece in pieces] == list(range(len(pieces)))
    assert [piece.done for piece in pieces].count(True) == 1
    assert stream.resumes == 1
    assert len(second.resumes) == 1
    assert second.resumes[0].request == first.infers[0]  # so that the job can run again


async def test_stream_is_cut_again_and_again(gateways):
    servicer = Failing(2, TetherError(Reason.WORKER_LOST, "gone"))
    async with Client(await gateways(servicer), "k") as client, client.stream("p", model="m") as stream:
        answer = await stream.answer()
    assert answer.text == "".join(WORDS)
    assert stream.resumes > 5


async def test_stream_that_a_rule_ends_is_not_tried_again(gateways):
    servicer = Failing(2, TetherError(Reason.JOB_CANCELLED, "cancelled"))
    async with Client(await gateways(servicer), "k") as client, client.stream("p", model="m") as stream:
        with pytest.raises(TetherError) as caught:
            await stream.answer()
    assert caught.value.reason is Reason.JOB_CANCELLED
    assert not servicer.resumes


async def test_stream_without_resume_raises_at_once(gateways):
    servicer = Failing(2, TetherError(Reason.WORKER_LOST, "gone"))
    async with Client(await gateways(servicer), "k", resume=False) as client:
        with pytest.raises(TetherError) as caught:
            await client.infer("p", model="m")
    assert caught.value.reason is Reason.WORKER_LOST
    assert servicer.infers[0].correlation_id == ""


async def test_stream_past_its_deadline_raises_what_ended_it(gateways):
    servicer = Failing(1, TetherError(Reason.WORKER_LOST, "gone"))
    servicer._answer = lambda at, context: _nothing_but(context, TetherError(Reason.WORKER_LOST, "gone"))
    async with Client(await gateways(servicer), "k") as client, client.stream("p", model="m", timeout_s=0.5) as stream:
        stream._gathered.add(next(chunks(0)))
        begun = asyncio.get_running_loop().time()
        with pytest.raises(TetherError) as caught:
            await stream.answer()
    assert caught.value.reason in (Reason.WORKER_LOST, Reason.DEADLINE)
    assert asyncio.get_running_loop().time() - begun < 5


async def _nothing_but(context, error):
    await abort(context, error)
    yield  # an async generator


async def test_request_that_got_nothing_is_sent_again_under_its_own_name(gateways):
    gone = aio.server()
    port = gone.add_insecure_port("127.0.0.1:0")
    await gone.start()
    await gone.stop(None)
    servicer = Failing(None)
    addresses = f"127.0.0.1:{port},{await gateways(servicer)}"
    async with Client(addresses, "k") as client, client.stream("p", model="m") as stream:
        assert (await stream.answer()).text == "".join(WORDS)
    assert servicer.infers[0].correlation_id == stream.correlation_id != ""


async def test_stream_left_early_ends_a_job_that_only_the_client_can_name(gateways):
    servicer = Failing(None)
    async with Client(await gateways(servicer), "k") as client:
        async with client.stream("p", model="m") as stream:
            await anext(aiter(stream))
        async with client.stream("p", model="m", correlation_id="mine") as named:
            await anext(aiter(named))
    assert servicer.cancels == [stream.correlation_id]


async def test_stream_that_was_refused_is_not_cancelled_as_well(gateways):
    servicer = Failing(0, TetherError(Reason.OVERLOADED, "full", retry_after_s=1.0))
    async with Client(await gateways(servicer), "k") as client:
        with pytest.raises(TetherError):
            await client.infer("p", model="m")
    assert len(servicer.infers) == 1
    assert servicer.cancels == []  # a busy service is not asked twice for each refusal


async def test_resume_reads_on_behind_a_continuation(gateways):
    servicer = Failing(None)
    async with Client(await gateways(servicer), "k") as client:
        async with client.stream("p", model="m", correlation_id="mine") as stream:
            first = await anext(aiter(stream))
        async with client.resume(continuation=stream.continuation) as rest:
            assert first.text + (await rest.answer()).text == "".join(WORDS)


def test_patience_grows_with_failures_and_ends_with_the_deadline():
    error = TetherError(Reason.WORKER_LOST, "gone")
    patience = Patience(10.0, 0.0)
    waits = [patience.wait_s(error, 1.0, 1.0) for _ in range(8)]
    assert waits == sorted(waits)
    assert max(waits) <= 1.0
    assert patience.wait_s(error, 9.9, 1.0) is None
    endless = Patience(None, 0.0)
    assert endless.wait_s(error, PATIENCE_S + 1, 0.5) is None
    endless.progressed(PATIENCE_S)
    assert endless.wait_s(error, PATIENCE_S + 1, 0.5) is not None


def test_busy_service_is_waited_for_as_it_says():
    error = TetherError(Reason.OVERLOADED, "full", retry_after_s=2.0)
    assert Patience(None, 0.0).wait_s(error, 0.0, 0.5) >= 2.0
    assert resumable(error)
    assert not fresh(error)


@pytest.mark.parametrize("reason", [Reason.KEY_INVALID, Reason.STREAM_DIVERGED, Reason.CURSOR_INVALID, Reason.POISON])
def test_what_cannot_get_better_is_not_resumable(reason):
    assert not resumable(TetherError(reason, "no"))
