"""What goes into the job store and comes out of it: jobs, their attempts and their outcomes.

Source: docs/design/design.md §5, docs/design/streams.md §1, §3, §5.
"""

from dataclasses import dataclass, replace

from tether.errors import TetherError
from tether.job.hold import Position
from tether.job.price import FREE, Price
from tether.job.quota import UNLIMITED, Limits
from tether.job.state import State

NOTHING = Position()


@dataclass(frozen=True, slots=True)
class Worker:
    """Where an attempt runs.

    Attributes:
        node: node id.
        incarnation: life of the worker.
        address: host:port of its gRPC server.
    """

    node: str
    incarnation: int
    address: str


@dataclass(frozen=True, slots=True)
class Driver:
    """Who drives a job.

    Attributes:
        session: gateway session, 16 bytes.
        node: node id of the gateway.
    """

    session: bytes
    node: str


@dataclass(frozen=True, slots=True)
class Subject:
    """What a job is; fixed at its first reservation.

    Attributes:
        job: id, 16 bytes.
        tenant: who pays.
        correlation_id: of its key.
        retry_token: of its key.
        keyed: whether the client named it.
        request_hash: 32 bytes.
        model: name of the model.
        version: MAJOR.MINOR as resolved.
        digest: SHA-256 of the manifest, 32 bytes.
        header: serialized Header with defaults filled in.
        limit_tokens: the most it can use.
    """

    job: bytes
    tenant: str
    correlation_id: str
    retry_token: str
    keyed: bool
    request_hash: bytes
    model: str
    version: str
    digest: bytes
    header: bytes
    limit_tokens: int


@dataclass(frozen=True, slots=True)
class Reservation:
    """Asks for a job's first attempt, or for another one of an abandoned job.

    Attributes:
        subject: the job.
        driver: who will drive it.
        worker: where it will run.
        seed: of its sampler, 64 bits; a job that was there keeps its own.
        deadline_ms: when it must have ended, milliseconds since the Unix epoch.
        limits: what the tenant may spend; decides whether the job is admitted.
        price: what the model's tokens cost; a job that was there keeps its own.
        fingerprint: of the engine that will run it, 32 bytes; empty where unknown.
        resumed: whether a reader of the job asks, so an abandoned one runs again though its client did not name it.
    """

    subject: Subject
    driver: Driver
    worker: Worker
    seed: int
    deadline_ms: int
    limits: Limits = UNLIMITED
    price: Price = FREE
    fingerprint: bytes = b""
    resumed: bool = False


@dataclass(frozen=True, slots=True)
class Attempt:
    """Asks for another attempt of a job that runs.

    Attributes:
        job: id, 16 bytes.
        request_hash: 32 bytes.
        of_session: session that must drive the job now.
        driver: who will drive it.
        after_epoch: attempt that must be the newest now.
        worker: where it will run.
        position: where it begins: what the driver has accepted; 0 for a rerun.
        cause: why it is asked for, a number of `tether.v1.PlaceCause`.
        error: reason and message of the attempt that ended; the first 1 KiB is kept.
        race: whether it runs beside `after_epoch` instead of replacing it.
        alone: whether it must run with no other job beside it.
        fingerprint: of the engine that will run it, 32 bytes; empty where unknown.
    """

    job: bytes
    request_hash: bytes
    of_session: bytes
    driver: Driver
    after_epoch: int
    worker: Worker
    position: Position = NOTHING
    cause: int = 0
    error: str = ""
    race: bool = False
    alone: bool = False
    fingerprint: bytes = b""


@dataclass(frozen=True, slots=True)
class Completion:
    """Asks for a job's outcome.

    Attributes:
        job: id, 16 bytes.
        epoch: attempt that ended; 0 for whichever runs.
        outcome: any state but RESERVED.
        used: what it used from its start; settled beyond what was settled before.
        receipt: serialized Infer.Receipt, or empty.
        answer: serialized Infer.Payload of a keyed job, or None where it is not kept.
        error: reason and message of a failure.
        worker: node that says so, where it is a worker: must be the attempt's; empty is not compared.
        gateway: node of the gateway that says so, or empty for a worker: while two attempts race it must be the
            driver's; None is not compared.
        reason: of a DEAD one, for its dead letter: a name of `tether.errors.Reason`; empty takes it from `error`.
        trace_id: of a DEAD one, 32 hex digits, or empty.
    """

    job: bytes
    epoch: int
    outcome: State
    used: Position = NOTHING
    receipt: bytes = b""
    answer: bytes | None = None
    error: str = ""
    worker: str = ""
    reason: str = ""
    trace_id: str = ""
    gateway: str | None = None


@dataclass(slots=True)
class JobRow:
    """A job as it stands; nobody changes one (it is not frozen, since that makes a row of so many facts cost double).

    Attributes:
        subject: what it is.
        number: grows with every new job.
        state: where it stands.
        epoch: newest attempt, from 1.
        after_epoch: attempt that the newest one was asked after.
        attempts: attempts made.
        entries: ledger rows written.
        driver: who drives it.
        worker: where the newest attempt runs or ran.
        seed: of its sampler.
        held_tokens: held while it runs, else 0.
        settled: what is paid.
        created_ms: milliseconds since the Unix epoch.
        deadline_ms: milliseconds since the Unix epoch.
        ended_ms: milliseconds since the Unix epoch, or None.
        error: reason and message of a failure.
        receipt: serialized Infer.Receipt, or empty.
        answer: serialized Infer.Payload, or None where it is not kept.
        position: where the newest attempt began.
        fingerprint: of the engine of the newest attempt, 32 bytes; empty where unknown.
        placed_ms: when the newest attempt was placed, milliseconds since the Unix epoch.
        cause: why it was asked for, a number of `tether.v1.PlaceCause`.
        raced_epoch: attempt that runs beside the newest one, or 0.
        poison: attempts that died soon after they began.
        alone: whether the newest attempt must run with no other job beside it.
        requeues: how often it was taken back out of the dead letters.
        price: what its tokens cost.
        held_micros: spend that is held while it runs, else 0.
        held_day: UTC day on which it was held.
        cost_micros: spend that is paid.
    """

    subject: Subject
    number: int
    state: State
    epoch: int
    after_epoch: int
    attempts: int
    entries: int
    driver: Driver
    worker: Worker
    seed: int
    held_tokens: int
    settled: Position
    created_ms: int
    deadline_ms: int
    ended_ms: int | None = None
    error: str = ""
    receipt: bytes = b""
    answer: bytes | None = None
    position: Position = NOTHING
    fingerprint: bytes = b""
    placed_ms: int = 0
    cause: int = 0
    raced_epoch: int = 0
    poison: int = 0
    alone: bool = False
    requeues: int = 0
    price: Price = FREE
    held_micros: int = 0
    held_day: int = 0
    cost_micros: int = 0

    def bare(self) -> "JobRow":
        """The row without its answer."""
        return replace(self, answer=None)


@dataclass(frozen=True, slots=True)
class Reserved:
    """The caller drives this attempt.

    Attributes:
        epoch: the attempt.
        seed: of the job's sampler.
    """

    epoch: int
    seed: int


@dataclass(frozen=True, slots=True)
class Existing:
    """The job was there.

    Attributes:
        row: as it stands, with receipt and kept answer.
    """

    row: JobRow


@dataclass(frozen=True, slots=True)
class Refused:
    """Nothing was written for this item.

    Attributes:
        error: JOB_CONFLICT, JOB_UNKNOWN, JOB_FAILED, STALE_EPOCH, ROLE_FORBIDDEN, RATE_LIMITED or QUOTA_EXCEEDED.
    """

    error: TetherError


@dataclass(frozen=True, slots=True)
class Settled:
    """The outcome that holds.

    Attributes:
        row: the job as it stands; still RESERVED when a newer attempt runs.
        written: whether this call wrote it.
    """

    row: JobRow
    written: bool


@dataclass(frozen=True, slots=True)
class Session:
    """A gateway's standing.

    Attributes:
        session: 16 bytes.
        node: node id of the gateway.
        incarnation: its life.
        beat: last one written.
    """

    session: bytes
    node: str
    incarnation: int
    beat: int


@dataclass(frozen=True, slots=True)
class PastAttempt:
    """One attempt of a job.

    Attributes:
        epoch: from 1.
        worker: where it ran.
        fingerprint: of its engine, 32 bytes; empty where unknown.
        began: where it began.
        gained: positions that it added; 0 while it runs.
        cause: why it was asked for, a number of `tether.v1.PlaceCause`.
        error: reason and message of its end; empty while it runs, or where it ended well.
        raced: whether it ran beside the one before.
        placed_ms: milliseconds since the Unix epoch.
        ended_ms: when its end was heard of, or None while it runs.
    """

    epoch: int
    worker: Worker
    fingerprint: bytes
    began: Position
    gained: Position
    cause: int
    error: str
    raced: bool
    placed_ms: int
    ended_ms: int | None
