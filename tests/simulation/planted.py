"""Bugs planted on purpose: each breaks one rule of the product in this process, and the simulation must notice.

The last two were real: the simulation found them.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from unittest import mock

import clock  # noqa: F401 - first: it stands in for the process's clocks

from tether.job.hold import Position
from tether.job.outcome import Verdict, decide
from tether.job.state import State
from tether.store import jobs_write
from tether.v1 import infer_pb2, placement_pb2
from tether_gateway.endings import Endings
from tether_gateway.flight import Flight
from tether_gateway.recall import Recall
from tether_gateway.settler import Settled
from tether_gateway.splice import Splice


def _settled_from_the_beginning() -> Any:
    """An end settles the whole position, not what lies beyond the position settled before: a rerun is paid twice."""

    def whole(_settled: Position, used: Position) -> Position:
        return used

    return mock.patch.object(jobs_write.hold, "beyond", whole)


def _second_outcome_written() -> Any:
    """Not the first outcome holds: an end that is told twice is written twice."""

    def always(state: State, epoch: int, asked: State, asked_epoch: int, **how: Any) -> Any:
        verdict = decide(state, epoch, asked, asked_epoch, **how)
        return Verdict.WRITE if verdict is Verdict.HOLDS else verdict

    return mock.patch.object(jobs_write.outcome, "decide", always)


def _last_chunk_before_the_commit() -> Any:
    """Clients get the end, marked as committed, while its commit is on its way."""
    right = Endings._commit

    async def hasty(self: Endings, flight: Flight, epoch: int, request: placement_pb2.CompleteRequest) -> None:
        committed = infer_pb2.Infer.SETTLEMENT_COMMITTED
        actions = self._table.committed(flight.job, epoch, infer_pb2.JOB_STATE_DONE, committed, _now_ms())
        self._splice.act(actions)
        await right(self, flight, epoch, request)

    return mock.patch.object(Endings, "_commit", hasty)


def _now_ms() -> int:
    return int(asyncio.get_running_loop().time() * 1_000) + 1_000_000


def _read_on_from_the_beginning() -> Any:
    """A reader that comes back with a cursor gets the answer from position 0 again."""
    right = Splice.join

    def from_zero(self: Splice, job: bytes, stamp: bytes, first: bytes, _cursor: Any = None) -> Any:
        return right(self, job, stamp, first)

    return mock.patch.object(Splice, "join", from_zero)


def _hold_kept_by_the_abandoned() -> Any:
    """A job that is abandoned keeps what was held for it."""
    right = jobs_write._end

    def holding(books: Any, row: Any, asked: Any) -> Any:
        kept = replace(row, held_tokens=0, held_micros=0) if asked.outcome is State.ABANDONED else row
        return right(books, kept, asked)

    return mock.patch.object(jobs_write, "_end", holding)


def _ends_of_other_attempts() -> Any:
    """A reader is given the end of its own attempt, though another one's was written."""
    return mock.patch.object(Settled, "elsewhere", return_value=False)


def _placed_unheard() -> Any:
    """A reservation whose acknowledgement was lost is never looked for."""
    return mock.patch.object(Recall, "look", return_value=None)


PLANTED: dict[str, Callable[[], Any]] = {
    "settled-from-the-beginning": _settled_from_the_beginning,
    "second-outcome-written": _second_outcome_written,
    "last-chunk-before-the-commit": _last_chunk_before_the_commit,
    "read-on-from-the-beginning": _read_on_from_the_beginning,
    "hold-kept-by-the-abandoned": _hold_kept_by_the_abandoned,
    "ends-of-other-attempts": _ends_of_other_attempts,
    "placed-unheard": _placed_unheard,
}
