"""The gateway's standing with every orchestrator of its region: beats up; lost workers, outcomes and drains down.

One stream per orchestrator, opened as they appear, with the same session id at each. Source: docs/design/streams.md §3.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

import grpc
import structlog
from grpc import aio

from tether.link.dial import backoff_s
from tether.node.find import Peer
from tether.v1 import placement_pb2
from tether_gateway import metrics
from tether_gateway.demand import Demands
from tether_gateway.orchestrators import Channels

BEAT_S = 1.0  # a fifth of the lease
DEAF_S = 2.5  # two beats unanswered, and half of one for the way
_SILENT = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED})  # may be of this side's making
_PATH = "/tether.v1.PlacementService/Session"
_log = structlog.get_logger("tether.gateway")
Heard = Callable[[Peer, placement_pb2.SessionResponse], None]


class Sessions:
    """Sessions of one gateway.

    Args:
        session_id: 16 bytes, drawn at the gateway's start.
        node: node id and incarnation.
        channels: pooled channels.
        on_heard: called with what orchestrators say.
        demands: told with the beats.
    """

    def __init__(
        self, session_id: bytes, node: tuple[str, int], channels: Channels, on_heard: Heard, demands: Demands
    ) -> None:
        self._session_id = session_id
        self._node_id, self._incarnation = node
        self._channels = channels
        self._on_heard = on_heard
        self._demands = demands
        self._streams = 0
        self._heard_s: dict[Peer, float] = {}
        self._tasks: dict[Peer, asyncio.Task[None]] = {}
        self._leaving = asyncio.Event()

    def __len__(self) -> int:
        return len(self._tasks)

    def follow(self, peers: Iterable[Peer]) -> None:
        """Stand with these orchestrators, and with no others; again at each change."""
        wanted = set(peers)
        for peer in set(self._tasks) - wanted:
            self._tasks.pop(peer).cancel()
            self._heard_s.pop(peer, None)
        for peer in wanted - set(self._tasks):
            self._heard_s[peer] = self._now_s()  # it has as long for its first answer as for any other
            self._tasks[peer] = asyncio.create_task(self._keep(peer))

    def deaf(self, peer: Peer) -> bool:
        """Whether an orchestrator has answered nothing of late: a new connection to a stopped one says nothing else."""
        heard_s = self._heard_s.get(peer)
        return heard_s is not None and self._now_s() - heard_s > DEAF_S

    async def close(self) -> None:
        """Say that this gateway leaves, and end."""
        self._leaving.set()
        tasks = list(self._tasks.values())
        self._tasks.clear()
        if tasks:
            await asyncio.wait(tasks, timeout=0.5)  # one beat to say it in
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @staticmethod
    def _now_s() -> float:
        return asyncio.get_running_loop().time()

    async def _keep(self, peer: Peer) -> None:
        failures = 0
        while not self._leaving.is_set():
            try:
                failures = 0 if await self._stand(peer) else failures + 1
            except aio.AioRpcError as error:
                if error.code() not in _SILENT:
                    self._heard_s[peer] = self._now_s()
                failures += 1
                _log.info("session broke", peer=peer.node_id, code=error.code().name)
            await asyncio.sleep(backoff_s(failures, random.random()))  # noqa: S311 - spreads redials, no secret

    async def _stand(self, peer: Peer) -> bool:
        """One stream to its end; returns whether anything was heard."""
        open_: Any = self._channels.to(peer.node_id, peer.address).stream_stream(
            _PATH,
            request_serializer=placement_pb2.SessionRequest.SerializeToString,
            response_deserializer=placement_pb2.SessionResponse.FromString,
        )
        call = open_(self._beats(), metadata=self._channels.metadata(peer.node_id))
        heard = False
        try:
            async for response in call:
                if not heard:
                    metrics.SESSIONS.inc()
                heard = True
                self._heard_s[peer] = self._now_s()
                self._on_heard(peer, response)
            self._heard_s[peer] = self._now_s()  # it ended the stream itself
        finally:
            call.cancel()
            if heard:
                metrics.SESSIONS.dec()
        return heard

    async def _beats(self) -> AsyncIterator[placement_pb2.SessionRequest]:
        beat, leaving = 0, False
        self._streams += 1
        stream = self._streams
        try:
            while not leaving:
                beat, leaving = beat + 1, self._leaving.is_set()
                yield placement_pb2.SessionRequest(
                    session_id=self._session_id,
                    node_id=self._node_id,
                    incarnation=self._incarnation,
                    beat=beat,
                    leaving=leaving,
                    demands=self._demands.take(stream),
                )
                await self._wait_beat()
        finally:
            self._demands.forget(stream)

    async def _wait_beat(self) -> None:
        try:
            await asyncio.wait_for(self._leaving.wait(), BEAT_S)
        except TimeoutError:
            return
