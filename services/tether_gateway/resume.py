"""Resume: a job read on from where its reader was cut off, at any gateway, whatever has died meanwhile.

Found here, it needs nobody else. Found running elsewhere, its worker's log is read along. Found ended, the kept answer
is replayed. Found nowhere any more, it runs again from the request, if that came along; what the reader has is
compared, not sent again.
Source: docs/design/streams.md §2, §4; docs/design/seams.md ("Resume").
"""

import asyncio
import time

from tether import name, rules
from tether.errors import Reason, TetherError
from tether.v1 import control_pb2, infer_pb2, placement_pb2
from tether_gateway import metrics
from tether_gateway.admission import Admitted, Asked
from tether_gateway.answer import Place
from tether_gateway.conductor import Conductor
from tether_gateway.cursor import Cursor, parse
from tether_gateway.flight import Flight
from tether_gateway.governor import RESUMED, Governor
from tether_gateway.splice import now_ms
from tether_gateway.streams import Sink, Streams, check_same, names_of

Request = infer_pb2.ResumeRequest
_ADVICE = "Resume with the request, and it runs again."


class Resumes:
    """Resume calls of one gateway.

    Args:
        governor: authenticates, looks up, places.
        streams: read flights.
        conductor: knows the jobs that are here.
        timeout_default_s: time that a call has where the client says nothing.
    """

    def __init__(self, governor: Governor, streams: Streams, conductor: Conductor, timeout_default_s: float) -> None:
        self._governor = governor
        self._streams = streams
        self._conductor = conductor
        self._timeout_default_s = timeout_default_s

    async def serve(self, request: Request, asked: Asked, sink: Sink, traceparent: str = "") -> None:
        """Serve one call to the end of its job.

        Raises:
            TetherError: CURSOR_INVALID, JOB_UNKNOWN, JOB_CONFLICT, ANSWER_NOT_KEPT, WORKER_LOST, DEADLINE, or what
                ended the job.
        """
        tenant = self._governor.tenant(asked)
        self._governor.refuse_while_draining()
        cursor = cursor_of(request)
        try:
            async with asyncio.timeout(self._time(request, asked)):
                await self._serve(_Resume(request, asked, tenant, cursor), sink, traceparent)
        except TimeoutError as fault:
            raise TetherError(Reason.DEADLINE, "The time to wait for the job's end is over.") from fault

    async def _serve(self, resume: "_Resume", sink: Sink, traceparent: str) -> None:
        began_ms = now_ms()
        flight = self._here(resume)
        if flight is not None:
            metrics.RESUMED.labels("here").inc()
            names = names_of(flight.admitted, flight.job)
            if resume.request.HasField("request"):
                admitted = self._admitted(resume, names)
                check_same(flight, admitted)
                flight.lend(admitted)
            await sink.begin(names)
            await self._streams.read(flight, flight.admitted, sink, began_ms, resume.cursor)
            return
        self._governor.resume(resume.tenant)  # whoever was cut off here is read on above, free of charge
        found = await self._governor.find(resume.tenant, name_of(resume.request, resume.cursor))
        with self._streams.recall.placing((resume.tenant, found.job.correlation_id, found.job.retry_token)):
            response, admitted = await self._found(resume, found, traceparent)
            if response.WhichOneof("outcome") != "ended":
                flight = await self._streams.board(admitted, response, sink, traceparent)
        if flight is None:
            metrics.RESUMED.labels("kept").inc()
            await self._streams.replay(response.ended, sink, Place(resume.cursor))
            return
        metrics.RESUMED.labels("again" if response.HasField("placed") else "elsewhere").inc()
        await self._streams.read(flight, admitted, sink, began_ms, resume.cursor)

    def _here(self, resume: "_Resume") -> Flight | None:
        """The flight of the job, where this gateway has it and the caller may read it."""
        request = resume.request
        named = name_of(request, resume.cursor)
        if named.job_id:
            flight = self._conductor.get(bytes.fromhex(named.job_id))
        else:
            correlation_id = named.correlation_id or named.retry_token
            flight = self._conductor.named(resume.tenant, correlation_id, named.retry_token)
        if flight is not None and flight.admitted.tenant != resume.tenant:
            raise TetherError(Reason.JOB_UNKNOWN, "There is no such job.")
        return flight

    async def _found(
        self, resume: "_Resume", found: control_pb2.LookupJobResponse, traceparent: str
    ) -> tuple[placement_pb2.PlaceResponse, Admitted]:
        """Where a job of the store is to be read, and as whose request."""
        row = found.job
        job = bytes.fromhex(row.name)
        if resume.cursor is not None and resume.cursor.epoch > row.epoch:
            raise TetherError(Reason.CURSOR_INVALID, "The place is of an attempt that was never made.")
        if resume.request.HasField("request"):
            admitted = self._admitted(resume, row)
            response = await self._streams.place(admitted, traceparent, RESUMED)
            if response.job_id != job:
                self._conductor.orphaned(admitted, response)
                raise TetherError(Reason.JOB_CONFLICT, "The request is of another job.")
            return response, admitted
        if row.state == infer_pb2.JOB_STATE_ABANDONED:
            raise TetherError(Reason.WORKER_LOST, f"Nobody runs the job any more. {_ADVICE}", retry_after_s=0.1)
        return response_of(found), _reader(resume.tenant, row)

    def _admitted(self, resume: "_Resume", names: infer_pb2.Job) -> Admitted:
        """The request that came along, under the names that its job has."""
        request = infer_pb2.Infer.Request()
        request.CopyFrom(resume.request.request)
        for mine, theirs in ((request.correlation_id, names.correlation_id), (request.retry_token, names.retry_token)):
            if mine and mine != theirs:
                raise TetherError(Reason.JOB_CONFLICT, "The request has the name of another job.")
        admitted = self._governor.admit(request.SerializeToString(), resume.asked, lambda _: True)
        admitted.header.correlation_id, admitted.header.retry_token = names.correlation_id, names.retry_token
        return Admitted(admitted.raw, admitted.header, names.retry_token, admitted.deadline_s, admitted.trace_id)

    def _time(self, request: Request, asked: Asked) -> float:
        told_s = rules.request.time_left_s("timeout", request.timeout) if request.HasField("timeout") else None
        wishes = [wish for wish in (told_s, asked.time_left_s) if wish is not None]
        return min([*wishes, rules.request.TIMEOUT_S_MAX]) if wishes else self._timeout_default_s


class Finder:
    """Where a job runs, by a look-up: for readers that have no request to place it with.

    Args:
        governor: looks up.
    """

    def __init__(self, governor: Governor) -> None:
        self._governor = governor

    async def where(self, tenant: str, job: bytes) -> placement_pb2.PlaceResponse:
        """`Joined` or `Ended`; errors as `Governor.find`."""
        return response_of(await self._governor.find(tenant, Request(job_id=job.hex())))


class _Resume:
    """One call.

    Args:
        request: as sent.
        asked: what came with it.
        tenant: who calls.
        cursor: where it stands; None for position 0.
    """

    __slots__ = ("asked", "cursor", "request", "tenant")

    def __init__(self, request: Request, asked: Asked, tenant: str, cursor: Cursor | None) -> None:
        self.request, self.asked, self.tenant, self.cursor = request, asked, tenant, cursor


def cursor_of(request: Request) -> Cursor | None:
    """Where a caller stands; None for position 0.

    Raises:
        TetherError: CURSOR_INVALID; INVALID_FIELD where neither cursor nor name is given.
    """
    if request.continuation:
        cursor = parse(request.continuation)
        if request.job_id and request.job_id != cursor.job.hex():
            raise TetherError(Reason.CURSOR_INVALID, "The continuation is of another job.", field="continuation")
        return cursor
    if not (request.job_id or request.correlation_id or request.retry_token):
        raise TetherError(Reason.INVALID_FIELD, "A continuation or the job's name must be given.", field="continuation")
    if request.job_id:
        name.job_id(request.job_id)
    return None


def name_of(request: Request, cursor: Cursor | None) -> Request:
    """The name to look a job up by."""
    job = cursor.job.hex() if cursor is not None else request.job_id
    if job:
        return Request(job_id=job)
    return Request(correlation_id=request.correlation_id, retry_token=request.retry_token)


def response_of(found: control_pb2.LookupJobResponse) -> placement_pb2.PlaceResponse:
    """A job that was looked up, as a placement answers it to a reader."""
    job = bytes.fromhex(found.job.name)
    if found.job.state == infer_pb2.JOB_STATE_RESERVED:
        return placement_pb2.PlaceResponse(job_id=job, joined=found.running)
    ended = placement_pb2.Ended(job=found.job, model_digest=found.model_digest)
    return placement_pb2.PlaceResponse(job_id=job, ended=ended)


def _reader(tenant: str, row: infer_pb2.Job) -> Admitted:
    """Stands for the request of a job that is only read: it never starts anything."""
    header = placement_pb2.Header(
        tenant_id=tenant,
        model_id=row.model_id,
        version=row.version,
        correlation_id=row.correlation_id,
        retry_token=row.retry_token,
        on_disconnect=infer_pb2.Infer.ON_DISCONNECT_DETACH,
        keyed=True,  # where the job is not, the store drops the answer
    )
    return Admitted(b"", header, row.retry_token, time.monotonic() + rules.request.TIMEOUT_S_MAX, "")
