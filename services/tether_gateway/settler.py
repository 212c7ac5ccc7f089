"""Ends of jobs on their way into the store: tried again until somebody has them, kept in the journal meanwhile.

A commit is idempotent on (job, epoch), so it is simply sent until it is acknowledged. Where that takes longer than the
commit wait, the end goes to the journal and the client gets its last chunk as PENDING; what a former life journaled is
sent first thing.
Source: docs/design/streams.md §5; write-ahead logging with redo.
"""

import asyncio
import random
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Protocol

import structlog
from google.protobuf.message import DecodeError

from tether.errors import Reason, TetherError
from tether.node.journal import Journal
from tether.placement.budget import backoff_s
from tether.v1 import infer_pb2, placement_pb2
from tether_gateway import metrics

RESEND_MAX = 8  # ends of the journal that are sent at a time: a store that comes back is not stormed
RESEND_CAP_S = 5.0  # between two rounds at most
# The caller was not heard, or could not be served now: the same call may be acknowledged later.
AGAIN = frozenset(
    {
        Reason.UNREACHABLE,
        Reason.NO_ORCHESTRATOR,
        Reason.STORE_UNAVAILABLE,
        Reason.DRAINING,
        Reason.DEADLINE,
        Reason.OVERLOADED,
        Reason.NODE_TOKEN_INVALID,
    }
)
_OPEN = infer_pb2.JOB_STATE_RESERVED
_log = structlog.get_logger("tether.gateway")
Request = placement_pb2.CompleteRequest
Response = placement_pb2.CompleteResponse


class Writes(Protocol):
    """What writes an end: `Governor.complete`."""

    async def complete(self, request: Request) -> Response:
        """Write an outcome; TetherError where it is not acknowledged."""


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of an end.

    Attributes:
        outcome: the one that holds.
        settlement: whether it stands in the store.
        receipt: body of the receipt that was written; empty where that is not known.
    """

    outcome: infer_pb2.JobState.ValueType
    settlement: infer_pb2.Infer.Settlement.ValueType
    receipt: bytes = b""

    @property
    def undecided(self) -> bool:
        """Whether the job may go on: nothing is written, and an attempt that was cut off says nothing of the others."""
        pending = self.settlement == infer_pb2.Infer.SETTLEMENT_PENDING
        return self.outcome == _OPEN or (pending and self.outcome == infer_pb2.JOB_STATE_ABANDONED)

    def elsewhere(self, request: Request) -> bool:
        """Whether the job is done by another answer's end than the one that was asked to be written."""
        if self.outcome != infer_pb2.JOB_STATE_DONE:
            return False
        return request.outcome != self.outcome or self.receipt not in (b"", request.receipt.body)


class Settler:
    """Brings ends into the store.

    Args:
        writes: asks orchestrators.
        journal: keeps ends that nobody takes; None where there is none.
        try_s: how long an end is tried without a journal.
        clock_s: monotonic seconds.
        chance: uniform in [0, 1).
    """

    def __init__(
        self,
        writes: Writes,
        journal: Journal | None,
        try_s: float,
        *,
        clock_s: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._writes = writes
        self._journal = journal
        self._try_s = try_s
        self._clock_s = clock_s
        self._chance = chance
        self._tasks: set[asyncio.Task[Any]] = set()
        self._underway: set[bytes] = set()
        self._more = asyncio.Event()

    def __repr__(self) -> str:
        return f"Settler({len(self._tasks)} on their way, {self._journal!r})"

    def start(self) -> None:
        """Begin to send what the journal holds."""
        if self._journal is not None:
            self._spawn(self._resend())
            self._more.set()

    async def close(self) -> None:
        """Stop; the journal keeps what is not acknowledged."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def settle(self, request: Request, late: asyncio.Event) -> Settled:
        """Write an end, or know that it will be written.

        Args:
            request: the end.
            late: set when the commit wait is over; then the journal will do.

        Raises:
            TetherError: SETTLEMENT_FAILED where it neither is written nor can be kept.
        """
        name = name_of(request)
        self._underway.add(name)
        trying = self._spawn(self._try(request))
        trying.add_done_callback(lambda done: self._tried(name, done))
        decided = await _first(trying, late) and not _may_yet(trying)
        if decided or not await self._keep(name, request):
            return _settled(await _outcome(trying))
        if trying.done() and trying.exception() is None:
            return _settled(trying.result())
        metrics.PENDING.inc()
        return Settled(request.outcome, infer_pb2.Infer.SETTLEMENT_PENDING)

    async def give_up(self, request: Request) -> Settled:
        """Write an end without an answer; kept in the journal where nobody takes it.

        Raises:
            TetherError: where it can be neither written nor kept; the session's lapse will settle it then.
        """
        try:
            return _settled(await self._try(request))
        except TetherError as error:
            if error.reason in AGAIN and await self._keep(name_of(request), request):
                self._more.set()
                return Settled(request.outcome, infer_pb2.Infer.SETTLEMENT_PENDING)
            raise

    async def _try(self, request: Request) -> Response:
        """Send an end until it is acknowledged, for as long as a client may wait."""
        until_s, failures = self._clock_s() + self._try_s, 0
        while True:
            try:
                response = await self._writes.complete(request)
            except TetherError as error:
                wait_s = backoff_s(failures, self._chance(), cap_s=1.0)
                if error.reason not in AGAIN or self._clock_s() + wait_s >= until_s:
                    raise
                failures += 1
                await asyncio.sleep(wait_s)
            else:
                metrics.SETTLED.labels(_label(response.outcome)).inc()
                return response

    async def _keep(self, name: bytes, request: Request) -> bool:
        if self._journal is None:
            return False
        try:
            await self._journal.add(name, request.SerializeToString())
        except TetherError as error:
            _log.error("an end could not be journaled", job=request.job_id.hex(), fault=error.message)
            return False
        return True

    def _tried(self, name: bytes, done: "asyncio.Task[Response]") -> None:
        """An end was acknowledged, or was not while the client waited."""
        self._underway.discard(name)
        if done.cancelled() or self._journal is None:
            return
        if done.exception() is None and not _undecided(done.result()):
            self._journal.done(name)
        else:
            self._more.set()

    async def _resend(self) -> None:
        """Send what the journal holds, again and again, until it is acknowledged."""
        failures = 0
        while True:
            waiting = self._waiting()
            metrics.JOURNALED.set(len(waiting))
            if not waiting:
                self._more.clear()
                await self._more.wait()
                continue
            first = int(self._chance() * len(waiting))  # one that is never acknowledged holds no other up
            chosen = (waiting[first:] + waiting[:first])[:RESEND_MAX]
            sent = await asyncio.gather(*(self._again(*entry) for entry in chosen))
            failures = 0 if any(sent) else failures + 1
            await asyncio.sleep(backoff_s(failures, self._chance(), cap_s=RESEND_CAP_S) if failures else 0.0)

    def _waiting(self) -> list[tuple[bytes, bytes]]:
        entries = self._journal.entries() if self._journal is not None else []
        return [entry for entry in entries if entry[0] not in self._underway]

    async def _again(self, name: bytes, body: bytes) -> bool:
        """Send one end of the journal; returns whether it is off the list."""
        try:
            request = Request.FromString(body)
            response = await self._writes.complete(request)
        except TetherError as error:
            if error.reason in AGAIN:
                return False
            _log.error("a journaled end was refused", name=name.hex(), reason=error.reason.name)
        except DecodeError:
            _log.error("a journaled end is no message", name=name.hex())
        else:
            metrics.SETTLED.labels(_label(response.outcome)).inc()
            if request.outcome == infer_pb2.JOB_STATE_DONE and _undecided(response):
                return False
            if response.outcome != request.outcome:
                held = infer_pb2.JobState.Name(response.outcome)
                _log.warning("a journaled end came second", job=request.job_id.hex(), outcome=held)
        if self._journal is not None:
            self._journal.done(name)
        return True

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _undecided(response: Response) -> bool:
    """Whether the job goes on: a whole answer that was delivered stays until the job has an end."""
    return response.outcome == _OPEN


def name_of(request: Request) -> bytes:
    """Name of an end in the journal: job and attempt."""
    return bytes(request.job_id + request.epoch.to_bytes(4, "little"))


async def _first(trying: "asyncio.Task[Response]", late: asyncio.Event) -> bool:
    """Wait for either; returns whether the end was decided before it was late."""
    waiting = asyncio.create_task(late.wait())
    try:
        await asyncio.wait({trying, waiting}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()
    return trying.done()


def _may_yet(trying: "asyncio.Task[Response]") -> bool:
    """Whether an end that was not acknowledged may be, later."""
    fault = trying.exception()
    return isinstance(fault, TetherError) and fault.reason in AGAIN


async def _outcome(trying: "asyncio.Task[Response]") -> Response:
    try:
        return await asyncio.shield(trying)
    except TetherError as error:
        _log.warning("an end could not be written", reason=error.reason.name)
        raise TetherError(Reason.SETTLEMENT_FAILED, "The end of the job could not be written.") from error


def _settled(response: Response) -> Settled:
    settlement = response.settlement or infer_pb2.Infer.SETTLEMENT_COMMITTED
    return Settled(response.outcome, settlement, response.job.receipt.body)


def _label(outcome: infer_pb2.JobState.ValueType) -> str:
    return infer_pb2.JobState.Name(outcome).removeprefix("JOB_STATE_").lower()
