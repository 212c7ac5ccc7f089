"""Jobs that run without the store: from a slice of quota, kept in the journal, and imported once the store is back.

Only unkeyed ones, where the tenant's rules allow it: nobody can repeat them, so nothing is promised that a store would
have to remember. What they used is billed exactly once, by their id.
Source: docs/design/design.md §5 (`without_store: allowance`).
"""

import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import structlog

from tether.errors import Reason, TetherError
from tether.job.hold import Position
from tether.job.price import Price, cost, most
from tether.job.repeat import ATTEMPTS_MAX
from tether.job.state import State
from tether.node.journal import Journal
from tether.store.jobs import Driver, Imported, JobStore, Subject, Worker
from tether.store.jobs_type import NOTHING
from tether.v1.placement_pb2 import Header
from tether_orchestrator.metrics import OFFLINE, OFFLINE_JOBS
from tether_orchestrator.quota import Quotas
from tether_orchestrator.slices import Slices

if TYPE_CHECKING:
    from tether.job.slice import Slice

_PREFIX = b"job/"
_JOBS_MAX = 16_384  # that run or wait at a time: some minutes at a hundred a second; 2 KB each
_BATCH_MAX = 256  # imported at a time
_OVERDUE_MS = 60_000  # a worker or a driver may still commit a job this long after its deadline
_FACTS = struct.Struct("<32sQqqQqqqqIII16sQ")
_log = structlog.get_logger("tether.orchestrator")


@dataclass(frozen=True, slots=True)
class OfflineJob:
    """A job that runs, or ran, without the store.

    Attributes:
        subject: what it is.
        lease: slice that it runs from, 16 bytes.
        driver: who drives it.
        worker: where it runs.
        seed: of its sampler.
        price: what its tokens cost.
        began_ms: milliseconds since the Unix epoch.
        deadline_ms: the same.
        state: RESERVED while it runs.
        epoch: newest attempt, from 1.
        used: what it used, once it has ended.
        receipt: serialized Infer.Receipt, or empty.
        ended_ms: milliseconds since the Unix epoch, or 0.
    """

    subject: Subject
    lease: bytes
    driver: Driver
    worker: Worker
    seed: int
    price: Price
    began_ms: int
    deadline_ms: int
    state: State = State.RESERVED
    epoch: int = 1
    used: Position = NOTHING
    receipt: bytes = b""
    ended_ms: int = 0


class Offline:
    """Jobs that run without the store.

    Args:
        store: where they go in the end.
        journal: keeps them until then.
        slices: what they may spend.
        quotas: prices.
    """

    def __init__(self, store: JobStore, journal: Journal, slices: Slices, quotas: Quotas) -> None:
        self._store = store
        self._journal = journal
        self._slices = slices
        self._quotas = quotas
        self._jobs: dict[bytes, OfflineJob] = {}
        self._spending: dict[bytes, Slice] = {}
        self._since_ms = _wall_ms()  # ends of a former life's jobs may have waited for this one
        for name, body in journal.entries():
            if name.startswith(_PREFIX):
                job = decode(body)
                self._jobs[job.subject.job] = job
        OFFLINE_JOBS.set(len(self._jobs))

    def __len__(self) -> int:
        return len(self._jobs)

    @property
    def leases(self) -> frozenset[bytes]:
        """Slices that jobs wait to be imported from."""
        return frozenset(job.lease for job in self._jobs.values())

    def get(self, job: bytes) -> OfflineJob | None:
        """A job that ran here without the store and is not imported yet."""
        return self._jobs.get(job)

    def wish(self, tenant: str, model: str) -> None:
        """A tenant that may run without the store has asked for something."""
        self._slices.want(tenant, self._quotas.price(model))

    async def begin(self, subject: Subject, driver: Driver, worker: Worker, seed: int, deadline_ms: int) -> OfflineJob:
        """Run a job from a slice; durable on return.

        Raises:
            TetherError: STORE_UNAVAILABLE where no slice has room, or the journal takes no more.
        """
        price = self._quotas.price(subject.model)
        self._slices.want(subject.tenant, price)
        held = (subject.limit_tokens, most(price, subject.limit_tokens))
        slice_ = self._slices.take(subject.tenant, *held) if len(self._jobs) < _JOBS_MAX else None
        if slice_ is None:
            words = "The store cannot be reached, and no leased quota is left"
            raise TetherError(Reason.STORE_UNAVAILABLE, words, retry_after_s=1.0)
        job = OfflineJob(subject, slice_.lease, driver, worker, seed, price, _wall_ms(), deadline_ms)
        try:
            await self._journal.add(_PREFIX + subject.job, encode(job))
        except BaseException:
            self._slices.give_back(slice_, *held)
            raise
        self._jobs[subject.job], self._spending[subject.job] = job, slice_
        OFFLINE.inc()
        OFFLINE_JOBS.set(len(self._jobs))
        return job

    async def move(self, job: OfflineJob, worker: Worker) -> OfflineJob:
        """Another attempt of a job by its driver; durable on return.

        Raises:
            TetherError: JOB_FAILED after the last attempt, STORE_UNAVAILABLE where the journal cannot be written.
        """
        if job.epoch >= ATTEMPTS_MAX:
            raise TetherError(Reason.JOB_FAILED, f"The job was attempted {ATTEMPTS_MAX} times")
        moved = replace(job, worker=worker, epoch=job.epoch + 1)
        await self._journal.add(_PREFIX + job.subject.job, encode(moved))
        self._jobs[job.subject.job] = moved
        return moved

    async def end(self, job: OfflineJob, state: State, used: Position, receipt: bytes) -> OfflineJob:
        """Keep what a job came to; durable on return. The first end holds.

        Raises:
            TetherError: STORE_UNAVAILABLE where the journal cannot be written.
        """
        if job.state is not State.RESERVED:
            return job
        ended = replace(job, state=state, used=used, receipt=receipt, ended_ms=_wall_ms())
        await self._journal.add(_PREFIX + job.subject.job, encode(ended))
        self._jobs[job.subject.job] = ended
        slice_ = self._spending.get(job.subject.job)
        if slice_ is not None:  # the lease covers what it used: the rest serves others while the store is gone
            self._slices.free(slice_, *_unused(ended))
        return ended

    async def import_ended(self) -> int:
        """Write what has ended into the store; returns how many. TetherError where the store is gone."""
        due = list(self._due())[:_BATCH_MAX]
        if not due:
            return 0
        await self._store.import_jobs([_imported(job) for job in due])
        for job in due:
            self._done(job)
        OFFLINE_JOBS.set(len(self._jobs))
        _log.info("offline_jobs_imported", jobs=len(due), left=len(self._jobs))
        return len(due)

    def _due(self) -> Iterator[OfflineJob]:
        """Jobs that have ended, and those that nobody ended in time: they used nothing that could be proved."""
        now_ms = _wall_ms()
        for job in self._jobs.values():
            if job.state is not State.RESERVED:
                yield job
            elif max(job.deadline_ms, self._since_ms) + _OVERDUE_MS < now_ms:
                yield replace(job, state=State.ABANDONED, ended_ms=now_ms)

    def _done(self, job: OfflineJob) -> None:
        name = job.subject.job
        self._journal.done(_PREFIX + name)
        freed = self._jobs.pop(name).state is not State.RESERVED
        slice_ = self._spending.pop(name, None)
        if slice_ is not None:
            self._slices.give_back(slice_, *((0, 0) if freed else _unused(job)))


def _unused(job: OfflineJob) -> tuple[int, int]:
    """Tokens and micros that were held for a job and not used by it."""
    limit = job.subject.limit_tokens
    return limit - job.used.tokens, most(job.price, limit) - cost(job.price, job.used)


def _imported(job: OfflineJob) -> Imported:
    return Imported(
        subject=job.subject,
        lease=job.lease,
        worker=job.worker.node,
        gateway=job.driver.node,
        used=job.used,
        price=job.price,
        receipt=job.receipt,
        seed=job.seed,
        began_ms=job.began_ms,
        ended_ms=job.ended_ms,
    )


def encode(job: OfflineJob) -> bytes:
    """A job as the journal keeps it: its facts, then its parts, each after its length."""
    subject, price, used = job.subject, job.price, job.used
    facts = _FACTS.pack(
        subject.request_hash, job.seed, job.began_ms, job.deadline_ms, job.worker.incarnation, job.ended_ms,
        used.input_tokens, used.output_tokens, used.output_bytes, int(job.state), job.epoch, price.version, job.lease,
        subject.limit_tokens,
    )  # fmt: skip
    micros = struct.pack("<QQ", price.input_micros, price.output_micros)
    parts = (
        subject.job, subject.digest, subject.version.encode(), subject.header, job.driver.session,
        job.driver.node.encode(), job.worker.node.encode(), job.worker.address.encode(), job.receipt,
    )  # fmt: skip
    return facts + micros + b"".join(struct.pack("<I", len(part)) + part for part in parts)


def decode(body: bytes) -> OfflineJob:
    """What `encode` made."""
    (request_hash, seed, began_ms, deadline_ms, incarnation, ended_ms, used_input, used_output, used_bytes, state,
     epoch, version, lease, limit) = _FACTS.unpack_from(body)  # fmt: skip
    input_micros, output_micros = struct.unpack_from("<QQ", body, _FACTS.size)
    job, digest, model_version, raw, session, driver, worker, address, receipt = _parts(body[_FACTS.size + 16 :])
    header = Header.FromString(raw)
    subject = Subject(
        job, header.tenant_id, header.correlation_id, header.retry_token, header.keyed, request_hash, header.model_id,
        model_version.decode(), digest, raw, limit,
    )  # fmt: skip
    return OfflineJob(
        subject, lease, Driver(session, driver.decode()), Worker(worker.decode(), incarnation, address.decode()), seed,
        Price(version, input_micros, output_micros), began_ms, deadline_ms, State(state), epoch,
        Position(used_input, used_output, used_bytes), receipt, ended_ms,
    )  # fmt: skip


def _parts(body: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(body):
        (length,) = struct.unpack_from("<I", body, at)
        yield body[at + 4 : at + 4 + length]
        at += 4 + length


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000
