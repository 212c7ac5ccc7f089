"""The orchestrator's gRPC services: messages in, messages out, nothing decided."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from time import perf_counter
from typing import Any

from google.protobuf.message import Message
from grpc import aio

from tether.errors import Reason, TetherError
from tether.job.state import State
from tether.node.caller import caller
from tether.observe import attribute
from tether.observe.trace import Span, Tracing, extract
from tether.rules import check
from tether.store.jobs import LIST_MAX, JobRow, JobStore, LetterQuery, Worker
from tether.store.jobs_letter import KINDS
from tether.v1.control_pb2 import (
    AnalyzeDeadLettersRequest,
    AnalyzeDeadLettersResponse,
    DropDeadLetterRequest,
    DropDeadLetterResponse,
    GetDeadLetterRequest,
    GetDeadLetterResponse,
    ListAccountsRequest,
    ListAccountsResponse,
    ListBreakersRequest,
    ListBreakersResponse,
    ListDeadLettersRequest,
    ListDeadLettersResponse,
    ListJobsRequest,
    ListJobsResponse,
    ListWorkersRequest,
    ListWorkersResponse,
    LookupJobRequest,
    LookupJobResponse,
    RequeueDeadLetterRequest,
    RequeueDeadLetterResponse,
    VerifyQuotasRequest,
    VerifyQuotasResponse,
    WatchWorkersRequest,
    WatchWorkersResponse,
)
from tether.v1.control_pb2_grpc import ControlServiceServicer
from tether.v1.placement_pb2 import (
    CompleteRequest,
    CompleteResponse,
    DepositRequest,
    DepositResponse,
    ExplainRequest,
    ExplainResponse,
    PlaceRequest,
    PlaceResponse,
    SessionRequest,
    SessionResponse,
)
from tether.v1.placement_pb2_grpc import PlacementServiceServicer
from tether_orchestrator.dead_letter_message import account_message, group_message, letter_message
from tether_orchestrator.dead_letters import DeadLetters, Handed
from tether_orchestrator.ending import end_of
from tether_orchestrator.fleet import FleetView
from tether_orchestrator.job_message import job_message
from tether_orchestrator.message import (
    ask_of,
    complete_response,
    job_id_of,
    lookup_response,
    place_response,
)
from tether_orchestrator.metrics import PLACE, REFUSED
from tether_orchestrator.reservation import Reservations
from tether_orchestrator.scheduler import Scheduler
from tether_orchestrator.session import SessionEnd, Sessions
from tether_orchestrator.settlement import Settlement

Context = aio.ServicerContext[Any, Any]
_PAGE = 100  # as control.proto says
_EXPLAIN = 20  # as placement.proto says
_NAME_BYTES_MAX = 512  # names and tokens of pages are far shorter
_FIRST_BEAT_S = 5.0  # a session begins with a beat; a lease later nobody would believe it
_WATCH_PAUSE_S = 0.2  # five pictures a second are smooth enough for people, and what changes in between is one change


class PlacementServicer(PlacementServiceServicer):
    """`PlacementService`."""

    def __init__(
        self,
        reservations: Reservations,
        settlement: Settlement,
        sessions: Sessions,
        scheduler: Scheduler,
        tracing: Tracing,
        dead_letters: DeadLetters,
    ) -> None:
        self._dead_letters = dead_letters
        self._tracing = tracing
        self._reservations = reservations
        self._settlement = settlement
        self._sessions = sessions
        self._scheduler = scheduler

    async def Place(self, request: PlaceRequest, context: Context) -> PlaceResponse:
        """See the contract."""
        started_s, outcome = perf_counter(), "refused"
        wanted = self._tracing.on or request.after_epoch  # a dead letter names the trace it came from
        parent = extract(context.invocation_metadata() or ()) if wanted else None
        with self._tracing.span("place", parent, kind="server") as span:
            try:
                trace_id = parent.trace_id if parent is not None else ""
                placement = await self._reservations.place(ask_of(request, caller(context).node_id, trace_id))
                response = place_response(placement)
                outcome = str(response.WhichOneof("outcome"))
            except TetherError as error:
                REFUSED.labels(error.reason.name).inc()
                raise
            finally:
                PLACE.labels(outcome).observe(perf_counter() - started_s)
            _describe(span, request, response)
        return response

    async def Complete(self, request: CompleteRequest, context: Context) -> CompleteResponse:
        """See the contract."""
        return complete_response(await self._settlement.complete(end_of(request, gateway=caller(context).node_id)))

    async def Session(
        self, request_iterator: AsyncIterator[SessionRequest], context: Context
    ) -> AsyncIterator[SessionResponse]:
        """See the contract."""
        async with asyncio.timeout(_FIRST_BEAT_S):
            first = await anext(aiter(request_iterator), None)
        if first is None:
            return
        end = self._sessions.open(first, caller(context).node_id)
        reading = asyncio.create_task(self._read(end, first, request_iterator))
        try:
            while (response := await end.next()) is not None:
                yield response
            if reading.done():
                reading.result()
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
            self._sessions.close(end)

    async def _read(self, end: SessionEnd, first: SessionRequest, requests: AsyncIterator[SessionRequest]) -> None:
        try:
            await self._sessions.beat(end, first)
            async for request in requests:
                await self._sessions.beat(end, request)
        finally:
            end.end()

    async def Explain(self, request: ExplainRequest, context: Context) -> ExplainResponse:
        """See the contract."""
        limit = min(request.limit or _EXPLAIN, LIST_MAX)
        return self._scheduler.explain(request.header, limit)

    async def Deposit(self, request: DepositRequest, context: Context) -> DepositResponse:
        """See the contract."""
        node, job = caller(context).node_id, request.job_id
        handed = Handed(node, job, request.request, request.frame, request.error, request.peer_id)
        return DepositResponse(kept=await self._dead_letters.deposit(handed))


class ControlServicer(ControlServiceServicer):
    """`ControlService`."""

    def __init__(
        self,
        fleet: FleetView,
        store: JobStore,
        relay: Callable[[JobRow], Worker | None],
        dead_letters: DeadLetters,
        scheduler: Scheduler,
    ) -> None:
        self._fleet = fleet
        self._store = store
        self._relay = relay
        self._dead_letters = dead_letters
        self._scheduler = scheduler

    async def ListWorkers(self, request: ListWorkersRequest, context: Context) -> ListWorkersResponse:
        """See the contract."""
        size = _size(request.page_size)
        names = [name for name in self._fleet.workers() if name > request.page_token]
        page = names[:size]
        token = page[-1] if len(names) > size else ""
        return ListWorkersResponse(workers=[self._fleet.worker(name) for name in page], next_page_token=token)

    async def WatchWorkers(self, request: WatchWorkersRequest, context: Context) -> AsyncIterator[WatchWorkersResponse]:
        """See the contract."""
        watcher = self._fleet.watch()
        try:
            for name in self._fleet.workers():
                yield WatchWorkersResponse(worker=self._fleet.worker(name))
            while changed := await watcher.take():
                for name in changed:
                    yield WatchWorkersResponse(worker=self._fleet.worker(name))
                await asyncio.sleep(_WATCH_PAUSE_S)
        finally:
            self._fleet.unwatch(watcher)

    async def ListJobs(self, request: ListJobsRequest, context: Context) -> ListJobsResponse:
        """See the contract."""
        _check(request, "tenant_id")
        size = _size(request.page_size)
        state = _state(request.state)
        rows = await self._store.list(
            tenant=request.tenant_id, state=state, before=_token(request.page_token), limit=size
        )
        token = str(rows[-1].number) if len(rows) == size else ""
        return ListJobsResponse(jobs=[job_message(row) for row in rows], next_page_token=token)

    async def LookupJob(self, request: LookupJobRequest, context: Context) -> LookupJobResponse:
        """See the contract."""
        if request.job_id:
            job = job_id_of(request.job_id)
        else:
            _require(request.tenant_id, "tenant_id")
            _require(request.correlation_id or request.retry_token, "correlation_id")
            job = self._store.job_id(
                request.tenant_id, request.correlation_id or request.retry_token, request.retry_token
            )
        row = await self._store.get(job)
        if row is None or (request.tenant_id and row.subject.tenant != request.tenant_id):
            raise TetherError(Reason.JOB_UNKNOWN, "There is no such job")
        return lookup_response(row, self._relay(row))

    async def ListDeadLetters(self, request: ListDeadLettersRequest, context: Context) -> ListDeadLettersResponse:
        """See the contract."""
        _check(request, "tenant_id", "reason", "model_id")
        size = _size(request.page_size)
        query = LetterQuery(
            request.tenant_id, request.reason, request.model_id, before=_token(request.page_token), limit=size
        )
        found = await self._dead_letters.page(query)
        token = str(found[-1].number) if len(found) == size else ""
        letters = [letter_message(letter, whole=False) for letter in found]
        return ListDeadLettersResponse(dead_letters=letters, next_page_token=token)

    async def GetDeadLetter(self, request: GetDeadLetterRequest, context: Context) -> GetDeadLetterResponse:
        """See the contract."""
        _check(request, "name")
        letter = await self._dead_letters.get(request.name)
        return GetDeadLetterResponse(dead_letter=letter_message(letter, whole=True))

    async def AnalyzeDeadLetters(
        self, request: AnalyzeDeadLettersRequest, context: Context
    ) -> AnalyzeDeadLettersResponse:
        """See the contract."""
        if request.by and request.by not in KINDS:
            raise TetherError(Reason.INVALID_FIELD, f"by is one of {', '.join(KINDS)}", field="by")
        within_s = request.within.ToMilliseconds() / 1_000 if request.HasField("within") else None
        groups = await self._dead_letters.analyze(request.by, within_s)
        return AnalyzeDeadLettersResponse(groups=[group_message(group) for group in groups])

    async def RequeueDeadLetter(self, request: RequeueDeadLetterRequest, context: Context) -> RequeueDeadLetterResponse:
        """See the contract."""
        _check(request, "name")
        row = await self._dead_letters.requeue(request.name, request.request)
        return RequeueDeadLetterResponse(job=job_message(row.bare()))

    async def DropDeadLetter(self, request: DropDeadLetterRequest, context: Context) -> DropDeadLetterResponse:
        """See the contract."""
        _check(request, "name")
        await self._dead_letters.drop(request.name)
        return DropDeadLetterResponse()

    async def VerifyQuotas(self, request: VerifyQuotasRequest, context: Context) -> VerifyQuotasResponse:
        """See the contract."""
        _check(request, "tenant_id")
        found = await self._store.verify_quotas(request.tenant_id)
        return VerifyQuotasResponse(violations=found.violations, jobs=found.jobs, entries=found.entries)

    async def ListAccounts(self, request: ListAccountsRequest, context: Context) -> ListAccountsResponse:
        """See the contract."""
        _check(request, "tenant_id", "page_token")
        size = _size(request.page_size)
        rows = await self._store.accounts(tenant=request.tenant_id, after=request.page_token, limit=size)
        token = rows[-1].tenant if len(rows) == size else ""
        return ListAccountsResponse(accounts=[account_message(row) for row in rows], next_page_token=token)

    async def ListBreakers(self, request: ListBreakersRequest, context: Context) -> ListBreakersResponse:
        """See the contract."""
        return ListBreakersResponse(breakers=self._scheduler.breakers())


def _describe(span: Span, request: PlaceRequest, response: PlaceResponse) -> None:
    span.set(attribute.REQUEST_MODEL, request.header.model_id)
    span.set(attribute.JOB, response.job_id.hex())
    span.set(attribute.CORRELATION, request.header.correlation_id)
    span.set(attribute.JOINED, response.HasField("joined"))
    if response.HasField("placed"):
        span.set(attribute.WORKER, response.placed.worker.worker_id)
        span.set(attribute.EPOCH, response.placed.epoch)


def _size(page_size: int) -> int:
    return min(page_size or _PAGE, LIST_MAX)


def _check(request: Message, *fields: str) -> None:
    """Refuse what no name is, and no database could look for."""
    for field in fields:
        check.text(field, getattr(request, field), _NAME_BYTES_MAX)


def _state(number: int) -> State | None:
    if number not in {0, *State}:
        raise TetherError(Reason.INVALID_FIELD, f"There is no state {number}", field="state")
    return State(number) if number else None


def _token(token: str) -> int:
    if token and not (token.isascii() and token.isdigit() and len(token) < 19):
        raise TetherError(Reason.INVALID_FIELD, "page_token is not from a page before", field="page_token")
    return int(token or 0)


def _require(value: str, field: str) -> None:
    if not value:
        raise TetherError(Reason.INVALID_FIELD, f"{field} or job_id must be given", field=field)


SERVICES: Sequence[str] = ("tether.v1.PlacementService", "tether.v1.ControlService")
