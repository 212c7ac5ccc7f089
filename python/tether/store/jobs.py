"""The job store as a contract: what is written about jobs, and what is promised about it.

Every write takes a batch, is one transaction, and returns only when it is durable. In every committed state the settled
tokens equal the usage and the held tokens equal the holds of jobs that have not ended.
Source: docs/design/design.md §5, docs/design/streams.md §1, §3, §5.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from tether.errors import TetherError
from tether.job.hold import Position
from tether.job.state import State

ANSWER_BYTES_MAX = 262_144  # 256 KiB: what streams.md §2 keeps of a keyed job
LIST_MAX = 1_000  # rows of a page, as control.proto says
FIRST_OPEN = (0, 0)  # before the deadline and number of every open job
_NOTHING = Position()


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
    """

    subject: Subject
    driver: Driver
    worker: Worker
    seed: int
    deadline_ms: int


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
    """

    job: bytes
    request_hash: bytes
    of_session: bytes
    driver: Driver
    after_epoch: int
    worker: Worker


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
    """

    job: bytes
    epoch: int
    outcome: State
    used: Position = _NOTHING
    receipt: bytes = b""
    answer: bytes | None = None
    error: str = ""
    worker: str = ""


@dataclass(frozen=True, slots=True)
class JobRow:
    """A job as it stands.

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
        error: JOB_CONFLICT, JOB_UNKNOWN, JOB_FAILED, STALE_EPOCH or ROLE_FORBIDDEN.
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


class JobStore(Protocol):
    """What orchestrators keep; they alone open it.

    Every method may raise TetherError STORE_UNAVAILABLE, and then nothing was written.
    """

    @property
    def store_id(self) -> bytes:
        """16 bytes, drawn at creation."""

    def job_id(self, tenant: str, correlation_id: str, retry_token: str) -> bytes:
        """The id of a key, 16 bytes."""

    async def reserve(self, batch: Sequence[Reservation]) -> list[Reserved | Existing | Refused]:
        """Reserve jobs; one result each, in order. Existing where the key is there and does not run again."""

    async def attempt(self, batch: Sequence[Attempt]) -> list[Reserved | Existing | Refused]:
        """Raise epochs by compare-and-set; one result each, in order. Existing where the comparison fails."""

    async def complete(self, batch: Sequence[Completion]) -> list[Settled | Refused]:
        """Write outcomes; the first one holds. One result each, in order."""

    async def renew(self, sessions: Sequence[Session]) -> None:
        """Write beats of gateway sessions."""

    async def leave(self, session_id: bytes) -> None:
        """Remove a session whose gateway left."""

    async def sessions(self) -> list[Session]:
        """All sessions, as last written."""

    async def get(self, job: bytes) -> JobRow | None:
        """One job with receipt and answer."""

    async def list(self, *, tenant: str, state: State | None, before: int, limit: int) -> Sequence[JobRow]:
        """Jobs without answers, newest first.

        Args:
            tenant: only this one's; empty for all.
            state: only in this one; None for all.
            before: only jobs with a smaller number; 0 for all.
            limit: at most so many, 1 to `LIST_MAX`.
        """

    async def undriven(self, standing: Sequence[bytes], after: tuple[int, int], limit: int) -> Sequence[JobRow]:
        """Open jobs that none of these sessions drives, by deadline and number.

        Args:
            standing: sessions that stand.
            after: only jobs beyond this deadline (milliseconds since the Unix epoch) and number; `FIRST_OPEN` for all.
            limit: at most so many, 1 to `LIST_MAX`.
        """

    async def expire(self, limit: int) -> int:
        """Abandon at most `limit` jobs whose deadline is long over; returns how many."""

    async def purge(self, limit: int) -> int:
        """Forget at most `limit` jobs whose retention is over; returns how many."""

    async def check(self) -> Sequence[str]:
        """Violations of the invariants; empty when all holds."""

    async def close(self) -> None:
        """Finish what was submitted and close; idempotent."""
