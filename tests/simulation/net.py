"""gRPC without a network: calls between nodes of one virtual world, with seeded delays, cuts and deaths.

A call goes to the handlers that a service registered, as bytes, with its node token checked as on a real server. Bytes
of one call keep their order, as TCP keeps it; two calls do not. When a node dies, its calls break at the other end.
"""

import asyncio
import contextvars
import random
import zlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
from grpc import aio
from loop import NODE, VirtualLoop, nobody

from tether.errors import TetherError
from tether.node.caller import CallerInterceptor
from tether.rpc.status import code_of, trailers

_NOBODY = nobody()
TICK_S = 1e-6  # between two messages of one call: timers that are due at once have no order
UNAVAILABLE, DEADLINE, CANCELLED = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
)


class Net:
    """Who serves where, and what the wires between nodes are like.

    Args:
        loop: virtual time.
        rng: all chance.

    Attributes:
        delay_s: least and most time of a message on its way.
        cut: pairs of nodes between which nothing passes; calls between them break.
        mute: until when what one node sends to another does not arrive; then it does, as TCP sends it again.
        twice: share of calls with one answer that are delivered twice.
        trace: checksum over all messages and their times.
    """

    def __init__(self, loop: VirtualLoop, rng: random.Random) -> None:
        self.loop, self.rng = loop, rng
        self.delay_s = (0.0002, 0.002)
        self.cut: set[frozenset[str]] = set()
        self.mute: dict[tuple[str, str], float] = {}
        self.twice = 0.0
        self.trace = 0
        self.alive: dict[str, str] = {}
        self._servers: dict[str, Server] = {}
        self._calls: dict[Call, None] = {}
        self.messages = 0

    def serve(self, address: str, server: "Server") -> None:
        """`server` is reached at `address`."""
        self._servers[address] = server

    def at(self, address: str) -> "Server | None":
        """Who is reached there, if anybody lives."""
        server = self._servers.get(address)
        return server if server is not None and server.life not in self.loop.dead else None

    def died(self, life: str) -> None:
        """A life has ended: its calls break where somebody is left to notice, after a moment."""
        for call in [call for call in self._calls if life in call.lives]:
            call.broken(self.delay())

    def parted(self, one: str, other: str) -> None:
        """Two nodes can no longer reach each other."""
        self.cut.add(frozenset({one, other}))
        for call in [call for call in self._calls if {one, other} <= {name_of(life) for life in call.lives}]:
            call.broken(self.delay())

    def delay(self) -> float:
        """Time of one message."""
        return self.rng.uniform(*self.delay_s)

    def reaches(self, one: str, other: str) -> bool:
        """Whether messages pass between two lives."""
        return frozenset({name_of(one), name_of(other)}) not in self.cut

    def enter(self, call: "Call") -> None:
        """A call begins."""
        self._calls[call] = None

    def leave(self, call: "Call") -> None:
        """A call is over."""
        self._calls.pop(call, None)


def name_of(life: str) -> str:
    """The node of a life."""
    return life.partition("#")[0]


class Server:
    """Where a service's handlers are registered.

    Args:
        life: whose handlers.
        gate: checks node tokens, or None for clients' methods alone.
    """

    def __init__(self, life: str, gate: CallerInterceptor | None) -> None:
        self.life, self.gate = life, gate
        self._handlers: list[Any] = []

    def add_generic_rpc_handlers(self, handlers: Any) -> None:
        """As a gRPC server."""
        self._handlers += handlers

    def add_registered_method_handlers(self, service: str, handlers: Any) -> None:
        """As a gRPC server; the generic ones do."""

    async def find(self, details: Any) -> Any:
        """The handler of a method, through the check of callers."""

        async def find(_details: Any) -> Any:
            return next((found for one in self._handlers if (found := one.service(details)) is not None), None)

        return await find(details) if self.gate is None else await self.gate.intercept_service(find, details)


class Details:
    """`grpc.HandlerCallDetails`."""

    def __init__(self, method: str, metadata: Any) -> None:
        self.method, self.invocation_metadata = method, metadata


class Pipe:
    """Messages of one direction of one call, in order."""

    def __init__(self, net: Net, way: tuple[str, str]) -> None:
        self._net, self._way = net, way
        self._due_s = 0.0
        self._waiting: asyncio.Queue[Any] = asyncio.Queue()

    def put(self, message: Any) -> None:
        """Send; it arrives after a delay, behind what was sent before."""
        loop, net = self._net.loop, self._net
        if NODE.get() in loop.dead:
            return  # what it was just doing when it died
        net.messages += 1
        self._due_s = max(self._due_s + TICK_S, loop.time() + net.delay())
        if net.mute:
            self._due_s = max(self._due_s, net.mute.get(self._way, 0.0))
        if isinstance(message, bytes):
            net.trace = zlib.crc32(message, net.trace)
        loop.call_at(self._due_s, self._waiting.put_nowait, message, context=_NOBODY)

    def put_after(self, message: Any, delay_s: float) -> None:
        """Send what breaks the call."""
        self._due_s = max(self._due_s + TICK_S, self._net.loop.time() + delay_s)
        self._net.loop.call_at(self._due_s, self._waiting.put_nowait, message, context=_NOBODY)

    async def get(self) -> Any:
        """Next message; an exception is raised."""
        message = await self._waiting.get()
        if isinstance(message, BaseException):
            self._waiting.put_nowait(message)
            raise message
        return message


def error(code: grpc.StatusCode, text: str, metadata: Any = ()) -> aio.AioRpcError:
    """What a call raises."""
    return aio.AioRpcError(code, aio.Metadata(), aio.Metadata(*metadata), text)


class Call:
    """One call from one life to another: both ends."""

    def __init__(self, net: Net, server: Server | None, method: str, metadata: Any, timeout: float | None) -> None:
        self.net, self.method, self.metadata = net, method, tuple(metadata or ())
        self.caller = NODE.get()
        self.lives = (self.caller, server.life if server else "")
        there, back = (name_of(self.lives[0]), name_of(self.lives[1])), (name_of(self.lives[1]), name_of(self.lives[0]))
        self.up, self.down = Pipe(net, there), Pipe(net, back)
        self.deadline_s = None if timeout is None else net.loop.time() + timeout
        self.over = False
        self._server, self._task = server, None
        self._timer = None if timeout is None else net.loop.call_later(timeout, self._late)
        net.enter(self)
        if server is None or not net.reaches(*self.lives):
            self.down.put(error(UNAVAILABLE, "nobody answers"))
        else:
            own = contextvars.Context()
            own.run(NODE.set, server.life)
            net.loop.call_at(net.loop.time() + net.delay(), self._begin, context=own)

    def _begin(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._serve())

    def broken(self, delay_s: float) -> None:
        """The connection broke."""
        if not self.over:
            self.up.put_after(error(UNAVAILABLE, "connection reset"), delay_s)
            self.down.put_after(error(UNAVAILABLE, "connection reset"), delay_s)
            self._cancel_later(delay_s)
            self._finish()

    def _late(self) -> None:
        if not self.over:
            self.down.put_after(error(DEADLINE, "deadline"), 0.0)
            self._cancel_later(0.0)
            self._finish()

    def cancel(self) -> None:
        """The caller goes away."""
        if not self.over:
            self.down.put_after(error(CANCELLED, "cancelled here"), 0.0)
            self._cancel_later(self.net.delay())
            self._finish()

    def _cancel_later(self, delay_s: float) -> None:
        own = contextvars.Context()
        own.run(NODE.set, self.lives[1])
        self.net.loop.call_at(self.net.loop.time() + delay_s, self._cancel_task, context=own)

    def _cancel_task(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _finish(self) -> None:
        self.over = True
        self.net.leave(self)
        if self._timer is not None:
            self._timer.cancel()

    async def _serve(self) -> None:
        context = Context(self)
        try:
            await self._handle(context)
        except TetherError as fault:
            self._end(error(code_of(fault.row.code), fault.message, trailers(fault)))
        except aio.AioRpcError as fault:
            self._end(fault)
        except asyncio.CancelledError:
            self._end(error(CANCELLED, "the handler was cancelled"))
            raise
        except Exception as fault:  # noqa: BLE001 - as gRPC does
            self._end(error(grpc.StatusCode.INTERNAL, repr(fault)))
            self.net.loop.call_exception_handler({"message": f"{self.method} raised", "exception": fault})
        else:
            self._end(aio.EOF)

    def _end(self, last: Any) -> None:
        if not self.over:
            self.down.put(last)
            self.net.loop.call_at(self.down._due_s, self._finish, context=_NOBODY)

    async def _handle(self, context: "Context") -> None:
        handler = await self._server.find(Details(self.method, self.metadata))
        if handler is None:
            raise error(grpc.StatusCode.UNIMPLEMENTED, "no such method")
        read = handler.request_deserializer or _as_it_is
        write = handler.response_serializer or _as_it_is
        requests = _requests(self.up, read)
        context.serializer = write
        if handler.unary_unary is not None:
            self.down.put(write(await handler.unary_unary(await _first(requests), context)))
            return
        behaviour = handler.unary_stream or handler.stream_stream
        first = await _first(requests) if handler.unary_stream else requests
        context.read_with = read
        answer = behaviour(first, context)
        if hasattr(answer, "__aiter__"):
            async for response in answer:
                self.down.put(write(response))
        else:
            await answer


def _as_it_is(message: Any) -> Any:
    return message


async def _requests(pipe: Pipe, read: Callable[[bytes], Any]) -> AsyncIterator[Any]:
    while (message := await pipe.get()) is not aio.EOF:
        yield read(message)


async def _first(requests: AsyncIterator[Any]) -> Any:
    async for request in requests:
        return request
    raise error(CANCELLED, "the caller sent nothing")


class Context:
    """`grpc.aio.ServicerContext`, as far as it is used."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self.serializer: Callable[[Any], Any] = _as_it_is
        self.read_with: Callable[[Any], Any] = _as_it_is

    def invocation_metadata(self) -> Any:
        return self._call.metadata

    def peer(self) -> str:
        return f"sim:{self._call.caller}:0"

    def time_remaining(self) -> float | None:
        until_s = self._call.deadline_s
        return None if until_s is None else until_s - self._call.net.loop.time()

    async def send_initial_metadata(self, metadata: Any) -> None:
        """Nobody looks at it here."""

    def set_trailing_metadata(self, metadata: Any) -> None:
        """Nobody looks at it here."""

    async def write(self, message: Any) -> None:
        if self._call.over:
            raise asyncio.InvalidStateError("the call is over")
        self._call.down.put(self.serializer(message))

    async def read(self) -> Any:
        message = await self._call.up.get()
        return message if message is aio.EOF else self.read_with(message)

    async def abort(self, code: grpc.StatusCode, details: str = "", trailing_metadata: Any = ()) -> None:
        raise error(code, details, trailing_metadata)


class ClientCall:
    """What a caller holds: awaited for one answer, iterated or read for many."""

    def __init__(self, call: Call, read: Callable[[bytes], Any] | None, write: Callable[[Any], bytes] | None) -> None:
        self._call = call
        self._read, self._write = read or _as_it_is, write or _as_it_is
        self._sending: asyncio.Task[None] | None = None

    def send_all(self, requests: AsyncIterator[Any]) -> None:
        self._sending = asyncio.get_running_loop().create_task(self._send_all(requests))

    async def _send_all(self, requests: AsyncIterator[Any]) -> None:
        async for request in requests:
            if self._call.over:
                return
            self._call.up.put(self._write(request))
        self._call.up.put(aio.EOF)

    async def write(self, message: Any) -> None:
        if self._call.over:
            raise error(UNAVAILABLE, "the call is over")
        self._call.up.put(self._write(message))

    async def read(self) -> Any:
        message = await self._call.down.get()
        if message is aio.EOF:
            return message
        return self._read(message)

    async def done_writing(self) -> None:
        self._call.up.put(aio.EOF)

    def cancel(self) -> bool:
        if self._sending is not None:
            self._sending.cancel()
        self._call.cancel()
        return True

    def __await__(self) -> Any:
        return self._one().__await__()

    async def _one(self) -> Any:
        try:
            message = await self.read()
        except asyncio.CancelledError:
            self.cancel()
            raise
        return message

    async def __aiter__(self) -> AsyncIterator[Any]:
        try:
            while (message := await self.read()) is not aio.EOF:
                yield message
        except (asyncio.CancelledError, GeneratorExit):
            self.cancel()
            raise


class Channel:
    """`grpc.aio.Channel` to one address."""

    def __init__(self, net: Net, address: str) -> None:
        self._net, self._address = net, address

    def unary_unary(
        self, method: str, request_serializer: Any = None, response_deserializer: Any = None, **_: Any
    ) -> Any:
        return self._unary(method, request_serializer, response_deserializer, alone=True)

    def unary_stream(
        self, method: str, request_serializer: Any = None, response_deserializer: Any = None, **_: Any
    ) -> Any:
        return self._unary(method, request_serializer, response_deserializer)

    def _unary(self, method: str, write: Any, read: Any, *, alone: bool = False) -> Any:
        def invoke(request: Any, *, metadata: Any = (), timeout: float | None = None, **_: Any) -> ClientCall:
            call = self._open(method, metadata, timeout)
            call.up.put((write or _as_it_is)(request))
            call.up.put(aio.EOF)
            if alone and self._net.twice and self._net.rng.random() < self._net.twice:
                again = self._open(method, metadata, timeout)
                again.up.put((write or _as_it_is)(request))
                again.up.put(aio.EOF)
            return ClientCall(call, read, write)

        return invoke

    def stream_stream(
        self, method: str, request_serializer: Any = None, response_deserializer: Any = None, **_: Any
    ) -> Any:
        def invoke(requests: Any = None, *, metadata: Any = (), timeout: float | None = None, **_: Any) -> ClientCall:
            call = ClientCall(self._open(method, metadata, timeout), response_deserializer, request_serializer)
            if requests is not None:
                call.send_all(requests)
            return call

        return invoke

    def _open(self, method: str, metadata: Any, timeout: float | None) -> Call:
        return Call(self._net, self._net.at(self._address), method, metadata, timeout)

    async def close(self, grace: float | None = None) -> None:
        """Nothing is kept open."""
