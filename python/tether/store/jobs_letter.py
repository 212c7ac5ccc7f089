"""Dead letters: what is kept of jobs that cannot succeed, and of frames that broke the protocol.

Source: docs/design/streams.md §7; proto/tether/v1/control.proto, DeadLetter.
"""

from dataclasses import dataclass

from tether.job.quota import UNLIMITED, Limits
from tether.store.jobs_type import Driver, JobRow, PastAttempt, Worker

FRAME_BYTES_MAX = 4_096  # as control.proto says
KINDS = ("reason", "model", "worker", "fingerprint")


@dataclass(frozen=True, slots=True)
class Deposit:
    """Hands over what a dead letter keeps.

    Attributes:
        job: id of a dead job, 16 bytes; empty for a frame.
        request: serialized Infer.Request as the client sent it; empty for a frame. The caller checks its hash.
        frame: first bytes of a frame, at most `FRAME_BYTES_MAX` are kept.
        reason: of a frame: a name of `tether.errors.Reason`.
        message: of a frame, for people.
        peer: node id of whoever sent the frame.
        trace_id: 32 hex digits, or empty.
    """

    job: bytes = b""
    request: bytes = b""
    frame: bytes = b""
    reason: str = ""
    message: str = ""
    peer: str = ""
    trace_id: str = ""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A dead letter.

    Attributes:
        name: the job's id as 32 hex digits; of a frame `frame-` and 32 hex digits.
        number: grows with every new one.
        job: id of the job, or empty.
        tenant: who paid; empty for a frame.
        model: name; empty for a frame.
        reason: a name of `tether.errors.Reason`.
        message: what happened.
        worker: node id of the last attempt's worker.
        fingerprint: of its engine, 32 bytes, or empty.
        trace_id: 32 hex digits, or empty.
        peer: node id of whoever sent the frame.
        kept_bytes: size of the request or frame that is kept; 0 for none.
        created_ms: when it died, milliseconds since the Unix epoch.
        requeues: how often it was taken back.
        requeued_ms: when it was last taken back, or None.
        request: as the client sent it, where it is kept; only of `dead_letter`.
        frame: its first bytes, where they are kept; only of `dead_letter`.
        row: the job as it stands, or None.
        attempts: oldest first; only of `dead_letter`.
    """

    name: str
    number: int
    job: bytes
    tenant: str
    model: str
    reason: str
    message: str
    worker: str
    fingerprint: bytes
    trace_id: str
    peer: str
    kept_bytes: int
    created_ms: int
    requeues: int
    requeued_ms: int | None
    request: bytes = b""
    frame: bytes = b""
    row: JobRow | None = None
    attempts: tuple[PastAttempt, ...] = ()


@dataclass(frozen=True, slots=True)
class LetterGroup:
    """Dead letters that share something.

    Attributes:
        by: one of `KINDS`.
        value: what they share; of a fingerprint its hex digits.
        count: how many.
        first_ms: when the first one died.
        last_ms: when the last one died.
        example: name of the last one.
    """

    by: str
    value: str
    count: int
    first_ms: int
    last_ms: int
    example: str


@dataclass(frozen=True, slots=True)
class LetterQuery:
    """Which dead letters to list; empty values are not compared.

    Attributes:
        tenant: only this one's.
        reason: only with this one.
        model: only of this one.
        before: only with a smaller number; 0 for all.
        limit: at most so many, 1 to `LIST_MAX`.
    """

    tenant: str = ""
    reason: str = ""
    model: str = ""
    before: int = 0
    limit: int = 100


@dataclass(frozen=True, slots=True)
class LetterLimits:
    """How much is kept; what is over goes, oldest first.

    Attributes:
        rows_max: dead letters.
        bytes_max: requests and frames, all together.
        one_bytes_max: one request; a larger one is not kept.
        kept_ms: how long.
    """

    rows_max: int = 100_000  # a poisoned model at one death a second for a day
    bytes_max: int = 1 << 30  # what an operator spares without being asked; a guess
    one_bytes_max: int = 4 << 20  # the largest request that gRPC takes by default
    kept_ms: int = 7 * 86_400_000  # a week: a failure on Friday is looked at on Monday


@dataclass(frozen=True, slots=True)
class Requeue:
    """Takes a dead job back: RESERVED again under its id and seed, as its next attempt.

    Attributes:
        job: id, 16 bytes.
        driver: who will drive it.
        worker: where it will run.
        deadline_ms: when it must have ended, milliseconds since the Unix epoch.
        limits: of its tenant.
        fingerprint: of the engine that will run it, 32 bytes; empty where unknown.
    """

    job: bytes
    driver: Driver
    worker: Worker
    deadline_ms: int
    limits: Limits = UNLIMITED
    fingerprint: bytes = b""
