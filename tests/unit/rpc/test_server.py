"""A server as services make it, over real loopback connections."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
import structlog
from grpc import aio
from grpc._cython import cygrpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from tether.errors import Reason, TetherError
from tether.rpc import channel, health, reflection, server, status, unknown, wrap
from tether.v1 import infer_pb2

LIMIT_S = 10
INFERENCE = infer_pb2.DESCRIPTOR.services_by_name["InferenceService"].full_name


def handlers(**methods: grpc.RpcMethodHandler) -> grpc.GenericRpcHandler:
    return grpc.method_handlers_generic_handler("test.Sample", methods)


@asynccontextmanager
async def serving(
    *added: grpc.GenericRpcHandler, board: health.HealthBoard | None = None
) -> AsyncIterator[aio.Channel]:
    running = server.create(receive_bytes_max=4 << 20)
    running.add_generic_rpc_handlers(added)
    services = [board.install(running)] if board else []
    reflection.enable_reflection(running, services)
    running.add_generic_rpc_handlers((unknown.UnknownMethod([INFERENCE]),))
    address = await server.bind(running, "127.0.0.1:0")
    await running.start()
    try:
        async with channel.open_channel(address) as opened:
            yield opened
    finally:
        await running.stop(0)


async def error_of(call: Awaitable[object]) -> TetherError:
    with pytest.raises(aio.AioRpcError) as caught:
        await asyncio.wait_for(call, LIMIT_S)
    return status.from_rpc_error(caught.value)


async def collect(stream: Any) -> list[Any]:
    return [item async for item in stream]


def unary(behaviour: Callable[..., Any]) -> grpc.GenericRpcHandler:
    return handlers(Call=grpc.unary_unary_rpc_method_handler(behaviour))


def stream(behaviour: Callable[..., Any]) -> grpc.GenericRpcHandler:
    return handlers(Call=grpc.unary_stream_rpc_method_handler(behaviour))


RAISED = [
    (TetherError(Reason.NO_WORKER, "None here.", retry_after_s=0.5), Reason.NO_WORKER),
    (TimeoutError(), Reason.DEADLINE),
    (NotImplementedError("Method not implemented!"), Reason.METHOD_UNKNOWN),
    (ValueError("secret cause"), Reason.INTERNAL),
    (asyncio.CancelledError(), Reason.INTERNAL),
]


@pytest.mark.parametrize(("raised", "reason"), RAISED)
async def test_unary_handler_that_raises_answers_a_typed_error(raised: BaseException, reason: Reason) -> None:
    async def call(_request: bytes, _context: object) -> bytes:
        raise raised

    async with serving(unary(call)) as opened:
        error = await error_of(opened.unary_unary("/test.Sample/Call")(b""))
    assert error.reason is reason
    assert "secret" not in str(error)


@pytest.mark.parametrize(("raised", "reason"), RAISED)
async def test_generator_that_raises_ends_its_stream_typed(raised: BaseException, reason: Reason) -> None:
    async def call(_request: bytes, _context: object) -> AsyncIterator[bytes]:
        yield b"one"
        raise raised

    async with serving(stream(call)) as opened:
        answers = opened.unary_stream("/test.Sample/Call")(b"")
        assert await answers.read() == b"one"
        assert (await error_of(answers.read())).reason is reason


async def test_writer_that_raises_ends_its_stream_typed() -> None:
    async def call(_request: bytes, context: aio.ServicerContext[Any, Any]) -> None:
        await context.write(b"one")
        raise TetherError(Reason.WORKER_LOST, "Gone.")

    async with serving(stream(call)) as opened:
        answers = opened.unary_stream("/test.Sample/Call")(b"")
        assert await answers.read() == b"one"
        assert (await error_of(answers.read())).reason is Reason.WORKER_LOST


async def test_fault_is_logged_once_under_the_id_that_the_client_gets() -> None:
    async def call(_request: bytes, _context: object) -> bytes:
        raise ValueError("secret cause")

    with structlog.testing.capture_logs() as logs:
        async with serving(unary(call)) as opened:
            error = await error_of(opened.unary_unary("/test.Sample/Call")(b""))
    assert [entry["correlation_id"] for entry in logs] == [error.metadata["correlation_id"]]


async def test_largest_error_arrives_whole_at_a_client_with_default_limits() -> None:
    facts = {f"{i}" * 400: "€" * 10_000 for i in range(100)}

    async def call(_request: bytes, _context: object) -> bytes:
        raise TetherError(Reason.QUOTA_EXCEEDED, "€" * 100_000, field="f" * 1_000, retry_after_s=1, metadata=facts)

    running = server.create()
    running.add_generic_rpc_handlers((unary(call),))
    address = await server.bind(running, "127.0.0.1:0")
    await running.start()
    async with aio.insecure_channel(address) as plain:
        for _ in range(20):  # a peer drops what is over its soft limit now and then, not always
            assert (await error_of(plain.unary_unary("/test.Sample/Call")(b""))).reason is Reason.QUOTA_EXCEEDED
    await running.stop(0)


@pytest.mark.parametrize("shape", [grpc.unary_unary_rpc_method_handler, grpc.unary_stream_rpc_method_handler])
@pytest.mark.parametrize("raw", [b"\xff\xff", b"\x0a\x02\xff\xfe"], ids=["cut off", "invalid UTF-8"])
async def test_request_that_is_no_message_is_refused_before_its_handler(shape: Any, raw: bytes) -> None:
    called = []

    async def call(request: infer_pb2.CancelRequest, _context: object) -> None:
        called.append(request)

    read = infer_pb2.CancelRequest.FromString
    async with serving(handlers(Call=shape(call, request_deserializer=read))) as opened:
        error = await error_of(opened.unary_unary("/test.Sample/Call")(raw))
    assert (error.reason, called) == (Reason.MALFORMED, [])


async def test_own_abort_stays_as_it_is() -> None:
    async def call(_request: bytes, context: aio.ServicerContext[Any, Any]) -> bytes:
        await context.abort(grpc.StatusCode.DATA_LOSS, "mine")

    async with serving(unary(call)) as opened:
        with pytest.raises(aio.AioRpcError) as caught:
            await opened.unary_unary("/test.Sample/Call")(b"")
    assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.DATA_LOSS, "mine")


@pytest.mark.parametrize("kind", ["generator", "writer"])
async def test_client_that_leaves_cancels_its_handler(kind: str) -> None:
    ended = asyncio.Event()

    async def generator(_request: bytes, _context: object) -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"x"
                await asyncio.sleep(0)
        finally:
            ended.set()

    async def writer(_request: bytes, context: aio.ServicerContext[Any, Any]) -> None:
        try:
            await context.write(b"x")
            await asyncio.Event().wait()
        finally:
            ended.set()

    with structlog.testing.capture_logs() as logs:
        async with serving(stream(generator if kind == "generator" else writer)) as opened:
            answers = opened.unary_stream("/test.Sample/Call")(b"")
            await answers.read()
            answers.cancel()
            await asyncio.wait_for(ended.wait(), LIMIT_S)
    assert logs == []


async def test_deadline_reaches_the_client_as_one() -> None:
    async def call(_request: bytes, _context: object) -> bytes:
        await asyncio.Event().wait()
        return b""

    async with serving(unary(call)) as opened:
        error = await error_of(opened.unary_unary("/test.Sample/Call")(b"", timeout=0.05))
    assert error.reason is Reason.DEADLINE


@pytest.mark.parametrize("method", ["/tether.v1.InferenceService/Inferr", "/nowhere.At/All", "/odd"])
async def test_unknown_method_is_refused_typed(method: str) -> None:
    async with serving() as opened:
        error = await error_of(opened.unary_unary(method)(b""))
        streamed = await error_of(collect(opened.unary_stream(method)(b"")))
    assert error.reason is streamed.reason is Reason.METHOD_UNKNOWN
    if "Inferr" in method:
        assert "Did you mean /tether.v1.InferenceService/Infer " in error.message


async def test_message_of_100_mb_is_refused_and_the_connection_lives() -> None:
    async def call(request: bytes, _context: object) -> bytes:
        return b"%d" % len(request)

    running = server.create()
    running.add_generic_rpc_handlers((unary(call),))
    address = await server.bind(running, "127.0.0.1:0")
    await running.start()
    async with aio.insecure_channel(address, options=[("grpc.max_send_message_length", -1)]) as big:
        error = await error_of(big.unary_unary("/test.Sample/Call")(bytes(100_000_000)))
        assert error.reason is Reason.TOO_LARGE
        assert await big.unary_unary("/test.Sample/Call")(b"four") == b"4"
    await running.stop(0)


async def test_port_in_use_names_port_and_flag() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(TetherError, match=f"Port {port} of 127.0.0.1 is in use .--gateway-port.") as caught:
            await server.bind(server.create(), f"127.0.0.1:{port}", flag="--gateway-port")
    assert caught.value.reason is Reason.PORT_IN_USE


async def test_two_servers_never_share_a_port() -> None:
    first, second = server.create(), server.create()
    address = await server.bind(first, "127.0.0.1:0")
    await first.start()
    with pytest.raises(TetherError) as caught:
        await server.bind(second, address)
    assert caught.value.reason is Reason.PORT_IN_USE
    await first.stop(0)


async def test_foreign_host_cannot_be_bound() -> None:
    with pytest.raises(TetherError) as caught:
        await server.bind(server.create(), "192.0.2.1:0")
    assert caught.value.reason is Reason.INVALID_FIELD


@pytest.mark.parametrize("version", [reflection.V1, reflection.V1ALPHA])
async def test_reflection_lists_services_under_both_names(version: str) -> None:
    async with serving(board=health.HealthBoard()) as opened:
        call = opened.stream_stream(
            f"/{version}/ServerReflectionInfo",
            request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
            response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
        )([reflection_pb2.ServerReflectionRequest(list_services="")])
        answer = await asyncio.wait_for(call.read(), LIMIT_S)
    names = {service.name for service in answer.list_services_response.service}
    assert names == {health.SERVICE, reflection.V1, reflection.V1ALPHA}
    assert reflection_pb2_grpc.ServerReflectionStub is not None


async def test_health_watch_sees_serving_then_drain() -> None:
    board = health.HealthBoard()
    async with serving(board=board) as opened:
        stub = health_pb2_grpc.HealthStub(opened)
        watch = stub.Watch(health_pb2.HealthCheckRequest(service="tether.v1.InferenceService"))
        seen = [(await asyncio.wait_for(watch.read(), LIMIT_S)).status]
        board.set("tether.v1.InferenceService", serving=True)
        seen.append((await asyncio.wait_for(watch.read(), LIMIT_S)).status)
        board.drain()
        seen.append((await asyncio.wait_for(watch.read(), LIMIT_S)).status)
        assert await asyncio.wait_for(watch.read(), LIMIT_S) is aio.EOF, "a watcher must not hold up the stop"
        board.set("tether.v1.InferenceService", serving=True)
        answer = await stub.Check(health_pb2.HealthCheckRequest(service="tether.v1.InferenceService"))
    status_of = health_pb2.HealthCheckResponse
    assert seen == [status_of.SERVICE_UNKNOWN, status_of.SERVING, status_of.NOT_SERVING]
    assert answer.status == status_of.NOT_SERVING


async def test_health_check_of_an_unknown_service_is_not_found() -> None:
    async with serving(board=health.HealthBoard()) as opened:
        with pytest.raises(aio.AioRpcError) as caught:
            await health_pb2_grpc.HealthStub(opened).Check(health_pb2.HealthCheckRequest(service="no"))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_health_watchers_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "WATCHERS_MAX", 1)
    async with serving(board=health.HealthBoard()) as opened:
        stub = health_pb2_grpc.HealthStub(opened)
        first = stub.Watch(health_pb2.HealthCheckRequest())
        await first.read()
        error = await error_of(stub.Watch(health_pb2.HealthCheckRequest()).read())
        first.cancel()
    assert error.reason is Reason.OVERLOADED


async def test_wrapped_handlers_are_remembered_within_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wrap, "METHODS_MAX", 2)
    interceptor = wrap.ErrorInterceptor()

    async def call(_request: bytes, _context: object) -> bytes:
        return b""

    handler = grpc.unary_unary_rpc_method_handler(call)

    async def continuation(_details: object) -> grpc.RpcMethodHandler:
        return handler

    for number in range(5):
        details = grpc.HandlerCallDetails()
        details.method = f"/a/{number}"
        await interceptor.intercept_service(continuation, details)
    assert len(interceptor._wrapped) == 2


def test_channel_arguments_are_known_to_grpc():
    """A misspelt one is ignored in silence: idle clients were told off for their pings after a minute."""
    known = Path(cygrpc.__file__).read_bytes()
    given = {name for name, _ in (*server.options(), *channel.options())}
    assert [name for name in sorted(given) if name.encode() + b"\0" not in known] == []
