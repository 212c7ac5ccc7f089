"""Pumps usage out of the store's outbox: a batch at a time, in order, until each was taken.

A round holds the lease, sends the batch that is on its way or cuts the next one, and marks its rows only after every
sink took it. A crash anywhere repeats a batch with its key, and never loses or splits one.
Source: the transactional outbox; Richardson, "Microservices Patterns", 2018.
"""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from tether.billing import metrics
from tether.billing.batch import Batch, Origin, cut
from tether.billing.pace import Pace
from tether.billing.sink import UsageSink
from tether.errors import TetherError
from tether.store.jobs import Usage

LEASE_MS = (
    180_000  # three periods: a sender that pauses for a collection keeps it, one that died is replaced in minutes
)
_log = structlog.get_logger("tether.billing")


class Outbox(Protocol):
    """What the pump needs of the job store."""

    async def outbox(self, after: int, limit: int) -> Sequence[Usage]:
        """Rows that nobody took yet, by number."""

    async def outbox_done(self, numbers: Sequence[int]) -> None:
        """These rows were taken."""


class Sending(Protocol):
    """What the pump needs of `tether.billing.desk.Desk`."""

    async def hold(self, now_ms: int, lease_ms: int) -> bool:
        """Take or renew the lease."""

    async def waiting(self) -> Batch | None:
        """Return the batch that is on its way."""

    async def put(self, batch: Batch, now_ms: int) -> Batch:
        """Write a batch down."""

    async def taken(self, key: str) -> None:
        """Forget a batch."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is sent how often.

    Attributes:
        period_s: time between two batches, seconds.
        batch_rows_max: rows of a batch.
    """

    period_s: float = 60.0
    batch_rows_max: int = 1_000  # 400 KB of JSON: under every proxy's limit


@dataclass(frozen=True, slots=True)
class World:
    """What a pump sees of the world.

    Attributes:
        now_ms: wall clock, milliseconds since the Unix epoch.
        chance: draws 0 to 1.
    """

    now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000
    chance: Callable[[], float] = random.random


class Pump:
    """Sends.

    Args:
        outbox: where usage waits.
        desk: what senders share.
        sinks: all of them take every batch.
        origin: where it is from.
        limits: how much how often.
        world: clock and chance.
    """

    def __init__(
        self,
        outbox: Outbox,
        desk: Sending,
        sinks: Sequence[UsageSink],
        origin: Origin,
        limits: Limits,
        world: World | None = None,
    ) -> None:
        self._outbox = outbox
        self._desk = desk
        self._sinks = sinks
        self._origin = origin
        self._limits = limits
        self._world = world or World()
        self._pace = Pace(limits.period_s)

    async def round(self) -> float:
        """Send what is due; returns seconds until the next round. Failures are told to log and metrics."""
        try:
            sent = await self._send()
        except TetherError as error:
            self._pace = self._pace.failed()
            self._tell_failure(error)
            return self._pace.wait_s(self._world.chance(), told_s=error.retry_after_s)
        self._pace = self._pace.went_well()
        metrics.FAILING.set(0)
        return self._pace.wait_s(self._world.chance(), more=sent >= self._limits.batch_rows_max)

    async def _send(self) -> int:
        """Send one batch, where this sender may and there is any; returns its rows."""
        if not await self._desk.hold(self._world.now_ms(), LEASE_MS):
            return 0
        batch = await self._desk.waiting() or await self._cut()
        if batch is None:
            return 0
        for sink in self._sinks:
            await sink.take(batch)
        await self._outbox.outbox_done(batch.numbers)
        await self._desk.taken(batch.key)
        metrics.BATCHES.labels("taken").inc()
        metrics.SENT.inc(len(batch.numbers))
        return len(batch.numbers)

    async def _cut(self) -> Batch | None:
        rows = await self._outbox.outbox(0, self._limits.batch_rows_max)
        oldest_ms = min((row.at_ms for row in rows), default=None)
        metrics.OLDEST_SECONDS.set(0 if oldest_ms is None else max(0, self._world.now_ms() - oldest_ms) / 1_000)
        return await self._desk.put(cut(rows, self._origin), self._world.now_ms()) if rows else None

    def _tell_failure(self, error: TetherError) -> None:
        metrics.BATCHES.labels("failed").inc()
        metrics.FAILING.set(self._pace.failures)
        _log.warning("usage_not_taken", failures=self._pace.failures, reason=error.reason.name, error=error.message)
