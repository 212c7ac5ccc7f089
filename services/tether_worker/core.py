"""The worker put together on whatever identity, channels and overlay it is given: the app's, or a test's."""

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

import structlog
from grpc import aio

from tether import _native
from tether.identity import Identity, Role, Trust
from tether.link import Dialler, Handshake, LinkBook, LinkEnd, LinkLimits, LinkLocal, LinkServer
from tether.link.dial import Channels
from tether.node.find import Peer
from tether.observe.trace import Tracing
from tether_worker import metrics
from tether_worker.commit import Committer
from tether_worker.config import Config
from tether_worker.control import ControlLinks
from tether_worker.health import Announcer, HealthReporter
from tether_worker.jobs import JobTable
from tether_worker.keeper import Keeper
from tether_worker.machine import LogMachine
from tether_worker.model import ModelTable
from tether_worker.parts import Authorize, Parts, allow
from tether_worker.quota import QuotaGuard
from tether_worker.report import Self
from tether_worker.supply import Opener, Supply

TICK_S = 0.05  # as often as the logs ask for
HAND_OVER_S = 2.0  # of the grace: drivers are told, and have read what is there
SETTLE_S = 2.0  # what is in the journal is waited for so long: a region that answers does within milliseconds
QUOTA_SPARE = 2  # rounds of slots and queue that tickets of several models may fill
_log = structlog.get_logger("tether.worker")


@dataclass(frozen=True, slots=True)
class Ground:
    """What a worker stands on.

    Attributes:
        identity: this node.
        trust: what it believes of others.
        channels: pooled channels.
        overlay: announcements, or None.
        tracing: spans of attempts.
    """

    identity: Identity
    trust: Trust
    channels: Channels
    overlay: Announcer | None
    tracing: Tracing = field(default_factory=Tracing)


class WorkerCore:
    """All of a worker but its node.

    Args:
        ground: what it stands on.
        config: settings.
        opener: fetches and opens models.
        authorize: refuses starts; the hook of users' workers.
        limits: waits of links.
    """

    def __init__(
        self,
        ground: Ground,
        config: Config,
        opener: Opener,
        *,
        authorize: Authorize = allow,
        limits: LinkLimits | None = None,
    ) -> None:
        self.book = LinkBook()
        self.machine = LogMachine(_logs(config), self.book)
        self.models = ModelTable()
        self.committer = Committer(wait_s=config.commit_wait_s)
        self.keeper = Keeper(self.committer)
        self.control = ControlLinks(self.machine)
        self.jobs = JobTable(
            Parts(
                machine=self.machine,
                book=self.book,
                identity=ground.identity,
                trust=ground.trust,
                models=self.models,
                quota=QuotaGuard((config.slots + config.queue_max) * QUOTA_SPARE, config.tenant_jobs_max),
                committer=self.committer,
                authorize=authorize,
                tracing=ground.tracing,
            )
        )
        self.supply = Supply(config, self.models, opener, self.jobs.on_step)
        me = Self(ground.identity.node_id, ground.identity.incarnation, config)
        self.health = HealthReporter(me, self.models, self.jobs, self.control, ground.overlay, self.supply.loading)
        handshake = Handshake(ground.identity, ground.trust, report=self.health.report)
        local = LinkLocal(handshake, self.machine, self.book, limits or LinkLimits())
        self.server = LinkServer(local, (Role.GATEWAY, Role.ORCHESTRATOR), self)
        self._dialler = Dialler(local, ground.channels, (Role.ORCHESTRATOR,), self)
        self.machine.on("control", self._on_control)
        self._tasks: list[asyncio.Task[None]] = []

    def __repr__(self) -> str:
        return f"WorkerCore({self.jobs!r}, {self.machine.logs!r}, {len(self.book)} links)"

    def add_to(self, server: aio.Server) -> list[str]:
        """Register LinkService; returns full names."""
        return self.server.add_to(server)

    def start(self) -> None:
        """Begin to tick and to report."""
        self._tasks = [asyncio.create_task(self._tick()), asyncio.create_task(self.health.run())]

    def serve_at(self, address: str) -> None:
        """Reports name this host:port from now on."""
        self.health.address = address

    def orchestrators_are(self, peers: Iterable[Peer]) -> None:
        """Keep links to these orchestrators; again at each change."""
        self.control.follow(self._dialler, peers)

    async def drain(self, grace_s: float) -> None:
        """Take no more; return when every attempt has ended, was read and is committed, or the grace is over.

        What cannot end in time is handed over a little before: its driver goes on elsewhere at once.
        """
        until_s = time.monotonic() + grace_s
        self.jobs.leave()
        self.control.drain()
        self.control.beat(self.health.report().SerializeToString())
        if not await self.supply.drain(grace_s - min(HAND_OVER_S, grace_s / 4)) or len(self.jobs):
            self.jobs.hand_over_all()
        ended_s = time.monotonic()
        while time.monotonic() < until_s and not self._told(ended_s):  # noqa: ASYNC110 - three tables, while leaving
            await asyncio.sleep(0.02)

    async def close(self) -> None:
        """Stop now: attempts are left to other workers, links close, ends that nobody wrote go to the journal."""
        self.jobs.leave()
        self.jobs.hand_over_all()
        await self.supply.close()
        await self.keeper.close()
        await self.control.close()
        for end in self.book:
            end.close("closed")
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # LinkEvents

    def up(self, link: LinkEnd) -> None:
        """A link stands."""
        _log.info("link stands", peer=link.peer.node_id, link=link.number)
        self.control.up(link)

    def down(self, link: LinkEnd, why: str) -> None:
        """A link ended."""
        _log.info("link is gone", peer=link.peer.node_id, link=link.number, why=why)
        self.control.down(link)
        self.machine.lost(link)
        self.jobs.link_lost(link.number)

    def _on_control(self, link: int, kind: int, job: bytes, epoch: int, body: bytes) -> None:
        """Beats and what is not known: any byte counts as a sign of life already."""

    def _told(self, ended_s: float) -> bool:
        """Whether nothing is left to say: no end without an outcome, but for what a later life can send; all sent."""
        settled = not self.committer.waiting
        kept = not self.committer.exposed and time.monotonic() - ended_s > SETTLE_S
        return not len(self.jobs) and (settled or kept) and all(end.idle for end in self.book)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            self.machine.tick()
            self.jobs.tick()
            self._commit()
            self.keeper.tick()

    def _commit(self) -> None:
        """Send the ends that are due; a link that has not sent the last ones is given no more."""
        if not self.control.ready:
            return
        for job, epoch, body in self.committer.due(time.monotonic()):
            self.control.complete(job, epoch, body)
        metrics.PENDING.set(len(self.committer))
        metrics.COMMITS_DROPPED.set(self.committer.dropped)


def _logs(config: Config) -> _native.ChunkLogs:
    return _native.ChunkLogs(log_bytes_max=config.log_bytes_max, linger_ms=int(config.linger_s * 1_000))
