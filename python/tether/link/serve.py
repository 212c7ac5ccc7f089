"""Serving links: LinkService.Open as a handler of raw bytes."""

import asyncio
from collections.abc import Collection
from typing import Any, Protocol

import grpc
import structlog
from grpc import aio

from tether.errors import Reason, TetherError
from tether.link.end import BROKEN, LinkEnd
from tether.link.handshake import parse_hello
from tether.link.local import LinkEvents, LinkLocal
from tether.link.metrics import REFUSED

SERVICE = "tether.v1.LinkService"
_log = structlog.get_logger("tether.link")


class Relay(Protocol):
    """Who passes links on to other nodes: an orchestrator."""

    async def serve(self, hello: bytes, context: Any) -> None:  # noqa: ANN401
        """Serve a link that is to be relayed, from its first frame to its end; TetherError where it cannot be."""


class LinkServer:
    """Accepts links.

    Args:
        local: this process's side.
        roles: a peer needs one of these.
        events: hears of links; `up` may raise TetherError to refuse one.
        relay: takes links that are to be relayed; None refuses them.
    """

    def __init__(
        self, local: LinkLocal, roles: Collection[int], events: LinkEvents, relay: Relay | None = None
    ) -> None:
        self._local = local
        self._roles = roles
        self._events = events
        self._relay = relay

    def add_to(self, server: aio.Server) -> list[str]:
        """Register the service; returns its full name."""
        handler: Any = grpc.stream_stream_rpc_method_handler(self.open)  # no serializers: bytes in, bytes out
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {"Open": handler}),))
        return [SERVICE]

    async def open(self, _requests: object, context: Any) -> None:  # noqa: ANN401 - grpc.aio's context, or a fake
        """Serve one link until it ends; TetherError where its hello does not hold."""
        try:
            frame = await self._first(context)
            if parse_hello(frame).relay_to:
                await self._pass_on(frame, context)
                return
            end = await self._accept(frame, context)
        except TetherError as error:
            REFUSED.labels(error.reason.name).inc()
            _log.warning("link refused", reason=error.reason.name, error=error.message)
            raise
        except BROKEN:
            REFUSED.labels("broken").inc()
        else:
            await self._hold(end)

    async def _first(self, context: Any) -> bytes:  # noqa: ANN401
        try:
            async with asyncio.timeout(self._local.limits.hello_s):
                frame = await context.read()
        except TimeoutError as fault:
            raise TetherError(Reason.LINK_PROTOCOL, "no hello in time") from fault
        if frame is aio.EOF:
            raise TetherError(Reason.LINK_PROTOCOL, "the link ended before its hello")
        return bytes(frame)

    async def _pass_on(self, frame: bytes, context: Any) -> None:  # noqa: ANN401
        if self._relay is None:
            raise TetherError(Reason.LINK_PROTOCOL, "this node relays no links")
        await self._relay.serve(frame, context)

    async def _accept(self, frame: bytes, context: Any) -> LinkEnd:  # noqa: ANN401
        local = self._local
        peer = local.handshake.check(frame, self._roles)
        try:
            async with asyncio.timeout(local.limits.hello_s):
                await context.write(local.handshake.hello(parse_hello(frame).node_id))
        except TimeoutError as fault:
            raise TetherError(Reason.LINK_PROTOCOL, "the hello is not read") from fault
        end = LinkEnd(local.book.number(), peer, context, local.machine, local.limits, side="served")
        local.book.admit(end)
        return end

    async def _hold(self, end: LinkEnd) -> None:
        why = "refused"
        try:
            self._events.up(end)
            why = "lost"
            why = await end.run()
        finally:
            self._local.book.remove(end)
            self._events.down(end, why)
            _log.info("link ended", peer=end.peer.node_id, why=why)
