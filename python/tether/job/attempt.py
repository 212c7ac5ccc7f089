"""Who may make the next attempt of a job that runs, and who reads along.

A job has one driver. Another attempt is a compare-and-set on the epoch by the driver's session; while that session
stands nobody else raises an epoch, whatever became of the worker. Once it has lapsed a reader takes over by the same
compare-and-set, and the one that comes second reads along with the first.
Source: docs/design/streams.md §3; fencing by epochs as in Chubby (Burrows, OSDI 2006).
"""

from dataclasses import dataclass
from enum import Enum


class Way(Enum):
    """What a caller of Place gets for a job that runs."""

    SAME = "same"  # its own newest attempt, with a fresh ticket
    NEXT = "next"  # another attempt, in place of the newest
    RACE = "race"  # another attempt, beside the newest
    TAKE_OVER = "take-over"  # another attempt, in place of a driver that is gone
    JOIN = "join"  # the newest attempt, to read
    STALE = "stale"  # nothing: it names an attempt that was never made, or races a race


@dataclass(frozen=True, slots=True)
class Running:
    """What the rule needs of a job that runs.

    Attributes:
        epoch: newest attempt.
        after_epoch: attempt that the newest one was asked after.
        raced_epoch: attempt that runs beside it, or 0.
        session: session that drives it.
    """

    epoch: int
    after_epoch: int
    raced_epoch: int
    session: bytes


@dataclass(frozen=True, slots=True)
class Asks:
    """What the rule needs of the caller.

    Attributes:
        session: its session.
        after_epoch: attempt that it knows of; 0 for none.
        race: whether it wants another attempt beside that one.
    """

    session: bytes
    after_epoch: int
    race: bool = False


def way(job: Running, asks: Asks, *, lapsed: bool, lives: bool) -> Way:
    """Judge a Place for a job that runs.

    Args:
        job: the job.
        asks: the caller.
        lapsed: whether the driver's session has lapsed.
        lives: whether the worker of the newest attempt still lives the life that it ran in.
    """
    if asks.after_epoch > job.epoch:
        return Way.STALE
    if job.session == asks.session:
        return _driver(job, asks)
    unknown_there = asks.after_epoch == job.epoch  # a reader found that the worker does not know the attempt
    return Way.TAKE_OVER if lapsed and (unknown_there or not lives) else Way.JOIN


def _driver(job: Running, asks: Asks) -> Way:
    if asks.after_epoch == job.after_epoch:
        return Way.SAME
    if asks.after_epoch != job.epoch:
        return Way.JOIN
    if not asks.race:
        return Way.NEXT
    return Way.STALE if job.raced_epoch else Way.RACE
