"""One wrapper around every handler: whatever a handler raises becomes an error of the closed set.

A fault of ours is logged once, with a correlation id that the client is told; the client never sees its cause.
"""

import asyncio
import contextlib
import inspect
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

import grpc
import structlog
from google.protobuf.message import DecodeError
from grpc import aio

from tether.errors import Reason, TetherError
from tether.rpc import metrics, status

METHODS_MAX = 512  # a server has some dozens; names that clients invent must not fill the table

Behaviour = Callable[..., Any]
if TYPE_CHECKING:
    Handler: TypeAlias = grpc.RpcMethodHandler[Any, Any]
else:
    Handler = grpc.RpcMethodHandler  # generic in the stubs alone
_log = structlog.get_logger("tether.rpc")


class ErrorInterceptor(aio.ServerInterceptor):
    """Wraps each handler of a server once, when it is first called."""

    def __init__(self) -> None:
        self._wrapped: dict[str, tuple[Handler, Handler]] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """Return the wrapped handler of the method that is called."""
        method = handler_call_details.method
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        known = self._wrapped.get(method)
        if known is not None and known[0] is handler:
            return known[1]
        wrapped = wrap_handler(handler, method)
        if known is not None or len(self._wrapped) < METHODS_MAX:
            self._wrapped[method] = (handler, wrapped)
        return wrapped


def wrap_handler(handler: Handler, method: str) -> Handler:
    """Return a handler that turns whatever `handler` raises into an error of the closed set."""
    make, behaviour = _parts(handler)
    wrapper = _wrap_stream if inspect.isasyncgenfunction(behaviour) else _wrap_call
    read = handler.request_deserializer
    wrapped: Handler = make(
        wrapper(behaviour, method),
        request_deserializer=_lenient(read) if read is not None and not handler.request_streaming else read,
        response_serializer=handler.response_serializer,
    )
    return wrapped


class _Unreadable:
    """Stands for a request that is no message of its type; gRPC itself would answer INTERNAL."""


def _lenient(read: Callable[[bytes], object]) -> Callable[[bytes], object]:
    """Return a deserializer that leaves it to the handler's wrapper to refuse what it can't read."""

    def deserialize(raw: bytes) -> object:
        try:
            return read(raw)
        except DecodeError:
            return _UNREADABLE  # refused, and counted, where the handler is called

    return deserialize


def _readable(request: object) -> object:
    if request is _UNREADABLE:
        raise TetherError(Reason.MALFORMED, "The request is no valid message of its type.")
    return request


_UNREADABLE = _Unreadable()


def to_error(raised: BaseException, method: str) -> TetherError:
    """Say what an exception that left a handler means to the client; log it where it is a fault of ours."""
    match raised:
        case TetherError():
            return raised
        case aio.AioRpcError():
            return status.from_rpc_error(raised)
        case TimeoutError():
            return TetherError(Reason.DEADLINE, "The call took longer than it may.")
        case NotImplementedError():
            return TetherError(Reason.METHOD_UNKNOWN, f"{method} is not served here.", metadata={"method": method})
        case _:
            return _fault(raised, method)


def _fault(raised: BaseException, method: str) -> TetherError:
    """Log a fault of ours once and make what the client sees of it."""
    correlation_id = structlog.contextvars.get_contextvars().get("correlation_id") or uuid.uuid4().hex
    metrics.FAULTS.inc()
    _log.error("handler failed", method=method, correlation_id=correlation_id, exc_info=raised)
    facts = {"correlation_id": str(correlation_id)}
    return TetherError(Reason.INTERNAL, f"A fault of Tether, logged as {correlation_id}.", metadata=facts)


def _parts(handler: Handler) -> tuple[Callable[..., Any], Behaviour]:
    """Return the maker and the behaviour of a handler's shape."""
    shape = f"{_arity(handler.request_streaming)}_{_arity(handler.response_streaming)}"
    return getattr(grpc, f"{shape}_rpc_method_handler"), getattr(handler, shape)


def _arity(streaming: bool) -> str:  # noqa: FBT001  one flag of grpc's, in words
    return "stream" if streaming else "unary"


def _wrap_call(behaviour: Behaviour, method: str) -> Behaviour:
    """Wrap a coroutine function: one answer, or answers by `context.write`."""

    async def call(request: object, context: aio.ServicerContext[Any, Any]) -> object:
        try:
            return await behaviour(_readable(request), context)
        except BaseException as raised:  # noqa: BLE001  nothing may leave a handler but an error of the closed set
            await _settle(raised, context, method)

    return call


def _wrap_stream(behaviour: Behaviour, method: str) -> Behaviour:
    """Wrap an async generator function."""

    async def stream(request: object, context: aio.ServicerContext[Any, Any]) -> AsyncIterator[object]:
        try:
            async with contextlib.aclosing(behaviour(_readable(request), context)) as responses:
                async for response in responses:
                    yield response
        except GeneratorExit:
            raise
        except BaseException as raised:  # noqa: BLE001  as above
            await _settle(raised, context, method)

    return stream


async def _settle(raised: BaseException, context: aio.ServicerContext[Any, Any], method: str) -> NoReturn:
    """End the call by what was raised; a call that has ended, or is being ended, stays as it is."""
    task = asyncio.current_task()
    leaving = task is not None and task.cancelling() > 0
    if isinstance(raised, aio.AbortError | KeyboardInterrupt | SystemExit) or leaving:
        raise raised
    error = to_error(raised, method)
    metrics.FAILURES.labels(error.reason.name).inc()
    await status.abort(context, error)
