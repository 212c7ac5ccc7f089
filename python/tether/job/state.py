"""Where a job stands, and where it may go from there.

A job is reserved before anything is dispatched and ends exactly once; only an abandoned one may be reserved again.
Source: docs/design/streams.md §3, §5.
"""

from collections.abc import Mapping
from enum import IntEnum


class State(IntEnum):
    """State of a job; numbers equal those of `tether.v1.JobState`."""

    RESERVED = 1
    DONE = 2
    FAILED = 3
    CANCELLED = 4
    ABANDONED = 5
    DEAD = 6


_NEXT: Mapping[State, frozenset[State]] = {
    State.RESERVED: frozenset(State),
    State.DONE: frozenset(),
    State.FAILED: frozenset(),
    State.CANCELLED: frozenset(),
    State.ABANDONED: frozenset({State.RESERVED}),
    State.DEAD: frozenset({State.RESERVED}),  # requeued out of the dead letters, and by nothing else
}


def may(old: State, new: State) -> bool:
    """Whether a job may go from `old` to `new`; RESERVED to RESERVED is another attempt."""
    return new in _NEXT[old]


def is_open(state: State) -> bool:
    """Whether the job holds quota and waits for its outcome."""
    return state is State.RESERVED
