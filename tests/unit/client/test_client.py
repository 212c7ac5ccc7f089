"""The clients against a real gRPC server on loopback that answers as scripted."""

import asyncio
import threading

import pytest
from grpc import aio

from tether.client.aio import Client
from tether.client.blocking import SyncClient
from tether.errors import Reason, TetherError
from tether.rpc.status import abort
from tether.v1.infer_pb2 import JOB_STATE_CANCELLED, CancelResponse, GetJobResponse, Infer, Job
from tether.v1.infer_pb2_grpc import InferenceServiceServicer, add_InferenceServiceServicer_to_server


class Scripted(InferenceServiceServicer):
    def __init__(self):
        self.cancelled = asyncio.Event()
        self.keys = []

    async def Infer(self, request, context):
        self.keys.append(dict(context.invocation_metadata())["authorization"])
        text = request.input.text
        if text == "refuse":
            await abort(context, TetherError(Reason.RATE_LIMITED, "slow down", retry_after_s=2.5))
        start = 0
        for seq, word in enumerate(text.split()):
            yield Infer.Chunk(
                correlation_id="c-1",
                seq=seq,
                start=Infer.Position(bytes=start, tokens=seq),
                payload=Infer.Payload(text=word),
                started=Infer.Started(job_id="ab" * 16, model_id=request.model_id, version="1.0") if seq == 0 else None,
            )
            start += len(word.encode())
        if text.startswith("hang"):
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                self.cancelled.set()
        if not text.startswith("cut"):
            yield Infer.Chunk(
                seq=seq + 1,
                start=Infer.Position(bytes=start),
                done=True,
                finish_reason=Infer.FINISH_REASON_STOP,
                usage=Infer.Usage(output_tokens=seq + 1),
            )

    async def Cancel(self, request, context):
        return CancelResponse(job=Job(name=request.job_id, state=JOB_STATE_CANCELLED))

    async def GetJob(self, request, context):
        await abort(context, TetherError(Reason.JOB_UNKNOWN, "there is no such job"))
        return GetJobResponse()


@pytest.fixture
async def served():
    server = aio.server()
    scripted = Scripted()
    add_InferenceServiceServicer_to_server(scripted, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield f"127.0.0.1:{port}", scripted
    await server.stop(None)


async def test_client_infer_returns_the_whole_answer(served):
    address, scripted = served
    async with Client(address, "tk_x") as client:
        answer = await client.infer("one two three", model="m")
    assert (answer.text, answer.model, answer.output_tokens) == ("onetwothree", "m:1.0", 3)
    assert scripted.keys == ["Bearer tk_x"]


async def test_client_stream_yields_pieces_in_order(served):
    async with Client(served[0], "k") as client, client.stream("a bc d", model="m") as stream:
        pieces = [piece.text async for piece in stream]
        assert stream.job_id == "ab" * 16
        assert (await stream.answer()).finish_reason == "stop"
    assert pieces == ["a", "bc", "d", ""]


async def test_client_leaving_the_context_cancels_the_call(served):
    address, scripted = served
    async with Client(address, "k") as client:
        async with client.stream("hang now", model="m") as stream:
            async for piece in stream:
                if piece.text == "now":
                    break
        await asyncio.wait_for(scripted.cancelled.wait(), 5)


async def test_client_typed_error_carries_reason_and_delay(served):
    async with Client(served[0], "k") as client:
        with pytest.raises(TetherError) as caught:
            await client.infer("refuse", model="m")
    assert caught.value.reason is Reason.RATE_LIMITED
    assert caught.value.retry_after_s == pytest.approx(2.5)


async def test_client_stream_that_just_ends_is_an_error(served):
    async with Client(served[0], "k") as client:
        with pytest.raises(TetherError) as caught:
            await client.infer("cut off", model="m")
    assert caught.value.reason is Reason.WORKER_LOST


async def test_client_deadline_is_a_typed_error(served):
    async with Client(served[0], "k") as client:
        with pytest.raises(TetherError) as caught:
            await client.infer("hang", model="m", timeout_s=0.1)
    assert caught.value.reason is Reason.DEADLINE


async def test_client_cancel_and_job(served):
    async with Client(served[0], "k") as client:
        assert (await client.cancel(job_id="ab" * 16)).state == JOB_STATE_CANCELLED
        with pytest.raises(TetherError) as caught:
            await client.job(job_id="ab" * 16)
    assert caught.value.reason is Reason.JOB_UNKNOWN


async def test_client_wait_ready_takes_the_next_address(served):
    async with Client(f"127.0.0.1:1,{served[0]}", "k") as client:
        await client.wait_ready(timeout_s=4)
        assert (await client.infer("x", model="m")).text == "x"


async def test_client_call_itself_takes_the_next_address(served):
    async with Client(f"127.0.0.1:1,{served[0]}", "k") as client:
        assert (await client.infer("x", model="m")).text == "x"


async def test_client_wait_ready_without_gateway_is_a_deadline():
    async with Client("127.0.0.1:1", "k") as client:
        with pytest.raises(TetherError) as caught:
            await client.wait_ready(timeout_s=1)
    assert caught.value.reason is Reason.DEADLINE


def test_sync_client_streams_and_closes():
    ready, stop, port = threading.Event(), threading.Event(), []

    async def serve():
        server = aio.server()
        add_InferenceServiceServicer_to_server(Scripted(), server)
        port.append(server.add_insecure_port("127.0.0.1:0"))
        await server.start()
        ready.set()
        await asyncio.to_thread(stop.wait)
        await server.stop(None)

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    try:
        assert ready.wait(10)
        with SyncClient(f"127.0.0.1:{port[0]}", "k") as client:
            with client.stream("a b", model="m") as stream:
                assert [piece.text for piece in stream] == ["a", "b", ""]
            assert client.infer("hello", model="m").text == "hello"
            client.wait_ready()
            with client.stream("a b", model="m") as stream:
                assert next(stream).text == "a"
                assert stream.answer().text == "ab"
                assert (stream.model, stream.correlation_id, stream.job_id) == ("m:1.0", "c-1", "ab" * 16)
            with pytest.raises(TetherError):
                client.infer("refuse", model="m")
    finally:
        stop.set()
        thread.join()
