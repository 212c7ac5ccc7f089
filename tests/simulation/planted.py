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
from tether.job.outcome import decide
from tether.job.state import State
from tether.store import jobs_write
from tether.v1 import infer_pb2, placement_pb2
from tether_gateway import answer
from tether_gateway.endings import Endings
from tether_gateway.flight import Flight
from tether_gateway.recall import Recall
from tether_gateway.settler import Settled


def _settled_from_the_beginning() -> Any:
    """An end settles the whole position, not what lies beyond the position settled before: a rerun is paid twice."""

    def whole(_settled: Position, used: Position) -> Position:
        return used

    return mock.patch.object(jobs_write.hold, "beyond", whole)


def _epochs_not_compared() -> Any:
    """An attempt that was replaced long ago ends the job of its successor."""

    def anybody(state: State, epoch: int, asked: State, asked_epoch: int, **how: Any) -> Any:
        return decide(state, epoch, asked, min(asked_epoch, epoch) and epoch, **how)

    return mock.patch.object(jobs_write.outcome, "decide", anybody)


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


def _kept_answer_from_the_wrong_place() -> Any:
    """A reader that comes back to an answer that is kept gets it from one byte too far on."""
    right: Callable[..., Any] = answer._rest

    def further(row: Any, place: Any) -> Any:
        chunk = right(row, place)
        if place.text_bytes:
            chunk.payload.text = chunk.payload.text[1:]
        return chunk

    return mock.patch.object(answer, "_rest", further)


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
    "epochs-not-compared": _epochs_not_compared,
    "last-chunk-before-the-commit": _last_chunk_before_the_commit,
    "kept-answer-from-the-wrong-place": _kept_answer_from_the_wrong_place,
    "hold-kept-by-the-abandoned": _hold_kept_by_the_abandoned,
    "ends-of-other-attempts": _ends_of_other_attempts,
    "placed-unheard": _placed_unheard,
}
