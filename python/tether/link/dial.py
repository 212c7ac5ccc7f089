"""Dialling: one call of LinkService.Open, the hellos, and for standing links again and again with growing waits."""

import asyncio
import random
from collections.abc import Callable, Collection
from typing import Any, Protocol

import structlog
from grpc import aio

from tether.errors import Reason, TetherError
from tether.link.end import BROKEN, LinkEnd
from tether.link.local import LinkEvents, LinkLocal
from tether.link.metrics import DIAL_FAILED

OPEN = "/tether.v1.LinkService/Open"
_BACKOFF_FIRST_S = 0.1  # a restarted peer is back in well under a second
_BACKOFF_MAX_S = 3.0  # 15 s of presence leave several tries
_log = structlog.get_logger("tether.link")


class Channels(Protocol):
    """What a dialler needs of `tether.node.Channels`."""

    def to(self, node_id: str, address: str) -> aio.Channel:
        """Pooled channel to a node."""

    def metadata(self, node_id: str) -> Any:  # noqa: ANN401 - gRPC metadata
        """Metadata with a node token for it."""


class Dialler:
    """Opens links from this node.

    Args:
        local: this process's side.
        channels: pooled channels.
        roles: a peer needs one of these.
        events: hears of links.
    """

    def __init__(self, local: LinkLocal, channels: Channels, roles: Collection[int], events: LinkEvents) -> None:
        self._local = local
        self._channels = channels
        self._roles = roles
        self._events = events
        self._hang_up: dict[int, Callable[[], object]] = {}

    async def dial(self, node_id: str, address: str, *, relay_to: str = "") -> LinkEnd:
        """Open a link; the caller then runs it with `hold`.

        Args:
            node_id: who must answer.
            address: host:port.
            relay_to: node that the link is to be relayed to: then `node_id` is the orchestrator that relays it, and
                the link's peer is this node, `via` that one. Empty for a link with `node_id` itself.

        Raises:
            TetherError: LINK_PROTOCOL, NODE_TOKEN_INVALID, ROLE_FORBIDDEN, or WORKER_LOST when nobody answers in time.
        """
        open_: Any = self._channels.to(node_id, address).stream_stream(OPEN)  # no serializers: bytes in, bytes out
        call = open_(metadata=self._channels.metadata(node_id))
        try:
            async with asyncio.timeout(self._local.limits.hello_s):
                end = await self._greet(call, node_id, relay_to)
            self._local.book.admit(end)
        except TetherError as error:
            call.cancel()
            DIAL_FAILED.labels(error.reason.name).inc()
            raise
        except (TimeoutError, *BROKEN) as fault:
            call.cancel()
            DIAL_FAILED.labels("unreachable").inc()
            raise TetherError(Reason.WORKER_LOST, f"node {node_id[:8]} does not answer") from fault
        except asyncio.CancelledError:
            call.cancel()
            raise
        self._hang_up[end.number] = call.cancel
        return end

    async def _greet(self, call: Any, node_id: str, relay_to: str) -> LinkEnd:  # noqa: ANN401
        local = self._local
        await call.write(local.handshake.hello(node_id, relay_to=relay_to))
        frame = await call.read()
        if frame is aio.EOF:
            raise TetherError(Reason.LINK_PROTOCOL, "the link ended before its hello")
        peer = local.handshake.check(frame, self._roles)
        if (peer.node_id, peer.via) != ((relay_to, node_id) if relay_to else (node_id, "")):
            raise TetherError(Reason.NODE_TOKEN_INVALID, "another node answered than was dialled")
        return LinkEnd(local.book.number(), peer, call, local.machine, local.limits, side="dialled")

    async def hold(self, end: LinkEnd) -> str:
        """Run a dialled link to its end; returns why it ended."""
        why = "lost"
        try:
            self._events.up(end)
            why = await end.run()
        finally:
            self._local.book.remove(end)
            self._hang_up.pop(end.number, lambda: None)()
            self._events.down(end, why)
            _log.info("link ended", peer=end.peer.node_id, why=why)
        return why

    async def keep(self, node_id: str, address: Callable[[], str]) -> None:
        """Keep a link with a node until cancelled; `address` is asked before each dial."""
        failures = 0
        while True:
            try:
                end = await self.dial(node_id, address())
            except TetherError as error:
                failures += 1
                _log.info("dial failed", peer=node_id, reason=error.reason.name, failures=failures)
            else:
                failures = 0
                await self.hold(end)
            await asyncio.sleep(backoff_s(failures, random.random()))  # noqa: S311 - spreads redials, no secret


def backoff_s(failures: int, chance: float) -> float:
    """Seconds before the next dial: jitter over a doubling window.

    Args:
        failures: dials that failed in a row; 0 after a link that stood.
        chance: uniform in [0, 1).
    """
    window = min(_BACKOFF_MAX_S, _BACKOFF_FIRST_S * 2.0 ** min(failures, 16))
    return window * (0.2 + 0.8 * chance)
