"""Poison: a request that kills or fails whoever runs it must not walk through the whole fleet.

A death that came soon after the attempt began counts against the job. After two it may run on a third worker, with no
other job beside it; if that one dies too, it was the job, and it goes to the dead letters. Three workers are touched at
most, and a job that only had bad luck gets on.
Source: docs/design/streams.md §7; the retry budget of "poison messages" in queues.
"""

from enum import Enum, IntEnum

from tether.job.hold import Position
from tether.job.repeat import ATTEMPTS_MAX

GAINED_MIN = 64  # positions; an attempt that came further did not die of the request's beginning
ALONE_POINTS = 2  # as streams.md says
DEAD_POINTS = 3  # the third one ran alone


class Cause(IntEnum):
    """Why another attempt is asked for; numbers equal those of `tether.v1.PlaceCause`."""

    UNSPECIFIED = 0
    NEW = 1
    WORKER_LOST = 2
    REFUSED = 3
    HANDED_OVER = 4
    FAILED = 5
    TAKE_OVER = 6
    HEDGE = 7
    RESUME = 8


class Fate(Enum):
    """What becomes of a job that asks for another attempt."""

    RUN = "run"
    ALONE = "alone"  # with no other job beside it
    POISON = "poison"  # dead: it killed the worker that ran it alone
    EXHAUSTED = "exhausted"  # dead: no worker of so many could do it


_DEADLY = frozenset({Cause.WORKER_LOST, Cause.FAILED})


def gained(begin: Position, reached: Position) -> int:
    """New positions of an attempt: tokens, or bytes of an answer without tokens; never negative."""
    if reached.output_tokens or begin.output_tokens:
        return max(0, reached.output_tokens - begin.output_tokens)
    return max(0, reached.output_bytes - begin.output_bytes)


def is_point(cause: Cause, begin: Position, reached: Position) -> bool:
    """Whether the end of an attempt counts against its job.

    Args:
        cause: why it ended.
        begin: where it began.
        reached: the position that its driver accepted.
    """
    return cause in _DEADLY and gained(begin, reached) < GAINED_MIN


def fate(points: int, attempts: int, *, alone: bool) -> Fate:
    """What becomes of a job.

    Args:
        points: deaths that count, the last one among them.
        attempts: made so far.
        alone: whether the last one ran alone.
    """
    if points >= DEAD_POINTS and alone:
        return Fate.POISON
    if attempts >= ATTEMPTS_MAX:
        return Fate.EXHAUSTED
    return Fate.ALONE if points >= ALONE_POINTS else Fate.RUN
