"""What a repeat of a job's key gets, and who may make another attempt.

The same key with the same request joins what runs or gets what ended; only an abandoned job runs again. Another attempt
of a running job is a compare-and-set on its epoch by the session that drives it.
Source: docs/design/streams.md §1, §3.
"""

from dataclasses import dataclass
from enum import Enum

from tether.job.state import State, is_open

ATTEMPTS_MAX = 16  # per job, as streams.md §7 says


class Answer(Enum):
    """What a caller gets."""

    RUN = "run"  # a new attempt, which the caller drives
    EXISTING = "existing"  # the job as it stands
    CONFLICT = "conflict"  # the key names another request
    EXHAUSTED = "exhausted"  # too many attempts


@dataclass(frozen=True, slots=True)
class Standing:
    """What the rules need of a job's row.

    Attributes:
        state: where it stands.
        epoch: newest attempt.
        attempts: attempts made.
        keyed: whether the client named it.
        request_hash: 32 bytes.
        digest: SHA-256 of the manifest it was resolved to, 32 bytes.
        session: session that drives it, 16 bytes.
        requeues: how often it was taken back out of the dead letters; each time it may be attempted as often again.
    """

    state: State
    epoch: int
    attempts: int
    keyed: bool
    request_hash: bytes
    digest: bytes
    session: bytes
    requeues: int = 0


def on_reserve(job: Standing, request_hash: bytes, digest: bytes, *, resumed: bool = False) -> Answer:
    """Judge a reservation of a key that is there.

    Args:
        job: its row.
        request_hash: of the repeat.
        digest: what the repeat was resolved to; another one than the row's is placed anew by the caller.
        resumed: whether a reader of the job asks, who knows it though its client did not name it.

    Returns:
        RUN for an abandoned job that is keyed or resumed, else what holds.
    """
    if job.request_hash != request_hash:
        return Answer.CONFLICT
    known = job.keyed or resumed
    if job.state is not State.ABANDONED or not known or job.digest != digest:
        return Answer.EXISTING
    return _within(job)


def on_attempt(job: Standing, request_hash: bytes, of_session: bytes, after_epoch: int) -> Answer:
    """Judge another attempt of a running job.

    Args:
        job: its row.
        request_hash: of the caller's request.
        of_session: session that must stand in the row: the caller's own, or the lapsed one it takes over from.
        after_epoch: attempt that the caller knows of.

    Returns:
        RUN when the compare-and-set holds, else what stands against it.
    """
    if job.request_hash != request_hash:
        return Answer.CONFLICT
    if not is_open(job.state) or job.session != of_session or job.epoch != after_epoch:
        return Answer.EXISTING
    return _within(job)


def _within(job: Standing) -> Answer:
    return Answer.RUN if job.attempts < ATTEMPTS_MAX * (job.requeues + 1) else Answer.EXHAUSTED
