"""One HTTP exchange: a body in, an answer out, and a client that may leave at any moment.

Two tasks share it: one answers; the other waits for the client to leave, and keeps a silent stream alive. Whatever
happens, a stream that has begun ends with its own end or with an error event, never in silence.
Source: ASGI 3.0, HTTP and WebSocket message format.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from typing import Any

import structlog

from tether.edge import sse
from tether.edge.openai import error as errors
from tether.errors import Reason, TetherError
from tether_bridge import metrics

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = Iterable[tuple[str, str]]

JSON = "application/json"
HEADERS: Headers = (
    ("cache-control", "no-store"),
    ("x-content-type-options", "nosniff"),
    ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
    ("referrer-policy", "no-referrer"),
)
_log = structlog.get_logger("tether.bridge")


class Exchange:
    """A request and its answer.

    Args:
        scope: ASGI's.
        receive: ASGI's.
        send: ASGI's.
        request_id: told as `x-request-id` until the gateway names the request.
    """

    def __init__(self, scope: Mapping[str, Any], receive: Receive, send: Send, request_id: str) -> None:
        self._receive = receive
        self._send = send
        self._headers: dict[str, str] = {
            key.decode("latin-1"): value.decode("latin-1") for key, value in scope["headers"]
        }
        self._route = str(scope["path"])
        self._last_s = 0.0
        self.request_id = request_id
        self.keyed = False
        self.begun = False
        self.ended = False

    def header(self, name: str) -> str:
        """Return a request header, or nothing."""
        return self._headers.get(name, "")

    async def body(self, bytes_max: int, timeout_s: float) -> bytes:
        """Return the whole body.

        Raises:
            TetherError: TOO_LARGE, DEADLINE, or JOB_CANCELLED where the client left.
        """
        length = self.header("content-length")
        if length.isdigit() and int(length) > bytes_max:
            raise _too_large(bytes_max)
        parts, size = [], 0
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    message = await self._receive()
                    if message["type"] == "http.disconnect":
                        raise TetherError(Reason.JOB_CANCELLED, "The client left.")
                    part: bytes = message.get("body", b"")
                    size += len(part)
                    if size > bytes_max:
                        raise _too_large(bytes_max)
                    parts.append(part)
                    if not message.get("more_body", False):
                        return b"".join(parts)
        except TimeoutError as error:
            raise TetherError(Reason.DEADLINE, f"The body did not come within {timeout_s:g} s.") from error

    async def gone(self, keep_alive_s: float | None) -> None:
        """Return when the client has left; meanwhile keep a silent stream alive.

        Args:
            keep_alive_s: time without an event after which a comment is sent, seconds; None sends none.
        """
        self._last_s = time.monotonic()
        while True:
            wait_s = None if keep_alive_s is None else max(0.0, self._last_s + keep_alive_s - time.monotonic())
            try:
                message = await asyncio.wait_for(self._receive(), wait_s)
            except TimeoutError:
                await self._keep_alive(keep_alive_s or 0.0)
                continue
            if message["type"] == "http.disconnect":
                return

    async def _keep_alive(self, silent_s: float) -> None:
        if not self.ended and time.monotonic() - self._last_s >= silent_s:
            await self.event(sse.KEEP_ALIVE)

    async def event(self, data: bytes) -> None:
        """Send events of a stream; the first ones begin it."""
        self._last_s = time.monotonic()
        if not self.begun:
            await self._start(200, [("content-type", f"{sse.MEDIA_TYPE}; charset=utf-8"), ("x-accel-buffering", "no")])
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def end(self) -> None:
        """End a stream."""
        self.ended = True
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def whole(self, status: int, data: bytes, headers: Headers = ()) -> None:
        """Send an answer in one piece."""
        self.ended = True
        await self._start(status, [("content-type", JSON), ("content-length", str(len(data))), *headers])
        await self._send({"type": "http.response.body", "body": data, "more_body": False})

    async def fail(self, error: TetherError) -> None:
        """End with an error: a status and a body, or an event where a stream has begun."""
        if self.ended:
            return
        if not self.begun:
            headers = errors.headers(error, keyed=self.keyed)
            await self.whole(errors.status(error), errors.body(error), headers)
            return
        await self.event(sse.event(errors.body(error)))
        await self.end()

    async def _start(self, status: int, headers: Headers) -> None:
        self.begun = True
        metrics.REQUESTS.labels(self._route, str(status)).inc()
        named = [("x-request-id", self.request_id), *HEADERS, *headers]
        raw = [(key.encode(), value.encode("latin-1", "replace")) for key, value in named]
        await self._send({"type": "http.response.start", "status": status, "headers": raw})


def _too_large(bytes_max: int) -> TetherError:
    return TetherError(Reason.TOO_LARGE, f"The body is over {bytes_max} bytes.")
