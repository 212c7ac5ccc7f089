"""Channels to other nodes: one per node, kept open, and the token that proves this node to each.

A connection costs more than a call, so channels are pooled; a node that moved gets a new one.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable

from grpc import aio

from tether.identity import Identity
from tether.identity.lru import Lru
from tether.identity.token import to_header
from tether.node.caller import AUTHORIZATION
from tether.rpc.channel import open_channel

CHANNELS_MAX = 4_096  # a gateway's workers and services; a channel without calls holds about 50 KiB
CLOSE_GRACE_S = 30.0  # calls on a channel that is put aside may end
HEADERS_MAX = 4_096  # as channels


class Channels:
    """Pooled channels.

    Args:
        identity: makes tokens.
        now_ms: milliseconds since the Unix epoch.
        open_: opens a channel to host:port.
    """

    def __init__(
        self,
        identity: Identity,
        now_ms: Callable[[], int] | None = None,
        open_: Callable[[str], aio.Channel] = open_channel,
    ) -> None:
        self._identity = identity
        self._now_ms = now_ms or (lambda: time.time_ns() // 1_000_000)
        self._open = open_
        self._channels: OrderedDict[str, tuple[str, aio.Channel]] = OrderedDict()
        self._headers: Lru[str, tuple[bytes, str]] = Lru(HEADERS_MAX)
        self._closing: set[asyncio.Task[None]] = set()

    def to(self, node_id: str, address: str) -> aio.Channel:
        """The channel to a node at host:port.

        Args:
            node_id: who is meant.
            address: where it is now.
        """
        known = self._channels.get(node_id)
        if known is not None and known[0] == address:
            self._channels.move_to_end(node_id)
            return known[1]
        self.drop(node_id)
        channel = self._open(address)
        self._channels[node_id] = (address, channel)
        if len(self._channels) > CHANNELS_MAX:
            self.drop(next(iter(self._channels)))
        return channel

    def metadata(self, node_id: str) -> tuple[tuple[str, str], ...]:
        """Metadata that proves this node to another."""
        token = self._identity.token(node_id, self._now_ms())
        kept = self._headers.get(node_id)
        if kept is None or kept[0] is not token:
            kept = (token, to_header(token))
            self._headers.put(node_id, kept)
        return ((AUTHORIZATION, kept[1]),)

    def drop(self, node_id: str) -> None:
        """Put the channel to a node aside, if there is one; its calls may end."""
        known = self._channels.pop(node_id, None)
        if known is not None:
            task = asyncio.get_running_loop().create_task(known[1].close(CLOSE_GRACE_S))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        """Close all channels now."""
        for task in self._closing:
            task.cancel()
        channels = [channel for _, channel in self._channels.values()]
        self._channels.clear()
        await asyncio.gather(*self._closing, *(channel.close() for channel in channels), return_exceptions=True)
