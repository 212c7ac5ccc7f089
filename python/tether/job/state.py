"""Where a job stands, and where it may go from there.

A job is reserved before anything is dispatched and ends exactly once; only an abandoned one, and a dead one that an
operator takes back, may be reserved again. The drawing in the docs is made from this table.
Source: docs/design/streams.md §3, §5.
"""

from collections.abc import Iterator, Mapping
from enum import IntEnum


class State(IntEnum):
    """State of a job; numbers equal those of `tether.v1.JobState`."""

    RESERVED = 1
    DONE = 2
    FAILED = 3
    CANCELLED = 4
    ABANDONED = 5
    DEAD = 6


# every change that is allowed, and what makes it
CHANGES: Mapping[tuple[State, State], str] = {
    (State.RESERVED, State.RESERVED): "another attempt",
    (State.RESERVED, State.DONE): "receipt of a whole answer",
    (State.RESERVED, State.FAILED): "would fail anywhere",
    (State.RESERVED, State.CANCELLED): "Cancel",
    (State.RESERVED, State.ABANDONED): "nobody reads it or runs it",
    (State.RESERVED, State.DEAD): "cannot succeed",
    (State.ABANDONED, State.RESERVED): "a repeat of its key",
    (State.ABANDONED, State.DONE): "receipt that comes late",
    (State.DEAD, State.RESERVED): "requeued by an operator",
}


def may(old: State, new: State) -> bool:
    """Whether a job may go from `old` to `new`; RESERVED to RESERVED is another attempt."""
    return (old, new) in CHANGES


def is_open(state: State) -> bool:
    """Whether the job holds quota and waits for its outcome."""
    return state is State.RESERVED


def drawing() -> str:
    """The states and their changes as a Graphviz graph."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield "// Made from python/tether/job/state.py by `make pictures`; not edited by hand."
    yield "digraph job_states {"
    yield '  rankdir=LR; nodesep=0.35; ranksep=1.6; bgcolor="white";'
    yield '  node [fontname="Helvetica", fontsize=11, shape=box, style="rounded"];'
    yield '  edge [fontname="Helvetica", fontsize=9, arrowsize=0.7];'
    yield '  new [label="", shape=point];'
    for state in State:
        final = not any(old is state for old, _new in CHANGES)
        yield f"  {state.name} [peripheries={2 if final else 1}];"
    yield '  new -> RESERVED [label="Place"];'
    for (old, new), why in CHANGES.items():
        yield f'  {old.name} -> {new.name} [label="{why}"];'
    yield "}"
