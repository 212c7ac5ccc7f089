"""Orphans: open jobs that nobody will end, because the driver's session has lapsed and no worker runs them.

Their holds would stand until long after their deadlines. They are abandoned, so a repeat of a key runs again at once:
by the sweep where the worker's life is over, and by a worker that lives and never heard of the attempt, once asked.
Source: docs/design/streams.md §3, §5.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import Protocol

import structlog

from tether.job.lease import Leases
from tether.job.state import State
from tether.store.jobs import FIRST_OPEN, JobRow, JobStore, Settled
from tether_orchestrator.ending import End
from tether_orchestrator.fleet import FleetView
from tether_orchestrator.metrics import ORPHANED

_log = structlog.get_logger("tether.orchestrator")
_ROWS_MAX = 512  # of one round: one read and at most one write of some milliseconds each
_WHY = "WORKER_LOST: gateway and worker of the job are gone"


class Writer(Protocol):
    """What writes outcomes: the settlement."""

    async def write(self, end: End) -> Settled:
        """Write an outcome, or get the one that holds."""


def orphaned(
    rows: Iterable[JobRow], lapsed: Callable[[bytes], bool], lives: Callable[[str, int], bool]
) -> list[JobRow]:
    """The jobs that nobody will end.

    Args:
        rows: open jobs.
        lapsed: whether nobody answers for a session.
        lives: whether a worker's life (node id, incarnation) still lasts.
    """
    return [row for row in rows if lapsed(row.driver.session) and not lives(row.worker.node, row.worker.incarnation)]


class Workers(Protocol):
    """What reaches workers."""

    def ask(self, worker: str, job: bytes, epoch: int) -> None:
        """Ask a worker, where it has a link, for the end of an attempt whose driver is gone."""


class Orphans:
    """Abandons orphans, a bounded number each round.

    Args:
        store: the job store.
        leases: knows which sessions stand.
        fleet: knows which workers live.
        writer: writes the outcome and tells the others.
        workers: asked about attempts whose driver is gone.
        now_s: the clock that leases are judged by.
    """

    def __init__(
        self,
        store: JobStore,
        leases: Leases,
        fleet: FleetView,
        writer: Writer,
        workers: Workers,
        now_s: Callable[[], float],
    ) -> None:
        self._workers = workers
        self._store = store
        self._leases = leases
        self._fleet = fleet
        self._writer = writer
        self._now_s = now_s
        self._after = FIRST_OPEN

    async def sweep(self) -> None:
        """One round; TetherError where the store fails."""
        rows = await self._store.undriven(self._leases.standing(self._now_s()), self._after, _ROWS_MAX)
        self._after = (rows[-1].deadline_ms, rows[-1].number) if len(rows) == _ROWS_MAX else FIRST_OPEN
        now_s = self._now_s()
        for row in rows:
            self._leases.meet(row.driver.session, now_s)
        undriven = [row for row in rows if self._leases.lapsed(row.driver.session, now_s)]
        for row in undriven:
            if self._fleet.lives(row.worker.node, row.worker.incarnation):
                self._workers.ask(row.worker.node, row.subject.job, row.epoch)
        await self._abandon(orphaned(undriven, lambda _session: True, self._fleet.lives))

    async def _abandon(self, rows: list[JobRow]) -> None:
        ends = (End(row.subject.job, row.epoch, State.ABANDONED, error=_WHY) for row in rows)
        results = await asyncio.gather(*(self._writer.write(end) for end in ends), return_exceptions=True)
        written = sum(isinstance(result, Settled) and result.written for result in results)
        if written:
            ORPHANED.inc(written)
            _log.info("orphans_abandoned", jobs=written)
        for result in results:
            if isinstance(result, BaseException):
                raise result
