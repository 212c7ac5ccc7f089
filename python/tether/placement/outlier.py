"""Outlier ejection: a worker that fails or crawls while its pool does well gets no work for a while.

A breaker asks whether a model fails in a region; this asks whether one worker fails beside others. Failures in a row,
the share of failures, and time per token are each compared with the pool's median. An ejection lasts longer each time,
and never more than half of a pool is out: if most of them look bad, it is not the workers.
Source: Envoy's outlier detection; "gray failure" (Huang et al., HotOS 2017).
"""

import math
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import median

_WORKERS_MAX = 16_384  # that had outcomes lately; a forgotten one starts afresh
_BEYOND = 64  # exponents of waits stop there


@dataclass(frozen=True, slots=True)
class OutlierSettings:
    """When a worker is out, and for how long.

    Attributes:
        in_row_max: failures in a row, beyond those of the others, that eject it.
        samples_min: outcomes without which share and time say nothing.
        share_over: share of failures over the median of the pool that ejects it.
        slow_factor: times the median time per token that ejects it.
        slow_s_min: time per token, seconds, under which nothing is slow.
        memory_s: time after which two thirds of what was seen are forgotten.
        eject_s: how long it is out the first time; grows with each time.
        eject_s_max: longest.
        pool_part_max: part of a pool that may be out.
    """

    in_row_max: int = 5  # as Envoy
    samples_min: int = 10
    share_over: float = 0.3
    slow_factor: float = 4.0  # between equal workers a factor of two is common, four is not (a guess)
    slow_s_min: float = 0.01
    memory_s: float = 10.0
    eject_s: float = 5.0
    eject_s_max: float = 120.0
    pool_part_max: float = 0.5


@dataclass(slots=True)
class Record:
    """What is known of a worker.

    Attributes:
        pool: its pool.
        outcomes: how many, fading.
        failures: how many of them failed, fading.
        slow_s: sum of seconds per token of those that did not, fading.
        in_row: failures since the last success.
        at_s: when it was last brought up to date.
        times: how often it was ejected, less one for each long time of health.
        until_s: end of its ejection; None while it is in.
        why: of the last ejection.
        trips: ejections in all.
    """

    pool: str
    at_s: float
    outcomes: float = 0.0
    failures: float = 0.0
    slow_s: float = 0.0
    in_row: int = 0
    times: int = 0
    until_s: float | None = None
    why: str = ""
    trips: int = 0
    ended_s: float = field(default=-math.inf)  # end of the last ejection

    @property
    def error_rate(self) -> float:
        """Share of failures, 0 to 1."""
        return self.failures / self.outcomes if self.outcomes > 0 else 0.0

    @property
    def s_per_token(self) -> float:
        """Mean time per token of what did not fail, seconds; 0 where nothing is known."""
        good = self.outcomes - self.failures
        return self.slow_s / good if good >= 1 else 0.0


class Outliers:
    """Workers by how they fare beside their pools.

    Args:
        settings: limits.
    """

    def __init__(self, settings: OutlierSettings) -> None:
        self._settings = settings
        self._records: OrderedDict[str, Record] = OrderedDict()
        self._pools: dict[str, set[str]] = {}
        self._ejected: set[str] = set()

    def __repr__(self) -> str:
        return f"Outliers({len(self._records)} workers, {len(self._ejected)} ejected)"

    def ended(self, worker: str, pool: str, *, failed: bool, s_per_token: float, now_s: float) -> str:
        """A job ended on a worker.

        Args:
            worker: node id.
            pool: workers that it is compared with: those of a model in a region that have had jobs.
            failed: whether it failed by the worker's fault.
            s_per_token: how long it took, per token; 0 where it says nothing.
            now_s: monotonic time.

        Returns:
            Why the worker is to be ejected now; empty where it is not.
        """
        record = self._at(worker, pool, now_s)
        record.outcomes += 1
        record.failures += failed
        record.in_row = record.in_row + 1 if failed else 0
        record.slow_s += 0.0 if failed else s_per_token
        if record.until_s is not None:
            return ""
        why = self._why(worker, record)
        return self._eject(worker, record, why, now_s) if why and self._may(pool) else ""

    def due(self, now_s: float) -> list[str]:
        """Workers whose ejection is over; each is told once, and starts afresh."""
        over = [worker for worker in self._ejected if (self._records[worker].until_s or 0.0) <= now_s]
        for worker in over:
            record = self._records[worker]
            record.until_s, record.ended_s, record.at_s = None, now_s, now_s
            record.outcomes = record.failures = record.slow_s = 0.0
            record.in_row = 0
            self._ejected.discard(worker)
        return over

    def forget(self, worker: str) -> None:
        """A worker is gone, or has begun another life."""
        record = self._records.pop(worker, None)
        if record is not None:
            self._pools[record.pool].discard(worker)
            self._ejected.discard(worker)

    def ejected(self) -> Iterable[tuple[str, Record]]:
        """Workers that are out."""
        return [(worker, self._records[worker]) for worker in sorted(self._ejected)]

    def _why(self, worker: str, record: Record) -> str:
        settings = self._settings
        if not record.in_row and record.outcomes < settings.samples_min:
            return ""
        others = [self._records[one] for one in self._pools[record.pool] if one != worker]
        usual_in_row = median([one.in_row for one in others] or [0])  # after a burst failures come first, with all
        if record.in_row >= settings.in_row_max + usual_in_row:
            return f"{record.in_row} failures in a row"
        known = [one for one in others if one.outcomes >= settings.samples_min / 2]
        return self._beside(record, known) if known and record.outcomes >= settings.samples_min else ""

    def _beside(self, record: Record, others: Sequence[Record]) -> str:
        """What sets a worker apart from others, or empty."""
        settings = self._settings
        usual = median(one.error_rate for one in others)
        if record.error_rate > usual + settings.share_over:
            return f"{record.error_rate:.0%} failures, its pool {usual:.0%}"
        usual_s = max(median(one.s_per_token for one in others), settings.slow_s_min)
        if record.s_per_token > settings.slow_factor * usual_s:
            return f"{record.s_per_token:.3g} s per token, its pool {usual_s:.3g} s"
        return ""

    def _may(self, pool: str) -> bool:
        members = self._pools[pool]
        return len(members & self._ejected) + 1 <= len(members) * self._settings.pool_part_max

    def _eject(self, worker: str, record: Record, why: str, now_s: float) -> str:
        settings = self._settings
        healthy_s = now_s - record.ended_s
        if healthy_s < math.inf:
            record.times = max(0, record.times - int(healthy_s / settings.eject_s_max))
        span_s = min(settings.eject_s * 2.0 ** min(record.times, _BEYOND), settings.eject_s_max)
        record.until_s, record.why = now_s + span_s, why
        record.times, record.trips = record.times + 1, record.trips + 1
        self._ejected.add(worker)
        return why

    def _at(self, worker: str, pool: str, now_s: float) -> Record:
        record = self._records.get(worker)
        if record is None:
            self._make_room()
            record = self._records[worker] = Record(pool, now_s)
        elif record.pool != pool:
            self._pools[record.pool].discard(worker)
            record.pool = pool
        self._pools.setdefault(pool, set()).add(worker)
        self._records.move_to_end(worker)
        kept = math.exp(-max(0.0, now_s - record.at_s) / self._settings.memory_s)
        record.outcomes, record.failures, record.slow_s = (
            record.outcomes * kept,
            record.failures * kept,
            record.slow_s * kept,
        )
        record.at_s = now_s
        return record

    def _make_room(self) -> None:
        if len(self._records) >= _WORKERS_MAX:
            self.forget(next(iter(self._records)))
