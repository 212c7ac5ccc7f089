"""Errors as they travel on links: `Link.Failure`, both ways."""

from google.protobuf.message import DecodeError

from tether.errors import TABLE, Reason, TetherError
from tether.v1 import infer_pb2, link_pb2

_MESSAGE_BYTES_MAX = 1_024  # as link.proto says
ELSEWHERE = frozenset(
    {Reason.OVERLOADED, Reason.DRAINING, Reason.NO_WORKER, Reason.ENGINE_FAILED, Reason.ARTIFACT_CORRUPT}
)
# The request itself is at fault: it would fail again anywhere.
LASTING = frozenset(
    {Reason.INVALID_FIELD, Reason.MALFORMED, Reason.TOO_LARGE, Reason.CONTEXT_EXCEEDED, Reason.UNSUPPORTED}
)


def outcome_of(error: TetherError | None) -> infer_pb2.JobState.ValueType:
    """What a job comes to that got no answer: FAILED where it would fail again, else ABANDONED, so that its key reruns.

    Args:
        error: what ended it, or None where the client went away.
    """
    lasting = error is not None and error.reason in LASTING
    return infer_pb2.JOB_STATE_FAILED if lasting else infer_pb2.JOB_STATE_ABANDONED


def to_failure(error: TetherError, receipt: infer_pb2.Infer.Receipt | None = None) -> bytes:
    """A serialized `Link.Failure`; `elsewhere` where another worker may do better.

    Args:
        error: what ended the attempt.
        receipt: over what was generated before, where anything was.
    """
    failure = link_pb2.Link.Failure(
        code=error.row.code.value,
        reason=error.reason.name,
        message=error.message.encode()[:_MESSAGE_BYTES_MAX].decode(errors="ignore"),
        elsewhere=error.reason in ELSEWHERE,
        receipt=receipt,
    )
    if error.retry_after_s is not None:
        failure.retry_after.FromMilliseconds(int(error.retry_after_s * 1_000))
    return failure.SerializeToString()


def from_failure(raw: bytes) -> TetherError:
    """The error that a serialized `Link.Failure` tells; INTERNAL where it tells none that is known."""
    try:
        failure = link_pb2.Link.Failure.FromString(raw)
    except DecodeError:
        return TetherError(Reason.INTERNAL, "a failure arrived that is no valid message")
    retry_after_s = failure.retry_after.ToMilliseconds() / 1_000 if failure.HasField("retry_after") else None
    reason = Reason.__members__.get(failure.reason, Reason.INTERNAL)
    message = failure.message or TABLE[reason].advice
    return TetherError(reason, message, retry_after_s=retry_after_s)
