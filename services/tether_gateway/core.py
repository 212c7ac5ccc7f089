"""The gateway put together on whatever identity, channels and peers it is given: the app's, or a test's."""

import asyncio
import secrets
import uuid
from dataclasses import dataclass, field

import structlog
from grpc import aio

from tether import _native
from tether.errors import Reason, TetherError
from tether.identity import Identity, Role, Trust
from tether.link import Dialler, Handshake, LinkBook, LinkLimits, LinkLocal
from tether.node.find import Peer
from tether.node.journal import Journal
from tether.observe.trace import Tracing
from tether.v1 import placement_pb2
from tether_gateway import metrics
from tether_gateway.admission import Admission, Catalogue
from tether_gateway.conductor import Conductor
from tether_gateway.config import Config
from tether_gateway.drive import Drives
from tether_gateway.endings import Endings
from tether_gateway.governor import Governor
from tether_gateway.launcher import Launcher
from tether_gateway.links import WorkerLinks
from tether_gateway.mover import Asks, Mover
from tether_gateway.orchestrators import Channels, Orchestrators, Peers
from tether_gateway.recall import Recall
from tether_gateway.resume import Finder, Resumes
from tether_gateway.servicer import InferenceServicer
from tether_gateway.session import Sessions
from tether_gateway.settler import Settler
from tether_gateway.splice import Splice
from tether_gateway.start import Terms
from tether_gateway.streams import Streams
from tether_gateway.tasks import Tasks

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
        journal: keeps ends that no store takes; None for none.
    """

    identity: Identity
    trust: Trust
    channels: Channels
    orchestrators: Peers
    catalogue: Catalogue
    tracing: Tracing = field(default_factory=Tracing)
    journal: Journal | None = None


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
        self.links = WorkerLinks(Dialler(local, ground.channels, (Role.WORKER,), self.splice), book)
        self._orchestrators = ground.orchestrators
        self._admission = Admission(ground.catalogue, config, lambda: uuid.uuid4().hex)
        node = (ground.identity.node_id, ground.identity.incarnation)
        self.sessions = Sessions(self.session_id, node, ground.channels, self._heard, self._admission.demands)
        orchestrators = Orchestrators(ground.orchestrators, ground.channels, deaf=self.sessions.deaf)
        self.governor = Governor(self._admission, orchestrators, ground.trust, config, self.session_id)
        self.settler = Settler(self.governor, ground.journal, config.commit_timeout_s)
        self.tasks = Tasks()
        endings = Endings(self.splice, self.governor, self.settler, self.links, self.tasks)
        self.recall = Recall(self.governor, self.settler)
        endings.unheard = self.recall.unheard
        terms = Terms(ground.identity.node_id, config.window_bytes, config.detach_grace_s)
        asks = Asks(self.governor, Finder(self.governor), self.links)
        launcher = Launcher(self.splice, terms)
        launcher.launched = self.recall.driven
        mover = Mover(asks, launcher, endings, self.tasks, config)
        endings.undecided = mover.undecided
        self.conductor = Conductor(self.splice, self.links, mover, endings, self.tasks)
        self.streams = Streams(self.governor, self.splice, self.conductor, self.recall)
        self.recall.here = lambda job: self.conductor.get(job) is not None
        resumes = Resumes(self.governor, self.streams, self.conductor, config.timeout_default_s)
        self.servicer = InferenceServicer(self.governor, self.streams, resumes, self.conductor, ground.tracing)
        self.drives = Drives(self.governor, self.conductor, self.splice, self.tasks, config.timeout_default_s)
        self._tasks: list[asyncio.Task[None]] = []

    def __repr__(self) -> str:
        return f"GatewayCore({self.conductor!r})"

    def add_to(self, server: aio.Server) -> list[str]:
        """Register InferenceService; returns full names."""
        return self.servicer.add_to(server)

    def start(self) -> None:
        """Begin to tick, and to send what the journal holds."""
        self.settler.start()
        self._tasks = [asyncio.create_task(self.splice.run()), asyncio.create_task(self._gauge())]

    async def drain(self, grace_s: float) -> None:
        """Take no more; return when every stream and every commit is over, or the grace is.

        Streams that are cut off end DRAINING and go on at another gateway: their jobs are left as they are.
        """
        self.governor.draining = True
        try:
            async with asyncio.timeout(grace_s):
                await self.servicer.idle.wait()
                await self.conductor.drain()
        except TimeoutError:
            _log.warning("drain was cut off", gateway=repr(self))
            self.splice.interrupt(TetherError(Reason.DRAINING, "The gateway is leaving.", retry_after_s=0.0))

    async def close(self) -> None:
        """Stop now."""
        self.governor.draining = True
        await self.sessions.close()
        await self.links.close()
        await self.recall.close()
        await self.tasks.close()
        await self.settler.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _heard(self, peer: Peer, response: placement_pb2.SessionResponse) -> None:
        """What an orchestrator says."""
        match response.WhichOneof("kind"):
            case "beat":
                self._admission.minutes.share(response.beat.shares)
            case "worker_lost":
                lost = response.worker_lost
                _log.warning("worker is lost", worker=lost.worker_id, incarnation=lost.incarnation)
                self.links.lost(lost.worker_id, lost.incarnation)
            case "outcome":
                self.conductor.decided(response.outcome)
            case "new_epoch":
                self.conductor.newer(response.new_epoch)
            case "drive":
                self.drives.drive(response.drive)
            case "drain":
                _log.info("orchestrator drains", peer=peer.node_id)
                self._orchestrators.fail(peer)
            case "revocations":
                self.links.revoked(response.revocations.node_ids)
            case kind:
                _log.debug("orchestrator says", kind=kind)

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
        hold_failed=True,
    )
