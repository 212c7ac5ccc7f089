"""The fleet as this orchestrator sees it: a shell around the native index, with what is announced and who looks on.

A link is proof, presence is a hint: only linked workers are in the native index and can be chosen; the others are shown
as announced.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from itertools import islice

import structlog

from tether._native import Candidate, Census, Fleet, Query, Removed
from tether._native import Worker as NativeWorker
from tether.errors import Reason, TetherError
from tether.placement.spread import counted, looked_at, pick
from tether.v1.control_pb2 import Worker, WorkerStanding
from tether.v1.health_pb2 import Health
from tether.v1.identity_pb2 import Presence
from tether_orchestrator.clock import monotonic_ms
from tether_orchestrator.metrics import FLEET

_log = structlog.get_logger("tether.orchestrator")
_STANDINGS = {
    "live": WorkerStanding.WORKER_STANDING_LIVE,
    "suspect": WorkerStanding.WORKER_STANDING_SUSPECT,
    "draining": WorkerStanding.WORKER_STANDING_DRAINING,
    "ejected": WorkerStanding.WORKER_STANDING_SUSPECT,
}
_WATCHERS_MAX = 256  # operators and consoles; more is a leak
_ANNOUNCED_MAX = 100_000  # presences kept of workers without a link
_LOADING_MS = 500  # as often as workers report
_LOADING_WORKERS_MAX = 1_024  # looked at for one refusal: reports are parsed, 10 µs each; only words depend on it
_LOADING_MODELS_MAX = 256  # counts kept
_IDLE_LOOKED_AT = 64  # as many as the index gives; the best ones are the least busy
_FULL_MS, _FULL_QUERIES_MAX = 250, 256  # kinds of requests that are refused at a time
_EXPLAIN_MAX = 1_000  # as many as the index gives
REMOVE_MS = 60_000  # a link ends after 5 s of silence and removes its worker; this only bounds a fault


class Listener:
    """What follows the fleet; by itself it does nothing."""

    def room(self) -> None:
        """A worker may have room that it had not."""

    def tick(self) -> None:
        """Time passes, some times a second."""

    def dead(self, worker: str) -> None:
        """A worker is gone."""


class Watcher:
    """One onlooker: which workers changed since it last looked."""

    def __init__(self) -> None:
        self._changed: dict[str, None] = {}
        self._event = asyncio.Event()
        self._over = False

    def touch(self, worker: str) -> None:
        """A worker changed."""
        self._changed[worker] = None
        self._event.set()

    def end(self) -> None:
        """There will be no more."""
        self._over = True
        self._event.set()

    async def take(self) -> list[str]:
        """Workers that changed, once there are any; none at the end."""
        await self._event.wait()
        if self._over:
            return []
        self._event.clear()
        changed, self._changed = list(self._changed), {}
        return changed


class FleetView:
    """Workers by what is known of them.

    Args:
        fleet: the native index.
        now_ms: monotonic clock, milliseconds.
    """

    def __init__(self, fleet: Fleet, now_ms: Callable[[], int] = monotonic_ms) -> None:
        self._fleet = fleet
        self._now_ms = now_ms
        self._linked: set[str] = set()
        self._announced: dict[str, Presence] = {}
        self._watchers: set[Watcher] = set()
        self._loading: dict[tuple[str, str], tuple[int, int]] = {}
        self._full: dict[Query, tuple[int, bool]] = {}
        self._listeners: list[Listener] = []
        self._me, self._peers, self._count_peers = "", 1, _nobody_else

    def __len__(self) -> int:
        return len(self._fleet)

    # what links and records tell

    def report(self, worker: str, raw: bytes) -> None:
        """A worker reports; ValueError where the report is malformed or of another worker."""
        room = self._fleet.upsert(worker, raw, self._now_ms())
        if room is not None:
            self._linked.add(worker)
            self._touch(worker)
        if room:
            for listener in self._listeners:
                listener.room()

    def beat(self, worker: str) -> None:
        """A worker was heard."""
        self._fleet.beat(worker, self._now_ms())

    def suspect(self, worker: str) -> None:
        """A worker's link broke: no new work."""
        if self._fleet.suspect(worker):
            self._touch(worker)

    def drain(self, worker: str) -> None:
        """A worker finishes its jobs and takes no more."""
        if self._fleet.drain(worker, True):  # noqa: FBT003 - the native signature
            self._touch(worker)

    def dead(self, worker: str) -> None:
        """A worker is gone."""
        self._fleet.remove(worker)
        self._linked.discard(worker)
        self._announced.pop(worker, None)
        self._touch(worker)
        for listener in self._listeners:
            listener.dead(worker)

    def announce(self, presence: Presence) -> None:
        """A worker announced itself."""
        if len(self._announced) < _ANNOUNCED_MAX or presence.worker_id in self._announced:
            self._announced[presence.worker_id] = presence
            self._touch(presence.worker_id)

    def withdraw(self, worker: str) -> None:
        """A worker's presence ended; a link that stands outweighs it."""
        if self._announced.pop(worker, None) is not None:
            self._touch(worker)

    def tick(self) -> None:
        """Time passes: silent workers become suspect."""
        self._peers = self._count_peers()
        self._fleet.set_peers(counted(self._peers, len(self._linked)))
        suspect, removed = self._fleet.expire(self._now_ms())
        for worker in suspect:
            _log.warning("worker_suspect", worker=worker)
            self._touch(worker)
        for worker in removed:
            self.dead(worker)
        for listener in self._listeners:
            listener.tick()

    def listen(self, listener: Listener) -> None:
        """Tell a listener what happens, for good."""
        self._listeners.append(listener)

    # what placement asks

    def best(self, query: Query, key: str, exclude: Sequence[str]) -> Candidate | None:
        """The best worker for a request, or one about as good where other orchestrators look too; or None."""
        found = self._fleet.top_k(query, key, looked_at(self._peers), self._now_ms(), exclude)
        return pick(found, f"{self._me} {key}") if found else None

    def spread(self, me: str, peers: Callable[[], int]) -> None:
        """Choose as one of several orchestrators.

        Args:
            me: node id of this one.
            peers: tells how many place on the same workers, this one among them; asked with each tick.
        """
        self._me, self._count_peers = me, peers

    def idlest(self, query: Query, key: str, exclude: Sequence[str]) -> Candidate | None:
        """The best worker with nothing in flight; the best of all where there is none."""
        found = self._fleet.top_k(query, key, _IDLE_LOOKED_AT, self._now_ms(), exclude)
        return next((one for one in found if not one.in_flight), found[0] if found else None)

    def full(self, query: Query) -> bool:
        """Whether a worker fits a query and is only full: as of a moment ago, as it looks at the whole fleet."""
        now_ms = self._now_ms()
        known = self._full.get(query)
        if known is None or now_ms - known[0] >= _FULL_MS:
            _found, removed = self._fleet.explain(query, "", _EXPLAIN_MAX, now_ms)
            if len(self._full) >= _FULL_QUERIES_MAX:
                self._full.clear()
            known = self._full[query] = (now_ms, any(one.rule == "capacity" for one in removed))
        return known[1]

    def in_flight(self, worker: str) -> int:
        """Jobs on a worker as placement counts them; 0 for one that is not known."""
        known = self._fleet.get(worker)
        return known.in_flight if known is not None else 0

    def set_health(self, worker: str, health: float) -> None:
        """Set a worker's health, 0 to 1; 0 gives it no new work."""
        if self._fleet.set_health(worker, health):
            self._touch(worker)

    def census(self, model: str, version: str) -> Census:
        """Workers of a model version, by what they can do now."""
        return self._fleet.census(model, version)

    def loading(self, model: str, version: str) -> int:
        """Linked workers on which a model version is on its way: as of the last second, of so many as are looked at."""
        known = self._loading.get((model, version))
        if known is None or self._now_ms() - known[0] >= _LOADING_MS:
            known = (self._now_ms(), sum(self._loads(worker, model, version) for worker in self._some()))
            if len(self._loading) >= _LOADING_MODELS_MAX:
                self._loading.clear()
            self._loading[model, version] = known
        return known[1]

    def loads(self, worker: str, model: str, version: str) -> bool:
        """Whether a model version is on its way to a worker."""
        return self._loads(worker, model, version)

    def _some(self) -> Iterable[str]:
        return islice(self._linked, _LOADING_WORKERS_MAX)

    def _loads(self, worker: str, model: str, version: str) -> bool:
        known = self._fleet.get(worker)
        return known is not None and is_loading(Health.Report.FromString(known.report), model, version)

    def placed(self, worker: str) -> None:
        """Count a job on a worker until its report tells of it."""
        self._fleet.placed(worker, self._now_ms())

    def unplaced(self, worker: str) -> None:
        """The job did not come about."""
        self._fleet.unplaced(worker)

    def explain(self, query: Query, key: str, limit: int) -> tuple[list[Candidate], list[Removed]]:
        """Candidates and removed workers of a request."""
        return self._fleet.explain(query, key, limit, self._now_ms())

    def lives(self, worker: str, incarnation: int) -> bool:
        """Whether this very life of a worker is known."""
        known = self._fleet.get(worker)
        return known is not None and known.incarnation == incarnation

    def drains(self, worker: str) -> bool:
        """Whether a worker finishes its jobs and is about to leave."""
        known = self._fleet.get(worker)
        return known is not None and known.standing == "draining"

    def region(self, worker: str) -> str:
        """Region of a known worker, or empty."""
        known = self._fleet.get(worker)
        return known.region if known is not None else ""

    # what people see

    def workers(self) -> list[str]:
        """Ids of all workers, sorted."""
        return sorted(self._linked | self._announced.keys())

    def worker(self, worker: str) -> Worker:
        """One worker; DEAD where it is not known."""
        known = self._fleet.get(worker)
        if known is not None:
            return _linked(known, self._now_ms())
        presence = self._announced.get(worker)
        if presence is not None:
            return _hinted(presence)
        return Worker(name=worker, standing=WorkerStanding.WORKER_STANDING_DEAD)

    def count(self) -> None:
        """Bring the gauges up to date."""
        FLEET.labels("linked").set(len(self._linked))
        FLEET.labels("announced").set(len(self._announced.keys() - self._linked))

    def watch(self) -> Watcher:
        """Start to look on; end with `unwatch`. TetherError OVERLOADED where too many do."""
        if len(self._watchers) >= _WATCHERS_MAX:
            raise TetherError(Reason.OVERLOADED, f"{_WATCHERS_MAX} watch the fleet already", retry_after_s=1.0)
        watcher = Watcher()
        self._watchers.add(watcher)
        return watcher

    def end_watches(self) -> None:
        """Send all onlookers home."""
        for watcher in self._watchers:
            watcher.end()

    def unwatch(self, watcher: Watcher) -> None:
        """Stop looking on."""
        self._watchers.discard(watcher)

    def _touch(self, worker: str) -> None:
        for watcher in self._watchers:
            watcher.touch(worker)


def _nobody_else() -> int:
    return 1


def is_loading(report: Health.Report, model: str, version: str) -> bool:
    """Whether a report names a model version as on its way."""
    return any(
        one.state == Health.CACHE_STATE_LOADING and (one.model.model_id, one.model.version) == (model, version)
        for one in report.model_cache
    )


def _linked(known: NativeWorker, now_ms: int) -> Worker:
    return Worker(
        name=known.worker_id,
        report=Health.Report.FromString(known.report),
        standing=_STANDINGS[known.standing],
        in_flight=known.in_flight,
        silent_ms=max(0, now_ms - known.heard_ms),
    )


def _hinted(presence: Presence) -> Worker:
    report = Health.Report(
        worker_id=presence.worker_id,
        gpu_class=presence.gpu_class,
        accelerators=presence.accelerators,
        address=presence.addresses[0] if presence.addresses else "",
    )
    return Worker(name=presence.worker_id, report=report, standing=WorkerStanding.WORKER_STANDING_ANNOUNCED)
