"""Relay: links of gateways, passed on to workers that they may not or cannot reach by themselves.

Frames go both ways unopened, one at a time: a side that does not read stops the other by gRPC's own flow control, so a
relay holds no more than two frames a link. Credit, beats and fences are between the ends; when either ends, both do.
Source: docs/design/seams.md ("Relay"), docs/design/streams.md §1.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from grpc import aio
from prometheus_client import Counter

from tether.errors import Reason, TetherError
from tether.identity import Role
from tether.link import Behalf, Handshake, LinkPeer
from tether.link.dial import OPEN, Channels
from tether.link.end import BROKEN
from tether_orchestrator.metrics import RELAYED_IN, RELAYED_OUT, RELAYS

RELAYS_MAX = 1_024  # (gateway, worker) pairs: 32 gateways and 32 workers that all see each other through one node
_HELLO_S = 5.0  # as links have it; the worker's answer must fit into the gateway's own wait
_log = structlog.get_logger("tether.orchestrator")


class Relays:
    """Passes links on.

    Args:
        handshake: proves this node, and checks others.
        channels: pooled channels to workers.
        address: host:port of a worker by its node id; empty where it is not known.
        relays_max: most at a time.
    """

    def __init__(
        self, handshake: Handshake, channels: Channels, address: Callable[[str], str], *, relays_max: int = RELAYS_MAX
    ) -> None:
        self._handshake = handshake
        self._channels = channels
        self._address = address
        self._relays_max = relays_max
        self._ends: dict[tuple[str, str], asyncio.Future[None]] = {}

    def __len__(self) -> int:
        return len(self._ends)

    def close(self) -> None:
        """End all."""
        for end in list(self._ends.values()):
            _end(end)

    async def serve(self, hello: bytes, context: Any) -> None:  # noqa: ANN401 - grpc.aio's context, or a fake
        """See `tether.link.serve.Relay`.

        Raises:
            TetherError: what `Handshake.check` raises, ROLE_FORBIDDEN for anyone but a gateway, OVERLOADED, or
                WORKER_LOST where the worker cannot be reached.
        """
        gateway = self._handshake.check(hello, (Role.GATEWAY,))
        if gateway.via:
            raise TetherError(Reason.LINK_PROTOCOL, "a link is relayed once")
        key = (gateway.node_id, gateway.relay_to)
        if key not in self._ends and len(self._ends) >= self._relays_max:
            raise TetherError(Reason.OVERLOADED, "Too many links are relayed here", retry_after_s=1.0)
        end = self._take(key)
        try:
            await self._relay(gateway, context, end)
        finally:
            if self._ends.get(key) is end:
                del self._ends[key]
            RELAYS.set(len(self._ends))

    def _take(self, key: tuple[str, str]) -> "asyncio.Future[None]":
        """The newest link of a gateway to a worker ends the one before."""
        old = self._ends.get(key)
        if old is not None:
            _end(old)
        end = self._ends[key] = asyncio.get_running_loop().create_future()
        RELAYS.set(len(self._ends))
        return end

    async def _relay(self, gateway: LinkPeer, context: Any, end: "asyncio.Future[None]") -> None:  # noqa: ANN401
        worker = gateway.relay_to
        open_: Any = self._channels.to(worker, self._where(worker)).stream_stream(OPEN)  # bytes in, bytes out
        call = open_(metadata=self._channels.metadata(worker))
        try:
            peer = await self._greet(call, gateway)
            await context.write(self._handshake.hello(gateway.node_id, behalf=Behalf(peer.node_id, peer.incarnation)))
            await _both(context, call, end)
        except BROKEN:
            _log.info("relay_broke", gateway=gateway.node_id, worker=worker)
        finally:
            call.cancel()

    def _where(self, worker: str) -> str:
        address = self._address(worker)
        if not address:
            raise TetherError(Reason.WORKER_LOST, f"worker {worker[:8]} is not known here")
        return address

    async def _greet(self, call: Any, gateway: LinkPeer) -> LinkPeer:  # noqa: ANN401
        """Exchange hellos with the worker; returns who it proved to be."""
        worker = gateway.relay_to
        try:
            async with asyncio.timeout(_HELLO_S):
                behalf = Behalf(gateway.node_id, gateway.incarnation)
                await call.write(self._handshake.hello(worker, behalf=behalf))
                frame = await call.read()
        except (TimeoutError, *BROKEN) as fault:
            raise TetherError(Reason.WORKER_LOST, f"worker {worker[:8]} does not answer") from fault
        if frame is aio.EOF:
            raise TetherError(Reason.WORKER_LOST, f"worker {worker[:8]} refused the link")
        peer = self._handshake.check(frame, (Role.WORKER,))
        if peer.node_id != worker or peer.via:
            raise TetherError(Reason.NODE_TOKEN_INVALID, "another node answered than was dialled")
        return peer


async def _both(gateway: Any, worker: Any, end: "asyncio.Future[None]") -> None:  # noqa: ANN401
    """Pass frames on until either side, or the relay, ends."""
    ways = [
        asyncio.create_task(_pass(gateway.read, worker.write, RELAYED_OUT)),
        asyncio.create_task(_pass(worker.read, gateway.write, RELAYED_IN)),
    ]
    try:
        await asyncio.wait([*ways, end], return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)


async def _pass(
    read: Callable[[], Awaitable[Any]], write: Callable[[bytes], Awaitable[None]], carried: Counter
) -> None:
    end = aio.EOF
    try:
        while (frame := await read()) is not end:
            await write(frame)
            carried.inc(len(frame))
    except BROKEN:
        return  # either side is gone, and that ends both


def _end(end: "asyncio.Future[None]") -> None:
    if not end.done():
        end.set_result(None)
