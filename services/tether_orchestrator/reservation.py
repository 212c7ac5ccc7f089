"""Reservation Manager: one way from a request to a worker, an attempt to read along with, or an end.

Most requests are new: pick a worker, write the row, sign the ticket. The rest is what a repeat of a key meets, and what
a driver gets whose attempt has ended before the answer did.
Source: docs/design/streams.md §1, §3, §7.
"""

import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from tether.errors import Reason, TetherError
from tether.job import poison
from tether.job.attempt import Asks, Running, Way, way
from tether.job.lease import Leases
from tether.job.poison import Cause, Fate
from tether.job.repeat import ATTEMPTS_MAX
from tether.job.state import State, is_open
from tether.placement.resolve import Resolved
from tether.placement.ticket import Permit, Signer, header_of, sign, ticket_body
from tether.store.jobs import (
    Attempt,
    JobRow,
    JobStore,
    Refused,
    Reservation,
    Reserved,
    Settled,
    Subject,
    Worker,
)
from tether.v1.infer_pb2 import Infer
from tether.v1.placement_pb2 import Header, NewEpoch, WorkerAddress
from tether.v1.policy_pb2 import Allowance, Retain
from tether_orchestrator.choice import NEW, Choice, Chooser, Want
from tether_orchestrator.clock import AttentiveClock
from tether_orchestrator.ending import End as Ending
from tether_orchestrator.engine import Engines
from tether_orchestrator.fleet import FleetView
from tether_orchestrator.gate import Gate
from tether_orchestrator.metrics import RESERVE
from tether_orchestrator.offline import Offline, OfflineJob
from tether_orchestrator.open_jobs import OpenJobs
from tether_orchestrator.placement import Ask, End, Join, Placement, Run
from tether_orchestrator.quota import Quotas
from tether_orchestrator.session import Sessions
from tether_orchestrator.store_health import StoreHealth

_SEED_BITS = 64
_MAY_STAY = frozenset({Cause.WORKER_LOST, Cause.FAILED})  # both count as poison, so this ends soon


@dataclass(frozen=True, slots=True)
class Around:
    """What a Reservation Manager stands among.

    Attributes:
        store: the job store.
        chooser: chooses workers, and knows what policy says.
        fleet: knows which worker lives.
        engines: what workers run.
        leases: knows which session stands.
        sessions: tells gateways.
        open: jobs that have not ended.
        settle: writes an outcome.
        quotas: what tenants may spend.
        offline: jobs that run without the store.
        health: whether the store is there.
        failed: hears of attempts that ended by their worker's fault, and whether the worker was lost.
        buried: hears of jobs that have just died.
        me: this orchestrator, as a relay.
    """

    store: JobStore
    chooser: Chooser
    fleet: FleetView
    engines: Engines
    leases: Leases
    sessions: Sessions
    open: OpenJobs
    settle: Callable[[Ending], Awaitable[Settled]]
    quotas: Quotas
    offline: Offline
    health: StoreHealth
    failed: Callable[[JobRow, bool], None]
    buried: Callable[[bytes], None]
    me: Callable[[], Worker]


class Reservations:
    """Places jobs.

    Args:
        around: what it stands among.
        signer: signs tickets.
        gate: says whether new jobs are taken.
        timeout_s: deadline of a request that names none.
        clock: leases are judged by it.
    """

    def __init__(self, around: Around, signer: Signer, gate: Gate, *, timeout_s: float, clock: AttentiveClock) -> None:
        self._around = around
        self._store = around.store
        self._chooser = around.chooser
        self._signer = signer
        self._gate = gate
        self._clock = clock
        self._timeout_ms = int(timeout_s * 1_000)

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
        offline = self._around.offline.get(job)
        if offline is not None:
            return await self._offline_again(ask, offline)
        if not self._around.health.ok:
            return await self._without_store(ask, job)
        if ask.after_epoch:
            row = await self._store.get(job)
            if row is None:
                raise TetherError(Reason.JOB_UNKNOWN, "There is no such job")
            return await self._there(ask, row)
        try:
            choice = await self._chooser.choose(self._chooser.resolve(header), NEW)
        except TetherError as refusal:
            return await self._known(ask, job, refusal)
        return await self._reserve(ask, _subject(job, choice.request), choice)

    async def _reserve(self, ask: Ask, subject: Subject, choice: Choice) -> Placement:
        parameters, worker = choice.request.header.parameters, choice.worker
        seed = parameters.seed if parameters.HasField("seed") else secrets.randbits(_SEED_BITS)
        asked = Reservation(
            subject,
            ask.driver,
            worker,
            seed,
            self._deadline_ms(ask.header),
            self._around.quotas.limits(subject.tenant),
            self._around.quotas.price(subject.model),
            self._fingerprint(worker, subject),
            resumed=ask.cause is Cause.RESUME,
        )
        try:
            with RESERVE.time():
                [result] = await self._store.reserve([asked])
        except BaseException:
            self._chooser.give_back(worker)
            raise
        if isinstance(result, Reserved):
            self._around.open.add(subject.job, asked.deadline_ms)
            if choice.request.decision.without_store == Allowance.ALLOWANCE_ALLOWANCE and not subject.keyed:
                self._around.offline.wish(subject.tenant, subject.model)
            permit = Permit(subject, worker, ask.driver.node, result.epoch, result.seed, attempts=result.epoch)
            return self._run(permit, choice.request)
        self._chooser.give_back(worker)
        if isinstance(result, Refused):
            raise result.error
        return await self._there(ask, result.row)

    async def _without_store(self, ask: Ask, job: bytes) -> Run:
        """An unkeyed job runs from leased quota where policy allows it; all else is refused at once."""
        around = self._around
        if ask.header.keyed or ask.after_epoch:
            around.health.check()
        request = self._chooser.resolve(ask.header)
        if request.decision.without_store != Allowance.ALLOWANCE_ALLOWANCE:
            around.health.check()
        choice = await self._chooser.choose(request, NEW)
        parameters, subject = choice.request.header.parameters, _subject(job, choice.request)
        seed = parameters.seed if parameters.HasField("seed") else secrets.randbits(_SEED_BITS)
        try:
            begun = await around.offline.begin(subject, ask.driver, choice.worker, seed, self._deadline_ms(ask.header))
        except BaseException:
            self._chooser.give_back(choice.worker)
            raise
        around.open.add(job, begun.deadline_ms)
        return self._run_offline(begun, choice.request)

    async def _offline_again(self, ask: Ask, job: OfflineJob) -> Run:
        """What its driver gets of a job that runs without the store; nobody else can know of it."""
        if job.subject.request_hash != ask.header.request_hash or job.driver.session != ask.driver.session:
            raise TetherError(Reason.JOB_CONFLICT, "The key of this job names another request")
        if job.state is not State.RESERVED:
            raise TetherError(Reason.STORE_UNAVAILABLE, "The job has ended, and is not in the store yet")
        request = self._chooser.resolve(Header.FromString(job.subject.header), again=True)
        if ask.after_epoch == job.epoch:
            want = Want((job.worker.node,), ask.fingerprint, again=True)
            choice = await self._chooser.choose(request, want)
            job = await self._around.offline.move(job, choice.worker)
        elif ask.after_epoch != job.epoch - 1:
            raise TetherError(Reason.STALE_EPOCH, f"The job is at attempt {job.epoch}, not {ask.after_epoch}")
        return self._run_offline(job, request)

    def _run_offline(self, job: OfflineJob, request: Resolved) -> Run:
        permit = Permit(job.subject, job.worker, job.driver.node, job.epoch, job.seed, attempts=job.epoch)
        permit = replace(permit, orchestrator=self._around.me().node)
        return replace(self._run(permit, request), without_store=True)

    async def _known(self, ask: Ask, job: bytes, refusal: TetherError) -> Placement:
        """A job that is there needs no worker; one that is not gets the refusal."""
        row = await self._store.get(job)
        if row is None:
            raise refusal
        return await self._there(ask, row)

    async def _there(self, ask: Ask, row: JobRow) -> Placement:
        """The key was there."""
        if row.subject.request_hash != ask.header.request_hash:
            raise TetherError(Reason.JOB_CONFLICT, "The key of this job names another request")
        if is_open(row.state):
            return await self._running(ask, row)
        if row.state is State.ABANDONED and (row.subject.keyed or ask.cause is Cause.RESUME):
            return await self._rerun(ask, row)
        return End(row, retain=row.state is State.DEAD and self._retains(ask, row))

    def _retains(self, ask: Ask, row: JobRow) -> bool:
        """Whether its driver should deposit a dead job's request: it asks on, so it has not heard of the death."""
        if row.driver.session != ask.driver.session or ask.after_epoch != row.epoch:
            return False
        decision = self._chooser.resolve(header_of(row), again=True).decision
        return decision.retain == Retain.RETAIN_REQUEST

    async def _running(self, ask: Ask, row: JobRow) -> Placement:
        running = Running(row.epoch, row.after_epoch, row.raced_epoch, row.driver.session)
        lapsed = self._around.leases.lapsed(row.driver.session, self._clock.now_s())
        lives = self._around.fleet.lives(row.worker.node, row.worker.incarnation)
        match way(running, Asks(ask.driver.session, ask.after_epoch, ask.race), lapsed=lapsed, lives=lives):
            case Way.SAME:
                return self._same(ask, row)
            case Way.NEXT:
                return await self._next(ask, row, ask.cause)
            case Way.RACE:
                return await self._attempt(ask, row, Cause.HEDGE, alone=row.alone)
            case Way.TAKE_OVER:
                return await self._next(ask, row, Cause.TAKE_OVER)
            case Way.JOIN:
                return self._join(row)
        raise TetherError(Reason.STALE_EPOCH, f"The job is at attempt {row.epoch}, not {ask.after_epoch}")

    def _same(self, ask: Ask, row: JobRow) -> Run:
        permit = Permit(row.subject, row.worker, ask.driver.node, row.epoch, row.seed, row.attempts)
        permit = replace(permit, raced=row.raced_epoch != 0, alone=row.alone)
        return self._run(permit, self._chooser.resolve(header_of(row), again=True))

    async def _rerun(self, ask: Ask, row: JobRow) -> Placement:
        """An abandoned job runs again as it was resolved then."""
        choice = await self._chooser.choose(self._chooser.resolve(header_of(row), again=True), Want(again=True))
        return await self._reserve(ask, row.subject, choice)

    async def _next(self, ask: Ask, row: JobRow, cause: Cause) -> Placement:
        """Another attempt in place of the newest, unless the job is what ends them."""
        if cause in (Cause.FAILED, Cause.WORKER_LOST):
            self._around.failed(row, cause is Cause.WORKER_LOST)
        points = row.poison + poison.is_point(cause, row.position, ask.position)
        fate = poison.fate(points, row.attempts, alone=row.alone)
        if fate in (Fate.RUN, Fate.ALONE):
            return await self._attempt(ask, row, cause, alone=fate is Fate.ALONE)
        return await self._bury(ask, row, fate)

    async def _attempt(self, ask: Ask, row: JobRow, cause: Cause, *, alone: bool) -> Placement:
        """Another attempt of a running job, by compare-and-set."""
        request = self._chooser.resolve(header_of(row), again=True)
        worker = await self._elsewhere(request, self._want(ask, row, alone=alone), cause)
        asked = Attempt(
            job=row.subject.job,
            request_hash=row.subject.request_hash,
            of_session=row.driver.session,
            driver=ask.driver,
            after_epoch=row.epoch,
            worker=worker,
            position=ask.position,
            cause=int(cause),
            error=ask.error,
            race=cause is Cause.HEDGE,
            alone=alone,
            fingerprint=self._fingerprint(worker, row.subject),
        )
        try:
            [result] = await self._store.attempt([asked])
        except BaseException:
            self._chooser.give_back(worker)
            raise
        if isinstance(result, Reserved):
            return self._made(row, asked, request, result)
        self._chooser.give_back(worker)
        if isinstance(result, Refused):
            raise result.error
        if not is_open(result.row.state):
            return End(result.row)
        # the same call, delivered twice or asked again at another orchestrator, made it a moment ago
        mine = (result.row.driver.session, result.row.after_epoch) == (ask.driver.session, row.epoch)
        return self._same(ask, result.row) if mine else self._join(result.row)

    async def _elsewhere(self, request: Resolved, want: Want, cause: Cause) -> Worker:
        """Another worker; where there is none, the same one once more: it may only have been slow, or unlucky."""
        try:
            return (await self._chooser.choose(request, want)).worker
        except TetherError as refusal:
            if refusal.reason is not Reason.NO_WORKER or cause not in _MAY_STAY or not want.exclude:
                raise
        return (await self._chooser.choose(request, replace(want, exclude=()))).worker

    def _want(self, ask: Ask, row: JobRow, *, alone: bool) -> Want:
        """Elsewhere, unless its worker never heard of it or has begun another life; best where it can go on exactly."""
        lives = self._around.fleet.lives(row.worker.node, row.worker.incarnation)
        unstarted = ask.after_epoch and row.driver.session != ask.driver.session
        exclude = (row.worker.node,) if lives and not unstarted else ()
        return Want(exclude, ask.fingerprint, again=True, alone=alone)

    def _made(self, row: JobRow, asked: Attempt, request: Resolved, made: Reserved) -> Run:
        self._around.open.add(asked.job, row.deadline_ms)
        if not asked.race:  # readers stay where they are until the driver has decided
            self._around.sessions.new_epoch(_new_epoch(asked, made.epoch), but=asked.driver.session)
        permit = Permit(row.subject, asked.worker, asked.driver.node, made.epoch, made.seed, row.attempts + 1)
        return self._run(replace(permit, raced=asked.race, alone=asked.alone), request)

    async def _bury(self, ask: Ask, row: JobRow, fate: Fate) -> End:
        """The job cannot succeed."""
        reason, words = _why(fate, row, ask.error)
        settled = await self._around.settle(
            Ending(
                job=row.subject.job,
                epoch=row.epoch,
                outcome=State.DEAD,
                error=f"{reason}: {words}",
                delivered=ask.position,
                gateway=ask.driver.node,
                reason=reason,
                trace_id=ask.trace_id,
            )
        )
        if settled.written:
            self._around.buried(row.subject.job)
        return End(settled.row, retain=settled.row.state is State.DEAD and self._retains(ask, settled.row))

    def _run(self, permit: Permit, request: Resolved) -> Run:
        header = request.header
        degraded = header.degraded if header.HasField("degraded") else None
        permit = replace(permit, path=header.path or Infer.PATH_DIRECT, degraded=degraded)
        ticket = sign(ticket_body(permit, header), self._signer, _wall_ms())
        engine = self._around.engines.of(permit.worker.node, permit.subject.digest)
        return Run(permit, ticket, request.decision, engine, self._relay(header))

    def _join(self, row: JobRow) -> Join:
        return Join(row, self.relay(row))

    def relay(self, row: JobRow) -> Worker | None:
        """The orchestrator that passes a job's chunks on: this one, where its path is the relayed one."""
        return self._relay(header_of(row))

    def _relay(self, header: Header) -> Worker | None:
        return self._around.me() if header.path == Infer.PATH_RELAY else None

    def _fingerprint(self, worker: Worker, subject: Subject) -> bytes:
        return self._around.engines.of(worker.node, subject.digest).fingerprint

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


def _new_epoch(asked: Attempt, epoch: int) -> NewEpoch:
    worker = WorkerAddress(
        worker_id=asked.worker.node, incarnation=asked.worker.incarnation, address=asked.worker.address
    )
    return NewEpoch(job_id=asked.job, epoch=epoch, worker=worker)


def _why(fate: Fate, row: JobRow, error: str) -> tuple[str, str]:
    """Reason and words of a job's death."""
    if fate is Fate.POISON:
        return (
            Reason.POISON.name,
            f"{row.poison + 1} attempts ended early, the last one alone on its worker: {error}",
        )
    named = error.partition(":")[0]
    reason = named if named in Reason.__members__ else Reason.JOB_FAILED.name
    return reason, f"none of {ATTEMPTS_MAX} attempts came to an end: {error}"


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000
