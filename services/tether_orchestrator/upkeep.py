"""Upkeep: what an orchestrator does by the clock."""

import asyncio
import time

from tether.store.jobs import JobStore
from tether_orchestrator.clock import AttentiveClock
from tether_orchestrator.fleet import FleetView
from tether_orchestrator.metrics import EXPIRED, PURGED
from tether_orchestrator.open_jobs import OpenJobs
from tether_orchestrator.orphan import Orphans
from tether_orchestrator.session import Sessions
from tether_orchestrator.task import every
from tether_orchestrator.waiting import Waiting

_TICK_S = 0.2  # a silent worker is suspect at most so much later than after its second
_RENEW_S = 1.0  # a fifth of the lease
_PROBE_S = 0.25  # while the store is gone: what waits for it waits so much longer at most
_ORPHAN_S = 1.0  # holds of the dead stand a lease anyhow
_WAITING_S = 0.5  # a client that waits for an end to be committed sees it soon after the store is back
_COUNT_S = 2.0  # gauges are scraped every 15 s
_EXPIRE_S = 5.0  # an overdue job has waited a minute already
_PURGE_S = 10.0  # with the limit below 50 jobs a second are forgotten; a guess, bench/store.py
_EXPIRE_MAX = 256  # rows of one transaction: milliseconds
_PURGE_MAX = 512  # the same


class Upkeep:
    """Runs until closed.

    Args:
        store: the job store.
        fleet: workers.
        sessions: gateways.
        open_jobs: jobs that have not ended.
        orphans: jobs that nobody will end.
        clock: ticked here.
        waiting: what waits for the store.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - one round each
        self,
        store: JobStore,
        fleet: FleetView,
        sessions: Sessions,
        open_jobs: OpenJobs,
        orphans: Orphans,
        clock: AttentiveClock,
        waiting: Waiting,
    ) -> None:
        self._waiting = waiting
        self._store = store
        self._fleet = fleet
        self._sessions = sessions
        self._open = open_jobs
        self._orphans = orphans
        self._clock = clock
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin."""
        rounds = (
            (_TICK_S, "tick", self._tick),
            (_RENEW_S, "renew", self._sessions.renew),
            (_PROBE_S, "probe", self._sessions.probe),
            (_ORPHAN_S, "orphan", self._orphans.sweep),
            (_WAITING_S, "waiting", self._waiting.round),
            (_COUNT_S, "count", self._count),
            (_EXPIRE_S, "expire", self._expire),
            (_PURGE_S, "purge", self._purge),
        )
        self._tasks = [asyncio.create_task(every(period_s, name, work)) for period_s, name, work in rounds]

    async def close(self) -> None:
        """End; idempotent."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _tick(self) -> None:
        self._clock.tick()
        self._fleet.tick()

    async def _count(self) -> None:
        self._fleet.count()

    async def _expire(self) -> None:
        EXPIRED.inc(await self._store.expire(_EXPIRE_MAX))
        self._open.forget(time.time_ns() // 1_000_000)

    async def _purge(self) -> None:
        PURGED.inc(await self._store.purge(_PURGE_MAX))
