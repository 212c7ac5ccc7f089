"""Calls that read an answer, from admission to the end: Infer, which starts jobs, and what it shares with Resume.

A job that moves from worker to worker goes on under its readers' feet; only an end reaches them.
"""

import asyncio
import time
from collections.abc import Coroutine
from typing import Any, Protocol

from tether.errors import Reason, TetherError
from tether.link import from_failure
from tether.v1 import infer_pb2, placement_pb2
from tether_gateway import metrics
from tether_gateway.admission import Admitted
from tether_gateway.answer import Place, first_fields, stamp, stored_answer
from tether_gateway.conductor import Conductor
from tether_gateway.cursor import Cursor, parse
from tether_gateway.flight import Flight
from tether_gateway.governor import NEW, Again, Governor
from tether_gateway.reader import Reader
from tether_gateway.recall import Recall, key_of
from tether_gateway.splice import Splice, now_ms


class Sink(Protocol):
    """Where a stream goes: a gRPC call, or a test's list."""

    async def begin(self, names: infer_pb2.Job) -> None:
        """Names of the request and the job, and the receipt of one that has ended."""

    def write(self, chunk: bytes) -> Coroutine[Any, Any, object]:
        """One serialized `Infer.Chunk`; returns when more is welcome."""


class Streams:
    """Infer calls of one gateway."""

    def __init__(self, governor: Governor, splice: Splice, conductor: Conductor, recall: Recall) -> None:
        self.recall = recall
        self._governor = governor
        self._splice = splice
        self._conductor = conductor

    async def serve(self, admitted: Admitted, sink: Sink, traceparent: str = "") -> None:
        """Serve one admitted request to its end.

        Raises:
            TetherError: whatever ends it without an answer.
        """
        began_ms = now_ms()
        flight = self.here(admitted)
        if flight is None:
            with self.recall.placing(key_of(admitted)):
                response = await self.place(admitted, traceparent)
                if response.WhichOneof("outcome") != "ended":
                    flight = await self.board(admitted, response, sink, traceparent)
            if flight is None:
                await self.replay(response.ended, sink)
                return
        else:
            await sink.begin(names_of(admitted, flight.job))
        await self.read(flight, admitted, sink, began_ms)

    def here(self, admitted: Admitted) -> Flight | None:
        """The flight of a request's job, where this gateway has it already; JOB_CONFLICT for another request."""
        flight = self._conductor.named(admitted.tenant, admitted.correlation_id, admitted.header.retry_token)
        if flight is not None:
            check_same(flight, admitted)
        return flight

    async def board(
        self, admitted: Admitted, response: placement_pb2.PlaceResponse, sink: Sink, traceparent: str
    ) -> Flight:
        """Tell the client the names of a placed job and enter its flight."""
        try:
            await sink.begin(names_of(admitted, response.job_id))
            flight = await self._conductor.enter(admitted, response, traceparent)
        except BaseException:
            self._conductor.orphaned(admitted, response)
            raise
        if flight.driver:
            self.recall.met(admitted)
        return flight

    async def place(self, admitted: Admitted, traceparent: str, again: Again = NEW) -> placement_pb2.PlaceResponse:
        """Place; what is placed when client or deadline are gone is given up."""
        trace = {"traceparent": traceparent} if traceparent else {}
        task = asyncio.create_task(self._governor.place(admitted, again, trace))
        try:
            async with asyncio.timeout(admitted.deadline_s - time.monotonic()):
                return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(lambda done: self._too_late(admitted, done))
            raise
        except TimeoutError as fault:
            task.add_done_callback(lambda done: self._too_late(admitted, done))
            raise TetherError(Reason.DEADLINE, "The deadline passed before the job was placed.") from fault
        except TetherError as error:
            self.recall.unheard(admitted, error)
            raise

    async def replay(self, ended: placement_pb2.Ended, sink: Sink, place: Place | None = None) -> None:
        """Write the kept answer of a job that has ended, from where its reader stands."""
        await sink.begin(ended.job)
        for chunk in stored_answer(ended, place):
            await sink.write(chunk)

    async def read(
        self, flight: Flight, admitted: Admitted, sink: Sink, began_ms: int, cursor: Cursor | None = None
    ) -> None:
        """Read a flight to its end.

        Raises:
            TetherError: whatever ends it without an answer.
        """
        joined = flight.admitted is not admitted
        first = first_fields(admitted.retry_token, flight.job, flight.placed, joined=joined)
        reader = self._splice.join(flight.job, stamp(admitted.correlation_id), first, cursor)
        try:
            failure = await reader.run(sink.write)
        finally:
            self._splice.leave(reader)
            if reader.delivered:
                metrics.FIRST_SECONDS.observe((reader.first_ms - began_ms) / 1_000)
        if failure is None:
            return
        if flight.ended is not None and flight.ended.job.state == infer_pb2.JOB_STATE_DONE:
            await self.replay(flight.ended, sink, place_of(reader, cursor))
            return
        raise from_failure(failure)

    def _too_late(self, admitted: Admitted, done: "asyncio.Task[placement_pb2.PlaceResponse]") -> None:
        if done.cancelled():
            return
        if (error := done.exception()) is not None:
            self.recall.unheard(admitted, error)
        else:
            self._conductor.orphaned(admitted, done.result())


def names_of(admitted: Admitted, job: bytes) -> infer_pb2.Job:
    """What a client is told before the first chunk."""
    return infer_pb2.Job(name=job.hex(), correlation_id=admitted.correlation_id, retry_token=admitted.retry_token)


def check_same(flight: Flight, admitted: Admitted) -> None:
    """Raise JOB_CONFLICT where a job's key names another request; one that Resume opened without it is not known."""
    held, asked = flight.admitted.header.request_hash, admitted.header.request_hash
    if held and asked and held != asked:
        raise TetherError(Reason.JOB_CONFLICT, "The key of this job names another request.")


def place_of(reader: Reader, cursor: Cursor | None) -> Place:
    """Where a reader stands after what it was written.

    Raises:
        TetherError: WORKER_LOST where its last chunk was no place to go on from.
    """
    if not reader.last:
        return Place(cursor)
    last = infer_pb2.Infer.Chunk.FromString(reader.last)
    if not last.continuation:
        raise TetherError(Reason.WORKER_LOST, "The job ended elsewhere, and its answer can't be read on from here.")
    return Place(parse(last.continuation), last.seq + 1)
