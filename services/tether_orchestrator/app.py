"""The orchestrator, put together: the only place that constructs its parts."""

import asyncio
import contextlib
import time
from pathlib import Path
from typing import Any

import structlog

from tether._native import Fleet
from tether.errors import Reason
from tether.identity import Role
from tether.job.lease import Leases
from tether.job.state import is_open
from tether.link import Broke, Handshake, LinkLocal, LinkServer
from tether.node.find import Peers
from tether.node.journal import Journal
from tether.node.node import Node
from tether.observe.metrics import MetricsPage, open_page
from tether.observe.trace import Tracing
from tether.placement.breaker import Breakers, BreakerSettings
from tether.placement.query import Queries
from tether.placement.queue import LateQueue, QueueSettings
from tether.placement.rival import Orchestrator as Me
from tether.registry.catalogue import Catalogue
from tether.registry.follower import SnapshotFollower
from tether.store.jobs import JobStore, Worker
from tether.v1.control_pb2_grpc import add_ControlServiceServicer_to_server
from tether.v1.placement_pb2_grpc import add_PlacementServiceServicer_to_server
from tether_orchestrator.billing import Billing
from tether_orchestrator.breakers import Standings
from tether_orchestrator.clock import AttentiveClock
from tether_orchestrator.config import Config
from tether_orchestrator.dead_letter_sink import DeadLetterSink, Forwarder
from tether_orchestrator.dead_letters import DeadLetters
from tether_orchestrator.demand import Demands
from tether_orchestrator.discovery import DiscoverySub
from tether_orchestrator.doubt import Doubt
from tether_orchestrator.engine import Engines
from tether_orchestrator.fleet import REMOVE_MS, FleetView
from tether_orchestrator.gate import Gate
from tether_orchestrator.offline import Offline
from tether_orchestrator.open_jobs import OpenJobs
from tether_orchestrator.orphan import Orphans
from tether_orchestrator.pending import Pending
from tether_orchestrator.queue import LateBinding
from tether_orchestrator.quota import Quotas
from tether_orchestrator.relay import Relays
from tether_orchestrator.reservation import Around, Reservations
from tether_orchestrator.scheduler import Scheduler
from tether_orchestrator.servicer import SERVICES, ControlServicer, PlacementServicer
from tether_orchestrator.session import Sessions
from tether_orchestrator.settlement import Settlement
from tether_orchestrator.slices import Slices
from tether_orchestrator.store_health import StoreHealth, guarded, probing
from tether_orchestrator.store_open import open_store
from tether_orchestrator.task import Tasks
from tether_orchestrator.upkeep import Upkeep
from tether_orchestrator.waiting import Waiting
from tether_orchestrator.worker_link import ROLES, WorkerLinks

_log = structlog.get_logger("tether.orchestrator")
JOURNAL = "journal.bin"  # of ends and jobs that wait for the store
_LOOK_S = 0.5  # between looks for jobs that ended elsewhere, while draining
_LAST_CALLS_S = 1.0  # once nothing runs, calls that are still open are reads and watches
_TASKS_MAX = 4_096  # completions and doubts at a time: a second of ends at full load


class OrchestratorApp:
    """One orchestrator; see `tether.app.App`."""

    name = "orchestrator"

    def __init__(self, config: Config) -> None:
        self._config = config
        self._node: Node | None = None
        self._store: JobStore | None = None
        self._journal: Journal | None = None
        self._parts: Parts | None = None
        self._billing: Billing | None = None
        self._page: MetricsPage | None = None

    async def start(self) -> None:
        """Open node and store, refuse a rival, serve, announce."""
        config = self._config
        try:
            self._node = node = await Node.open(config, Role.ORCHESTRATOR)
            self._store = await open_store(config)
            self._journal = await Journal.open(Path(config.state) / JOURNAL, bytes_max=config.journal_bytes_max)
            if config.metrics_port is not None:
                self._page = await open_page(config.metrics_port)
            self._parts = Parts(config, node, self._store, self._journal)
            await self._parts.start()
            self._billing = Billing(config, self._store, node.identity)
            await self._billing.start()
        except BaseException:
            await self.close()
            raise

    async def drain(self, grace_s: float) -> None:
        """Take no more jobs; commit those that run, for at most `grace_s`."""
        if self._parts is not None and self._node is not None:
            self._node.health.drain()
            left_s = await self._parts.drain(grace_s)
            # not before: the drivers of running jobs must still find this node
            await self._node.drain(min(left_s, _LAST_CALLS_S))

    async def close(self) -> None:
        """Stop now; idempotent."""
        if self._billing is not None:
            await self._billing.close()
        if self._parts is not None:
            await self._parts.close()
        if self._node is not None:
            await self._node.close()
        if self._journal is not None:
            await self._journal.close()
        if self._store is not None:
            await self._store.close()
        if self._page is not None:
            await self._page.close()
        self._billing = None
        self._parts, self._node, self._journal, self._store, self._page = None, None, None, None, None

    def endpoints(self) -> dict[str, str]:
        """host:port of the gRPC server and of the overlay."""
        node = self._node
        if node is None:
            return {}
        found = {"orchestrator": node.address, "orchestrator-overlay": node.overlay.address}
        return found | ({"metrics": self._page.address} if self._page is not None else {})


class Parts:
    """What an orchestrator is made of, on an open node and store.

    Args:
        config: its settings.
        node: identity, overlay, server, channels.
        raw_store: the job store.
        journal: keeps what the store cannot take yet.
    """

    def __init__(self, config: Config, node: Node, raw_store: JobStore, journal: Journal) -> None:
        me = Me(node.node_id, raw_store.store_id)
        self.clock = clock = AttentiveClock()
        self._config, self._node = config, node
        self.health = StoreHealth(clock.now_s)
        self._store, self._store_id = guarded(raw_store, self.health), raw_store.store_id
        self.tracing = Tracing.open(config.otlp_endpoint, "orchestrator", {"region": config.region})
        self.catalogue = Catalogue(node.trust, node.identity.network_id, Path(config.state))
        self.quotas = Quotas(self.catalogue)
        self.registries = Peers(node.overlay, config.region, Role.REGISTRY)
        self.follower = SnapshotFollower(self.registries, node.channels, self.catalogue, node.node_id)
        self.gate = Gate(me)
        self.discovery = DiscoverySub(node.overlay, config.region, me)
        self.fleet = FleetView(_fleet(config), clock.now_ms)
        self.tasks = Tasks(_TASKS_MAX)
        self.open = OpenJobs()
        self.engines = Engines()
        self.leases = Leases(config.session_lease_s, clock.now_s())
        self._link(probing(raw_store, self.health))
        self._place(journal)
        self._keep()

    def _link(self, beats: JobStore) -> None:
        """Gateways and workers."""
        config, node, now_s = self._config, self._node, self.clock.now_s
        lease_s, ok = config.session_lease_s, lambda: self.health.ok
        demands = Demands(lambda tenant: self.quotas.limits(tenant).requests_per_minute, now_s)
        self.sessions = Sessions(beats, self.leases, lease_s, now_s, demands, ok)
        self.doubt = Doubt(node.overlay, self.tasks, dead=self._worker_dead, over=self.sessions.worker_lost)
        self.handshake = Handshake(node.identity, node.trust)
        self.relays = Relays(self.handshake, node.channels, self._worker_address, relays_max=config.relays_max)
        self.links = WorkerLinks(self.fleet, self.doubt, self.tasks, self.engines, self._broke)

    def _place(self, journal: Journal) -> None:
        """What chooses, reserves and settles."""
        config, node, store = self._config, self._node, self._store
        late, breakers = LateQueue(_queue(config)), Breakers(BreakerSettings())
        standings = Standings(self.fleet, breakers, tracing=self.tracing)
        queries = Queries({config.region: 1.0} | config.proximity)
        self.scheduler = Scheduler(self.fleet, self.catalogue, queries, breakers, standings, late.waiting)
        wait_max_s, now_s = config.queue_wait_max_s, time.monotonic
        self.queue = LateBinding(self.scheduler, late, self.clock, wait_max_s=wait_max_s, now_s=now_s)
        self.fleet.listen(self.queue)
        self.fleet.spread(self._node.node_id, lambda: self.gate.peers)
        tokens, life_s = config.slice_tokens, config.slice_s
        self.slices = Slices(store, self.quotas, node.node_id, tokens=tokens, life_s=life_s, now_s=now_s)
        self.offline = Offline(store, journal, self.slices, self.quotas)
        self.settlement = Settlement(
            store,
            node.trust,
            self.scheduler,
            self.sessions,
            self.links,
            self.open,
            pending=Pending(journal),
            offline=self.offline,
        )
        self.links.settle_with(self.settlement)
        timeout_s = config.job_timeout_s
        self.reservations = Reservations(
            self._around(), node.identity, self.gate, timeout_s=timeout_s, clock=self.clock
        )

    def _around(self) -> Around:
        return Around(
            store=self._store,
            chooser=self.queue,
            fleet=self.fleet,
            engines=self.engines,
            leases=self.leases,
            sessions=self.sessions,
            open=self.open,
            settle=self.settlement.write,
            quotas=self.quotas,
            offline=self.offline,
            health=self.health,
            failed=self.settlement.attempt_failed,
            buried=self._buried,
            me=self._relay,
        )

    def _keep(self) -> None:
        """What is kept, and kept up."""
        store = self._store
        self.forwarder = Forwarder(_sink(self._config.dead_letter_sink))
        self.dead_letters = DeadLetters(store, self.queue, self.sessions, self.engines, self.quotas, self.forwarder)
        orphans = Orphans(store, self.leases, self.fleet, self.settlement, self.links, self.clock.now_s)
        self.waiting = Waiting(self.settlement, self.offline, self.slices, self.health)
        self.upkeep = Upkeep(store, self.fleet, self.sessions, self.open, orphans, self.clock, self.waiting)

    async def start(self) -> None:
        """Refuse a rival, serve, announce.

        Raises:
            TetherError: STATE_UNUSABLE beside a rival, PORT_IN_USE.
        """
        await self.discovery.refuse_rivals()
        self.discovery.start(self.fleet, self.doubt, self.gate)
        await self.follower.start()
        self.upkeep.start()
        self.clock.began()
        await self._node.serve(self._add)
        await self._node.present(self._store_id)
        if self._config.snapshot_wait_s:
            await self.follower.ready(self._config.snapshot_wait_s)

    async def drain(self, grace_s: float) -> float:
        """Take no more jobs; wait until those that run are committed; returns what is left of the grace, seconds."""
        until_s = time.monotonic() + grace_s
        self.gate.drain()
        self.sessions.drain(grace_s)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._until_ended(), grace_s)
        _log.info("drained", open_jobs=len(self.open))
        self.discovery.close()
        self.sessions.end_all()
        self.relays.close()
        self.fleet.end_watches()
        for link in self.links.book:
            link.close("drained")
        return max(0.0, until_s - time.monotonic())

    async def _until_ended(self) -> None:
        """Return once no job that was placed here is open."""
        while len(self.open):
            try:
                await asyncio.wait_for(self.open.wait_empty(), _LOOK_S)
            except TimeoutError:
                await self.open.forget_ended(self._ended)

    async def _ended(self, job: bytes) -> bool:
        if not self.health.ok:
            return False
        row = await self._store.get(job)
        return row is not None and not is_open(row.state)

    async def close(self) -> None:
        """Stop now."""
        self.gate.drain()
        self.queue.close()
        self.discovery.close()
        self.sessions.end_all()
        self.relays.close()
        self.fleet.end_watches()
        for link in self.links.book:
            link.close("closed")
        await self.follower.close()
        self.registries.close()
        await self.upkeep.close()
        await self.waiting.close()
        await self.tasks.close()
        await self.forwarder.close()
        await self.tracing.close()

    def _add(self, server: object) -> list[str]:
        """Add the services; returns their full names."""
        placement = PlacementServicer(
            self.reservations, self.settlement, self.sessions, self.scheduler, self.tracing, self.dead_letters
        )
        add_PlacementServiceServicer_to_server(placement, server)  # type: ignore[arg-type]
        control = ControlServicer(self.fleet, self._store, self.reservations.relay, self.dead_letters, self.scheduler)
        add_ControlServiceServicer_to_server(control, server)  # type: ignore[arg-type]
        local = LinkLocal(self.handshake, self.links.outbox, self.links.book)
        return [*SERVICES, *LinkServer(local, ROLES, self.links, self.relays).add_to(server)]  # type: ignore[arg-type]

    def _broke(self, worker: str, broke: Broke) -> None:
        if not self.tasks.full:
            self.tasks.start(self._keep_frame(worker, broke))

    async def _keep_frame(self, worker: str, broke: Broke) -> None:
        await self.dead_letters.frame(broke.frame, f"{Reason.LINK_PROTOCOL.name}: {broke.fault}", worker)

    def _buried(self, job: bytes) -> None:
        if self.forwarder.on and not self.tasks.full:
            self.tasks.start(self.dead_letters.forward(job.hex()))

    def _relay(self) -> Worker:
        """This orchestrator, as a relay."""
        return Worker(self._node.node_id, self._node.incarnation, self._node.address)

    def _worker_address(self, worker: str) -> str:
        return self.fleet.worker(worker).report.address

    def _worker_dead(self, worker: str, incarnation: int) -> None:
        self.fleet.dead(worker)
        self.sessions.worker_lost(worker, incarnation)


def _fleet(config: Config) -> Fleet:
    weights: dict[str, Any] = dict(config.weights)
    return Fleet(remove_ms=REMOVE_MS, ahead_per_slot=config.run_ahead, **weights)


def _sink(url: str) -> DeadLetterSink | None:
    if not url:
        return None
    from tether_orchestrator.http_sink import HttpSink  # noqa: PLC0415 - 30 ms of imports that few need

    return HttpSink(url)


def _queue(config: Config) -> QueueSettings:
    return QueueSettings(model_max=config.queue_model_max, total_max=config.queue_max)


def build(config: Config) -> OrchestratorApp:
    """The service for these settings."""
    return OrchestratorApp(config)
