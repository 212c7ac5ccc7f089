"""Which outcome of a job holds: the first one that was written.

Worker, driver and a cancelling client may all end a job at the same moment; the row decides, and the others are told.
Abandonment is no outcome that a client was told: a receipt of the same attempt, or of the one that it raced, that
waited in some journal still commits its answer. Where two attempts race, only the driver knows which one its client
reads: no worker ends that job.
Source: docs/design/streams.md §3, §5; write-once registers.
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
    LATE = "late"  # its job was given up, but it proves an answer, and no other attempt was made since
    RACED = "raced"  # two attempts run, and only their driver says which one counts


def decide(
    state: State, epoch: int, asked: State, asked_epoch: int, *, raced_epoch: int = 0, driver: bool = True
) -> Verdict:
    """Judge an asked outcome against the row.

    Args:
        state: where the job stands.
        epoch: its newest attempt.
        asked: the outcome that is asked for.
        asked_epoch: the attempt that ended, or `ANY_EPOCH`.
        raced_epoch: the attempt that runs beside the newest one, or 0.
        driver: whether the driver asks; of no weight where nothing is raced.

    Returns:
        The verdict.
    """
    if asked_epoch > epoch:
        return Verdict.UNKNOWN
    if state is State.ABANDONED and asked is State.DONE and asked_epoch in (epoch, raced_epoch or epoch):
        return Verdict.LATE
    if not is_open(state):
        return Verdict.HOLDS
    if asked_epoch not in (ANY_EPOCH, epoch, raced_epoch):
        return Verdict.STALE
    if raced_epoch and asked_epoch != ANY_EPOCH and not driver:
        return Verdict.RACED
    return Verdict.WRITE if asked is not State.RESERVED and may(state, asked) else Verdict.UNKNOWN
