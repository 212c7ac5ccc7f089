"""Which outcome of a job holds: the first one that was written.

Worker, driver and a cancelling client may all end a job at the same moment; the row decides, and the others are told.
Source: docs/design/streams.md §5; write-once registers.
"""

from enum import Enum

from tether.job.state import State, is_open, may

ANY_EPOCH = 0  # Cancel ends whatever attempt runs


class Verdict(Enum):
    """What becomes of an asked outcome."""

    WRITE = "write"  # it is the first, and holds
    HOLDS = "holds"  # another one, or this one before, holds
    STALE = "stale"  # a newer attempt runs
    UNKNOWN = "unknown"  # no such attempt was ever made


def decide(state: State, epoch: int, asked: State, asked_epoch: int) -> Verdict:
    """Judge an asked outcome against the row.

    Args:
        state: where the job stands.
        epoch: its newest attempt.
        asked: the outcome that is asked for.
        asked_epoch: the attempt that ended, or `ANY_EPOCH`.

    Returns:
        The verdict.
    """
    if asked_epoch > epoch:
        return Verdict.UNKNOWN
    if not is_open(state):
        return Verdict.HOLDS
    if asked_epoch not in (ANY_EPOCH, epoch):
        return Verdict.STALE
    return Verdict.WRITE if asked is not State.RESERVED and may(state, asked) else Verdict.UNKNOWN
