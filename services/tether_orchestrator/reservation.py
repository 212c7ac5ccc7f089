"""Reservation Manager: one way from a request to a worker, an attempt to read along with, or an end.

Most requests are new: pick a worker, write the row, sign the ticket. The rest is what a repeat of a key meets.
Source: docs/design/streams.md §1, §3.
"""

import asyncio
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass

from tether.errors import Reason, TetherError
from tether.job.lease import Leases
from tether.job.state import State, is_open
from tether.placement.resolve import Resolved
from tether.placement.ticket import Permit, Signer, header_of, sign, ticket_body
from tether.store.jobs import (
    Attempt,
    Driver,
    Existing,
    JobRow,
    JobStore,
    Refused,
    Reservation,
    Reserved,
    Subject,
    Worker,
)
from tether.v1.placement_pb2 import Header
from tether_orchestrator.clock import AttentiveClock, monotonic_ms
from tether_orchestrator.fleet import FleetView
from tether_orchestrator.gate import Gate
from tether_orchestrator.metrics import RESERVE
from tether_orchestrator.scheduler import Scheduler

_SEED_BITS = 64
_SETTLE_POLL_S = 0.05  # only in the moment after a stall


@dataclass(frozen=True, slots=True)
class Ask:
    """What a gateway asks.

    Attributes:
        header: the request without its input; it is filled in.
        driver: the gateway and its session.
        after_epoch: attempt that it knows of; 0 for a new job.
    """

    header: Header
    driver: Driver
    after_epoch: int


@dataclass(frozen=True, slots=True)
class Run:
    """The caller drives this attempt.

    Attributes:
        permit: what the ticket permits.
        ticket: serialized Ticket.
    """

    permit: Permit
    ticket: bytes


@dataclass(frozen=True, slots=True)
class Join:
    """The caller reads along.

    Attributes:
        row: the job.
    """

    row: JobRow


@dataclass(frozen=True, slots=True)
class End:
    """The job has ended.

    Attributes:
        row: the job.
    """

    row: JobRow


Placement = Run | Join | End


class OpenJobs:
    """Jobs that were placed in this life and have not ended: what a drain waits for."""

    def __init__(self) -> None:
        self._until_ms: dict[bytes, tuple[int, int]] = {}
        self._empty = asyncio.Event()
        self._empty.set()

    def __len__(self) -> int:
        return len(self._until_ms)

    def add(self, job: bytes, deadline_ms: int) -> None:
        """A job was placed."""
        self._until_ms[job] = (deadline_ms, monotonic_ms())
        self._empty.clear()

    def discard(self, job: bytes) -> float:
        """A job ended; returns how long its newest attempt ran, seconds, or 0 where that is not known."""
        found = self._until_ms.pop(job, None)
        if not self._until_ms:
            self._empty.set()
        return (monotonic_ms() - found[1]) / 1_000 if found is not None else 0.0

    def forget(self, now_ms: int) -> None:
        """Drop jobs whose deadline is over: nobody will end them here."""
        for job in [job for job, (until_ms, _start_ms) in self._until_ms.items() if until_ms < now_ms]:
            self.discard(job)

    async def wait_empty(self) -> None:
        """Return once no job is open."""
        await self._empty.wait()


class Reservations:
    """Places jobs.

    Args:
        store: the job store.
        scheduler: chooses workers.
        fleet: knows which worker lives.
        leases: knows which session stands.
        signer: signs tickets.
        gate: says whether new jobs are taken.
        timeout_s: deadline of a request that names none.
        clock: leases are judged by it, and after a stall nobody is refused at once.
    """

    def __init__(  # noqa: PLR0913 - the parts it is composed of
        self,
        store: JobStore,
        scheduler: Scheduler,
        fleet: FleetView,
        leases: Leases,
        signer: Signer,
        gate: Gate,
        *,
        timeout_s: float,
        clock: AttentiveClock,
    ) -> None:
        self._store = store
        self._scheduler = scheduler
        self._fleet = fleet
        self._leases = leases
        self._signer = signer
        self._gate = gate
        self._clock = clock
        self._timeout_ms = int(timeout_s * 1_000)
        self.open = OpenJobs()

    async def place(self, ask: Ask) -> Placement:
        """Place a request.

        Args:
            ask: what is asked.

        Returns:
            An attempt to drive, one to read, or the end.

        Raises:
            TetherError: why not.
        """
        self._gate.check()
        header = ask.header
        job = self._store.job_id(header.tenant_id, header.correlation_id, header.retry_token)
        if ask.after_epoch:
            return await self._again(ask, job)
        try:
            request = self._scheduler.resolve(header)
            worker = await self._choose(request)
        except TetherError as refusal:
            return await self._known(ask, job, refusal)
        return await self._reserve(ask, _subject(job, request), request.header, worker)

    async def _reserve(self, ask: Ask, subject: Subject, header: Header, worker: Worker) -> Placement:
        seed = header.parameters.seed if header.parameters.HasField("seed") else secrets.randbits(_SEED_BITS)
        asked = Reservation(subject, ask.driver, worker, seed, self._deadline_ms(ask.header))
        try:
            with RESERVE.time():
                [result] = await self._store.reserve([asked])
        except BaseException:
            self._scheduler.give_back(worker)
            raise
        if isinstance(result, Reserved):
            self.open.add(subject.job, asked.deadline_ms)
            return self._run(Permit(subject, worker, ask.driver.node, result.epoch, result.seed), header)
        self._scheduler.give_back(worker)
        return await self._there(ask, result)

    async def _known(self, ask: Ask, job: bytes, refusal: TetherError) -> Placement:
        """Nothing can be placed; but a job that is there needs neither worker nor model."""
        row = await self._store.get(job) if ask.header.keyed else None
        if row is None or row.state is State.ABANDONED:
            raise refusal
        return await self._there(ask, Existing(row))

    async def _there(self, ask: Ask, result: Existing | Refused) -> Placement:
        """The job was there: join it, take it over, run it again, or tell its end."""
        if isinstance(result, Refused):
            raise result.error
        row = result.row
        if row.subject.request_hash != ask.header.request_hash:
            raise TetherError(Reason.JOB_CONFLICT, "The key of this job names another request")
        if is_open(row.state):
            return await self._running(ask, row)
        if row.state is State.ABANDONED and row.subject.keyed:
            return await self._rerun(ask, row)
        return End(row)

    async def _running(self, ask: Ask, row: JobRow) -> Placement:
        mine = row.driver.session == ask.driver.session
        if mine and row.after_epoch == ask.after_epoch:
            permit = Permit(row.subject, row.worker, ask.driver.node, row.epoch, row.seed)
            return self._run(permit, header_of(row))
        orphaned = self._leases.lapsed(row.driver.session, self._clock.now_s())
        unstarted = ask.after_epoch == row.epoch  # a reader says that its worker does not know the attempt
        lost = unstarted or not self._fleet.lives(row.worker.node, row.worker.incarnation)
        if not mine and orphaned and lost:
            return await self._attempt(ask, row)
        return Join(row)

    async def _rerun(self, ask: Ask, row: JobRow) -> Placement:
        """An abandoned job runs again as it was resolved then."""
        request = self._resolved(row)
        worker = await self._choose(request)
        return await self._reserve(ask, row.subject, request.header, worker)

    async def _again(self, ask: Ask, job: bytes) -> Placement:
        """The driver asks for another attempt."""
        row = await self._store.get(job)
        if row is None:
            raise TetherError(Reason.JOB_UNKNOWN, "There is no such job")
        mine = row.driver.session == ask.driver.session
        same = row.subject.request_hash == ask.header.request_hash
        if not (mine and same and is_open(row.state) and row.epoch == ask.after_epoch):
            return await self._there(ask, Existing(row))
        return await self._attempt(ask, row)

    async def _attempt(self, ask: Ask, row: JobRow) -> Placement:
        """Another attempt of a running job, by compare-and-set; elsewhere, unless its worker never heard of it."""
        request = self._resolved(row)
        mine = row.driver.session == ask.driver.session
        worker = await self._choose(request, [row.worker.node] if mine or not ask.after_epoch else [])
        subject = row.subject
        asked = Attempt(subject.job, subject.request_hash, row.driver.session, ask.driver, row.epoch, worker)
        try:
            [result] = await self._store.attempt([asked])
        except BaseException:
            self._scheduler.give_back(worker)
            raise
        if isinstance(result, Reserved):
            self.open.add(subject.job, row.deadline_ms)
            return self._run(Permit(subject, worker, ask.driver.node, result.epoch, result.seed), request.header)
        self._scheduler.give_back(worker)
        if isinstance(result, Refused):
            raise result.error
        return Join(result.row) if is_open(result.row.state) else End(result.row)

    async def _choose(self, request: Resolved, exclude: Sequence[str] = ()) -> Worker:
        """The best worker; after a stall of this process workers get a moment to come back before it says none."""
        while not self._clock.settled:
            try:
                return self._scheduler.choose(request, exclude)
            except TetherError as refusal:
                if refusal.reason is not Reason.NO_WORKER:
                    raise
            await asyncio.sleep(_SETTLE_POLL_S)
        return self._scheduler.choose(request, exclude)

    def _resolved(self, row: JobRow) -> Resolved:
        return self._scheduler.resolve(header_of(row))

    def _run(self, permit: Permit, header: Header) -> Run:
        return Run(permit, sign(ticket_body(permit, header), self._signer, _wall_ms()))

    def _deadline_ms(self, header: Header) -> int:
        timeout_ms = header.timeout.ToMilliseconds() if header.HasField("timeout") else self._timeout_ms
        return _wall_ms() + max(1, timeout_ms)


def _subject(job: bytes, request: Resolved) -> Subject:
    header, model = request.header, request.model
    return Subject(
        job=job,
        tenant=header.tenant_id,
        correlation_id=header.correlation_id,
        retry_token=header.retry_token,
        keyed=header.keyed,
        request_hash=header.request_hash,
        model=model.model_id,
        version=model.version,
        digest=model.digest,
        header=header.SerializeToString(),
        limit_tokens=request.limit_tokens,
    )


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000
