"""One Infer call from admission to its end: place, read, and place again while nothing was delivered."""

import asyncio
from collections.abc import Coroutine
from typing import Any, Protocol

from tether.errors import Reason, TetherError
from tether.link import from_failure
from tether.v1 import placement_pb2
from tether_gateway import metrics
from tether_gateway.admission import Admitted
from tether_gateway.answer import first_fields, stamp, stored_answer
from tether_gateway.flight import Conductor, Flight
from tether_gateway.governor import NEW, Again, Governor
from tether_gateway.splice import Splice, now_ms

_ATTACHES_MAX = 20  # with the steps below 7 s: two more than the lease of a session (streams.md §3)
_ATTACH_AGAIN_S = 0.05  # a driver's start is milliseconds behind its placement
_ATTACH_STEPS = 10  # half a second between two tries at most


class Sink(Protocol):
    """Where a stream goes: a gRPC call, or a test's list."""

    async def begin(self, admitted: Admitted, response: placement_pb2.PlaceResponse) -> None:
        """Names of the request and the job; again at another attempt, which changes nothing."""

    def write(self, chunk: bytes) -> Coroutine[Any, Any, object]:
        """One serialized `Infer.Chunk`; returns when more is welcome."""


class Streams:
    """Infer calls of one gateway."""

    def __init__(self, governor: Governor, splice: Splice, conductor: Conductor) -> None:
        self._governor = governor
        self._splice = splice
        self._conductor = conductor

    async def serve(self, admitted: Admitted, sink: Sink, traceparent: str = "") -> None:
        """Serve one admitted request to its end.

        Raises:
            TetherError: whatever ends it without an answer.
        """
        began_ms, again, attempt = now_ms(), NEW, 1
        flight: Flight | None = None
        while True:
            response = await self._place(admitted, again, traceparent, flight)
            try:
                await sink.begin(admitted, response)
                if response.WhichOneof("outcome") == "ended":
                    await self._replay(admitted, response, sink)
                    return
                flight = await self._conductor.enter(admitted, response, attempt, traceparent)
            except BaseException:
                self._conductor.orphaned(admitted, response)
                raise
            next_try = await self._read(flight, admitted, sink, began_ms, attempt)
            if next_try is None:
                return
            again, attempt = next_try, attempt + 1

    async def _place(
        self, admitted: Admitted, again: Again, traceparent: str, last: Flight | None
    ) -> placement_pb2.PlaceResponse:
        """Place; what can't be placed another time, or is placed when client or deadline are gone, is given up."""
        trace = {"traceparent": traceparent} if traceparent else {}
        task = asyncio.create_task(self._governor.place(admitted, again, trace))
        try:
            async with asyncio.timeout(admitted.deadline_s - now_ms() / 1_000):
                return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(lambda done: self._too_late(admitted, last, done))
            raise
        except TimeoutError as fault:
            task.add_done_callback(lambda done: self._too_late(admitted, last, done))
            raise TetherError(Reason.DEADLINE, "The deadline passed before the job was placed.") from fault
        except TetherError as error:
            self._conductor.unplaced(last, error)
            raise

    def _too_late(
        self, admitted: Admitted, last: Flight | None, done: "asyncio.Task[placement_pb2.PlaceResponse]"
    ) -> None:
        if done.cancelled() or done.exception() is not None:
            self._conductor.unplaced(last, None)
        else:
            self._conductor.orphaned(admitted, done.result())

    async def _replay(self, admitted: Admitted, response: placement_pb2.PlaceResponse, sink: Sink) -> None:
        for chunk in stored_answer(admitted, response.job_id, response.ended):
            await sink.write(chunk)

    async def _read(self, flight: Flight, admitted: Admitted, sink: Sink, began_ms: int, attempt: int) -> Again | None:
        """Read a flight to its end; returns why to place again, or None when the answer is whole."""
        first = first_fields(admitted, flight.job, flight.placed, joined=flight.admitted is not admitted)
        reader = self._splice.join(flight.job, stamp(admitted), first)
        flight.readers += 1
        try:
            failure = await reader.run(sink.write)
        finally:
            flight.readers -= 1
            self._splice.leave(reader)
            if reader.delivered:
                metrics.FIRST_SECONDS.observe((reader.first_ms - began_ms) / 1_000)
        if failure is None:
            return None
        if flight.again is not None and not reader.delivered:
            return flight.again
        error = from_failure(failure)
        if error.reason is Reason.JOB_UNKNOWN and not flight.driver and not reader.delivered:
            return await self._unheard_of(flight, attempt)
        raise error

    async def _unheard_of(self, flight: Flight, attempt: int) -> Again:
        """The worker doesn't know the job that its driver is about to start, or died before it did: ask again.

        Raises:
            TetherError: WORKER_LOST after as long as a dead driver's session may stand.
        """
        if attempt >= _ATTACHES_MAX:
            raise TetherError(Reason.WORKER_LOST, "The job was never started.", retry_after_s=1.0)
        await asyncio.sleep(_ATTACH_AGAIN_S * min(attempt, _ATTACH_STEPS))
        return Again(after_epoch=flight.placed.epoch)
