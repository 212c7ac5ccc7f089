"""The gateway put together on whatever identity, channels and peers it is given: the app's, or a test's."""

import asyncio
import secrets
import uuid
from dataclasses import dataclass, field

import structlog
from grpc import aio

from tether import _native
from tether.identity import Identity, Role, Trust
from tether.link import Dialler, Handshake, LinkBook, LinkLimits, LinkLocal
from tether.observe.trace import Tracing
from tether.v1 import placement_pb2
from tether_gateway import metrics
from tether_gateway.admission import Admission, Catalogue
from tether_gateway.config import Config
from tether_gateway.flight import Conductor
from tether_gateway.governor import Governor
from tether_gateway.links import WorkerLinks
from tether_gateway.orchestrators import Channels, Orchestrators, Peers
from tether_gateway.servicer import InferenceServicer
from tether_gateway.session import Sessions
from tether_gateway.splice import Splice
from tether_gateway.streams import Streams

SESSION_BYTES = 16  # as placement.proto says
GAUGE_S = 1.0
_log = structlog.get_logger("tether.gateway")


@dataclass(frozen=True, slots=True)
class Ground:
    """What a gateway stands on.

    Attributes:
        identity: this node.
        trust: what it believes of others.
        channels: pooled channels.
        orchestrators: those of its region.
        catalogue: tenants, keys and models.
        tracing: spans of requests.
    """

    identity: Identity
    trust: Trust
    channels: Channels
    orchestrators: Peers
    catalogue: Catalogue
    tracing: Tracing = field(default_factory=Tracing)


class GatewayCore:
    """All of a gateway but its node.

    Args:
        ground: what it stands on.
        config: settings.
        limits: waits of links.
    """

    def __init__(self, ground: Ground, config: Config, limits: LinkLimits | None = None) -> None:
        book = LinkBook()
        self.session_id = secrets.token_bytes(SESSION_BYTES)
        self.splice = Splice(_table(config), book)
        local = LinkLocal(Handshake(ground.identity, ground.trust), self.splice, book, limits or LinkLimits())
        dialler = Dialler(local, ground.channels, (Role.WORKER,), self.splice)
        self.links = WorkerLinks(dialler, book)
        admission = Admission(ground.catalogue, config, lambda: uuid.uuid4().hex)
        orchestrators = Orchestrators(ground.orchestrators, ground.channels)
        self.governor = Governor(admission, orchestrators, ground.trust, config, self.session_id)
        self.conductor = Conductor(self.splice, self.governor, self.links, config)
        self.streams = Streams(self.governor, self.splice, self.conductor)
        self.servicer = InferenceServicer(self.governor, self.streams, self.conductor, ground.tracing)
        node = (ground.identity.node_id, ground.identity.incarnation)
        self.sessions = Sessions(self.session_id, node, ground.channels, self._heard)
        self._tasks: list[asyncio.Task[None]] = []

    def __repr__(self) -> str:
        return f"GatewayCore({self.conductor!r})"

    def add_to(self, server: aio.Server) -> list[str]:
        """Register InferenceService; returns full names."""
        return self.servicer.add_to(server)

    def start(self) -> None:
        """Begin to tick."""
        self._tasks = [asyncio.create_task(self.splice.run()), asyncio.create_task(self._gauge())]

    async def drain(self, grace_s: float) -> None:
        """Take no more; return when every stream and every commit is over, or the grace is."""
        self.governor.draining = True
        try:
            async with asyncio.timeout(grace_s):
                await self.servicer.idle.wait()
                await self.conductor.drain()
        except TimeoutError:
            _log.warning("drain was cut off", gateway=repr(self))

    async def close(self) -> None:
        """Stop now."""
        self.governor.draining = True
        await self.sessions.close()
        await self.links.close()
        await self.conductor.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _heard(self, response: placement_pb2.SessionResponse) -> None:
        """What an orchestrator says beside beats."""
        match response.WhichOneof("kind"):
            case "worker_lost":
                lost = response.worker_lost
                _log.warning("worker is lost", worker=lost.worker_id, incarnation=lost.incarnation)
                self.links.lost(lost.worker_id, lost.incarnation)
            case "outcome":
                self.conductor.decided(response.outcome.job_id, response.outcome.outcome)
            case kind:
                _log.info("orchestrator says", kind=kind)

    async def _gauge(self) -> None:
        while True:
            stats = self.splice.table.stats()
            metrics.JOBS.set(stats["jobs"])
            metrics.WAITING_BYTES.set(stats["waiting_bytes"])
            await asyncio.sleep(GAUGE_S)


def _table(config: Config) -> _native.StreamTable:
    return _native.StreamTable(
        window_bytes=config.window_bytes,
        log_bytes_max=config.log_bytes_max,
        detach_grace_ms=int(config.detach_grace_s * 1_000),
        silence_ms=int(config.silence_s * 1_000),
    )
