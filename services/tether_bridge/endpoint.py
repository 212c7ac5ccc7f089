"""The endpoint that answers: reads a request, asks a gateway, tells the answer as a stream or whole."""

import asyncio
import math
import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any

import structlog

from tether.access import key
from tether.edge.openai.answer import Events, Whole, unfinished
from tether.edge.openai.request import Call
from tether.errors import Reason, TetherError
from tether.observe.trace import parse as parse_traceparent
from tether_bridge import metrics
from tether_bridge.config import Config
from tether_bridge.exchange import Exchange, Receive, Send
from tether_bridge.upstream import Answer, Asked, Upstream

AUTHORIZATION_CHARS_MAX = 8_192  # an OIDC token with many claims
SHED_S = 1.0  # about one answer ends per second and 2,048 streams (a guess)

Read = Callable[[bytes, str], Call]
_log = structlog.get_logger("tether.bridge")


class Desk:
    """What all endpoints share: settings, the way to gateways, and the exchanges that run."""

    def __init__(self, config: Config, upstream: Upstream) -> None:
        self.config = config
        self.upstream = upstream
        self.draining = False
        self._running: set[asyncio.Task[None]] = set()

    def admit(self) -> None:
        """Pass where one more exchange may begin.

        Raises:
            TetherError: DRAINING, OVERLOADED.
        """
        if self.draining:
            raise TetherError(Reason.DRAINING, "The bridge takes no more requests.", retry_after_s=SHED_S)
        if len(self._running) >= self.config.requests_max:
            text = f"The bridge answers {self.config.requests_max} requests already."
            raise TetherError(Reason.OVERLOADED, text, retry_after_s=SHED_S)

    async def run(self, exchange: Exchange, work: asyncio.Task[None], keep_alive_s: float | None) -> None:
        """Let an answer run until it ends, its client leaves, or the bridge closes."""
        self._running.add(work)
        gone = asyncio.create_task(exchange.gone(keep_alive_s), name="client")
        try:
            with metrics.RUNNING.track_inprogress():
                await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                metrics.DISCONNECTS.inc()
        finally:
            self._running.discard(work)
            for task in (work, gone):
                task.cancel()
            await asyncio.gather(work, gone, return_exceptions=True)

    async def drain(self, grace_s: float) -> None:
        """Take no more and wait for what runs; what is left is told that the bridge goes."""
        self.draining = True
        if self._running:
            await asyncio.wait(set(self._running), timeout=grace_s)
        for task in tuple(self._running):
            task.cancel("draining")
        if self._running:
            await asyncio.wait(set(self._running), timeout=1.0)


class InferEndpoint:
    """An ASGI application for one path.

    Args:
        desk: what endpoints share.
        read: turns body and idempotency key into a call.
    """

    def __init__(self, desk: Desk, read: Read) -> None:
        self._desk = desk
        self._read = read

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request."""
        exchange = Exchange(scope, receive, send, f"req-{secrets.token_hex(12)}")
        config = self._desk.config
        try:
            self._desk.admit()
            authorization = authorization_of(exchange)
            call = self._read(
                await exchange.body(config.body_bytes_max, config.body_timeout_s), exchange.header("idempotency-key")
            )
        except TetherError as error:
            await exchange.fail(error)
            return
        except Exception:  # noqa: BLE001  logged with its trace, and told as a fault
            _log.exception("request cannot be read", request_id=exchange.request_id)
            await exchange.fail(_fault(exchange))
            return
        exchange.keyed = call.keyed
        asked = Asked(
            call.request, authorization, _traceparent(exchange), _timeout_s(exchange, call, config), call.keyed
        )
        work = asyncio.create_task(self._answer(exchange, call, asked), name="answer")
        await self._desk.run(exchange, work, config.keep_alive_s if call.stream else None)

    async def _answer(self, exchange: Exchange, call: Call, asked: Asked) -> None:
        """Tell the answer, or why there is none."""
        try:
            await self._tell(exchange, call, asked)
        except TetherError as error:
            _log.info("request failed", request_id=exchange.request_id, reason=error.reason.name)
            await exchange.fail(error)
        except asyncio.CancelledError:
            if self._desk.draining:
                await exchange.fail(TetherError(Reason.DRAINING, "The bridge stopped before the answer's end."))
            raise
        except Exception:  # noqa: BLE001  logged with its trace, and told as a fault
            _log.exception("request failed", request_id=exchange.request_id)
            await exchange.fail(_fault(exchange))

    async def _tell(self, exchange: Exchange, call: Call, asked: Asked) -> None:
        begun_s = time.monotonic()
        answer = await self._desk.upstream.ask(asked)
        metrics.FIRST_CHUNK_SECONDS.observe(time.monotonic() - begun_s)
        if not exchange.begun:
            exchange.request_id = answer.correlation_id or exchange.request_id
        try:
            if call.stream:
                await _stream(exchange, Events(call, time.time()), answer)
            else:
                await _whole(exchange, Whole(call, time.time(), self._desk.config.answer_bytes_max), answer)
        finally:
            answer.cancel()


async def _stream(exchange: Exchange, events: Events, answer: Answer) -> None:
    """Tell an answer as events."""
    while (chunk := await answer.read()) is not None:
        if data := events.feed(chunk):
            await exchange.event(data)
        if events.done:
            await exchange.end()
            return
    raise unfinished()


async def _whole(exchange: Exchange, whole: Whole, answer: Answer) -> None:
    """Tell an answer in one piece."""
    while not whole.done and (chunk := await answer.read()) is not None:
        whole.feed(chunk)
    await exchange.whole(200, whole.body())


def authorization_of(exchange: Exchange) -> str:
    """Return the `authorization` header, which a gateway checks.

    Raises:
        TetherError: KEY_MISSING where there is none, KEY_INVALID where no gateway could read it.
    """
    value = exchange.header("authorization")
    token = key.from_header(value)
    if len(token) > AUTHORIZATION_CHARS_MAX or not token.isascii() or not token.isprintable():
        raise key.invalid()
    return f"Bearer {token}"


def _traceparent(exchange: Exchange) -> str:
    """Return the client's `traceparent` where it is one."""
    value = exchange.header("traceparent")
    return value if value and parse_traceparent(value) is not None else ""


def _timeout_s(exchange: Exchange, call: Call, config: Config) -> float:
    """Return how long a request may take; a client that waits for the whole answer says how long it will."""
    asked = "" if call.stream else exchange.header("x-stainless-read-timeout")
    try:
        wished_s = float(asked) if asked else math.inf
    except ValueError:
        return config.timeout_s
    return min(config.timeout_s, wished_s) if wished_s > 0 else config.timeout_s


def _fault(exchange: Exchange) -> TetherError:
    return TetherError(Reason.INTERNAL, f"A fault of Tether, logged as {exchange.request_id}.")
