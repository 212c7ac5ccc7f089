"""An outcome that is asked for, and its form on the wire and in the journal."""

from dataclasses import dataclass

from tether.errors import Reason, TetherError
from tether.job.commit import check_bounds
from tether.job.hold import Position
from tether.job.key import JOB_ID_BYTES
from tether.job.state import State
from tether.v1.infer_pb2 import Infer, JobState
from tether.v1.placement_pb2 import CompleteRequest

_OUTCOMES = frozenset(int(state) for state in State) - {int(State.RESERVED)}


@dataclass(frozen=True, slots=True)
class End:
    """An outcome that is asked for.

    Attributes:
        job: id, 16 bytes.
        epoch: attempt that ended; 0 for whichever runs.
        outcome: any state but RESERVED.
        receipt: the worker's, or None.
        answer: serialized Infer.Payload, or empty.
        error: reason and message of a failure.
        delivered: what the client got, and the prompt where it is known; None where the caller does not know.
        worker: node id of the worker that asks, or empty.
        gateway: node id of the gateway that asks, or empty.
        reason: of a dead job, a reason without its message.
        trace_id: of a dead job, 32 hex digits, or empty.
        placed_by: node id of the orchestrator that placed it without the store, or empty.
    """

    job: bytes
    epoch: int
    outcome: State
    receipt: Infer.Receipt | None = None
    answer: bytes = b""
    error: str = ""
    delivered: Position | None = None
    worker: str = ""
    gateway: str = ""
    reason: str = ""
    trace_id: str = ""
    placed_by: str = ""


def end_of(request: CompleteRequest, *, gateway: str = "", worker: str = "") -> End:
    """The outcome that a message asks for.

    Args:
        request: as sent.
        gateway: node id of the gateway that sent it, or empty.
        worker: node id of the worker that sent it, or empty.

    Raises:
        TetherError: INVALID_FIELD.
    """
    _check("job_id", ok=len(request.job_id) == JOB_ID_BYTES)
    _check("outcome", ok=int(request.outcome) in _OUTCOMES)
    at = request.delivered
    delivered = Position(request.input_tokens, at.tokens, at.bytes) if request.HasField("delivered") else None
    if delivered is not None:
        check_bounds("delivered", delivered)
    return End(
        job=request.job_id,
        epoch=request.epoch,
        outcome=State(request.outcome),
        receipt=request.receipt if request.HasField("receipt") else None,
        answer=request.answer,
        error=request.error,
        delivered=delivered,
        gateway=gateway,
        worker=worker,
        placed_by=request.orchestrator_id,
    )


def request_of(end: End) -> CompleteRequest:
    """The message of an outcome; who asks is not in it."""
    at = end.delivered
    return CompleteRequest(
        job_id=end.job,
        epoch=end.epoch,
        outcome=JobState.ValueType(end.outcome),
        receipt=end.receipt,
        answer=end.answer,
        error=end.error,
        delivered=Infer.Position(tokens=at.output_tokens, bytes=at.output_bytes) if at is not None else None,
        input_tokens=at.input_tokens if at is not None else 0,
        orchestrator_id=end.placed_by,
    )


def _check(field: str, *, ok: bool) -> None:
    if not ok:
        raise TetherError(Reason.INVALID_FIELD, f"{field} is missing or malformed", field=field)
