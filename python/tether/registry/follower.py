"""Keeps a catalogue fresh: one watch on one registry, reopened elsewhere when it falls silent.

The registry sends a snapshot at each change and a sign of life in between, so that silence means loss.
Source: watch with resumption by revision, as etcd's clients do it.
"""

import asyncio
import contextlib
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

import grpc
import structlog

from tether.errors import TetherError
from tether.registry.catalogue import Catalogue
from tether.v1 import registry_pb2 as pb
from tether.v1.registry_pb2_grpc import RegistryServiceStub

SILENCE_S = 3.0  # three missed signs of life, which come each second
RETRY_S_MIN = 0.05  # a registry that restarts is back within a second; asking 20 times costs nothing
RETRY_S_MAX = 2.0  # the longest a revoked key may live on after the registry came back

_log = structlog.get_logger("tether.registry")


class Peer(Protocol):
    """A node that was found."""

    @property
    def node_id(self) -> str:
        """Its id."""

    @property
    def address(self) -> str:
        """host:port of its gRPC server."""


class Peers(Protocol):
    """The registries that are there, as `tether.node.find.Peers` tells."""

    async def one(self, key: str) -> Peer:
        """Return the best for `key`; TetherError where none comes in time."""

    def fail(self, peer: Any, /) -> None:  # noqa: ANN401  whatever `one` returned
        """Pass over one that did not answer."""


class Channels(Protocol):
    """Pooled channels, as `tether.node` keeps them."""

    def to(self, node_id: str, address: str) -> grpc.aio.Channel:
        """Return the channel to a node."""

    def metadata(self, node_id: str) -> Sequence[tuple[str, str]]:
        """Return the metadata that proves the caller to it."""


class SnapshotFollower:
    """Follows the registry until closed.

    Args:
        peers: registries of the region.
        channels: channels to them.
        catalogue: what is kept fresh.
        key: chooses among several registries; the own node id spreads the load.
        silence_s: seconds without a word after which the watch is reopened.
    """

    def __init__(
        self, peers: Peers, channels: Channels, catalogue: Catalogue, key: str, *, silence_s: float = SILENCE_S
    ) -> None:
        self._peers = peers
        self._channels = channels
        self._catalogue = catalogue
        self._key = key
        self._silence_s = silence_s
        self._task: asyncio.Task[None] | None = None
        self._fresh = asyncio.Event()

    async def start(self) -> None:
        """Serve what was kept, then follow; returns at once."""
        if self._catalogue.load(time.time()):
            self._fresh.set()
        self._task = asyncio.create_task(self._run(), name="snapshot-follower")

    async def ready(self, timeout_s: float) -> bool:
        """Wait until there is a snapshot; tell whether one came in time."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._fresh.wait(), timeout_s)
        return self._fresh.is_set()

    async def close(self) -> None:
        """Stop following; the same again does nothing."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _run(self) -> None:
        pause_s = RETRY_S_MIN
        while True:
            heard = await self._guarded(self._follow_one)
            pause_s = RETRY_S_MIN if heard else min(2 * pause_s, RETRY_S_MAX)
            await asyncio.sleep(random.uniform(pause_s / 2, pause_s))  # noqa: S311  spreads reconnects, no secret

    async def _guarded(self, follow: Callable[[], Awaitable[bool]]) -> bool:
        """Follow one registry until it fails; tell whether it said anything."""
        try:
            return await follow()
        except (TetherError, TimeoutError) as error:
            _log.warning("registry is not followed", error=str(error) or "it fell silent")
        except grpc.aio.AioRpcError as error:
            _log.info("registry is lost", code=error.code().name)
        return False

    async def _follow_one(self) -> bool:
        peer = await self._peers.one(self._key)
        stub = RegistryServiceStub(self._channels.to(peer.node_id, peer.address))
        request = pb.WatchSnapshotRequest(revision=self._catalogue.revision)
        call = stub.WatchSnapshot(request, metadata=tuple(self._channels.metadata(peer.node_id)))
        heard = False
        try:
            while True:
                response = await asyncio.wait_for(call.read(), self._silence_s)
                if not isinstance(response, pb.WatchSnapshotResponse):  # the end of the stream
                    return heard
                await self._take(response)
                heard = True
        except (TimeoutError, TetherError, grpc.aio.AioRpcError) as error:
            self._peers.fail(peer)
            if not heard:
                raise
            _log.info("registry is lost", registry=peer.node_id, error=type(error).__name__)
            return True
        finally:
            call.cancel()

    async def _take(self, response: pb.WatchSnapshotResponse) -> None:
        """Serve a response, then keep it."""
        if self._catalogue.apply(response, time.time()):
            self._fresh.set()
            try:
                await asyncio.to_thread(self._catalogue.save, response)
            except TetherError as error:
                _log.warning("snapshot is not kept", error=str(error))
