"""Domain values to messages of the contract and back."""

from tether.errors import Reason, TetherError
from tether.job.commit import check_bounds
from tether.job.hold import Position
from tether.job.key import JOB_ID_BYTES
from tether.job.poison import Cause
from tether.job.state import State, is_open
from tether.rules.request import Limits, check_place
from tether.store.jobs import Driver, JobRow, Settled, Worker
from tether.v1.control_pb2 import LookupJobResponse
from tether.v1.infer_pb2 import Infer, Job, JobState
from tether.v1.placement_pb2 import (
    CompleteResponse,
    Ended,
    Joined,
    Placed,
    PlaceRequest,
    PlaceResponse,
    WorkerAddress,
)
from tether.v1.policy_pb2 import Retain
from tether_orchestrator.job_message import job_message
from tether_orchestrator.placement import Ask, Join, Placement, Run
from tether_orchestrator.session import SESSION_BYTES
from tether_orchestrator.settlement import Pended

_CAUSES = frozenset(int(cause) for cause in Cause)
FINGERPRINT_BYTES = 32
_ERROR_BYTES_MAX = 1_024  # as placement.proto says
_LIMITS = Limits(input_bytes_max=1 << 40)  # the gateway's own limit holds; here the size is only a number


def ask_of(request: PlaceRequest, node: str, trace_id: str = "") -> Ask:
    """What a gateway asks.

    Args:
        request: as sent; its header is used, not copied.
        node: who it proved to be.
        trace_id: of the call, or empty.

    Raises:
        TetherError: INVALID_FIELD.
    """
    header = request.header
    check_place(header, _LIMITS)
    _check("session_id", ok=len(request.session_id) == SESSION_BYTES)
    _check("cause", ok=int(request.cause) in _CAUSES)
    _check("fingerprint", ok=len(request.fingerprint) in (0, FINGERPRINT_BYTES))
    position = _position(request.position)
    check_bounds("position", position)
    header.ClearField("degraded")
    return Ask(
        header,
        Driver(request.session_id, node),
        request.after_epoch,
        Cause(request.cause or Cause.NEW),
        position,
        request.race,
        request.fingerprint,
        _cut(request.error),
        trace_id,
    )


def place_response(placement: Placement) -> PlaceResponse:
    """What a gateway is told."""
    if isinstance(placement, Run):
        return PlaceResponse(job_id=placement.permit.subject.job, placed=_placed(placement))
    row = placement.row
    subject = row.subject
    if isinstance(placement, Join):
        return PlaceResponse(job_id=subject.job, joined=joined_message(row, placement.relay))
    ended = Ended(job=job_message(row), model_digest=subject.digest, retain=placement.retain)
    return PlaceResponse(job_id=subject.job, ended=ended)


def joined_message(row: JobRow, relay: Worker | None = None) -> Joined:
    """Where a job runs, for whoever reads along."""
    return Joined(
        relay=_address(relay) if relay is not None else None,
        epoch=row.epoch,
        worker=_address(row.worker),
        model_id=row.subject.model,
        version=row.subject.version,
        model_digest=row.subject.digest,
    )


def lookup_response(row: JobRow, relay: Worker | None = None) -> LookupJobResponse:
    """A job, and where it runs while it does."""
    running = joined_message(row, relay) if row.state is State.RESERVED else None
    return LookupJobResponse(job=job_message(row), running=running, model_digest=row.subject.digest)


def complete_response(settled: Settled | Pended) -> CompleteResponse:
    """What a gateway is told of an outcome."""
    if isinstance(settled, Pended):
        outcome = JobState.ValueType(settled.end.outcome)
        job = Job(name=settled.end.job.hex(), state=outcome, epoch=settled.end.epoch)
        return CompleteResponse(outcome=outcome, job=job, settlement=Infer.SETTLEMENT_PENDING)
    row = settled.row
    committed = Infer.SETTLEMENT_UNSPECIFIED if is_open(row.state) else Infer.SETTLEMENT_COMMITTED
    return CompleteResponse(outcome=JobState.ValueType(row.state), job=job_message(row.bare()), settlement=committed)


def job_id_of(name: str) -> bytes:
    """A job's id from its 32 hex digits.

    Raises:
        TetherError: INVALID_FIELD.
    """
    try:
        job = bytes.fromhex(name)
    except ValueError as error:
        raise TetherError(Reason.INVALID_FIELD, "job_id must be 32 hex digits", field="job_id") from error
    _check("job_id", ok=len(job) == JOB_ID_BYTES)
    return job


def _placed(run: Run) -> Placed:
    permit, decision = run.permit, run.decision
    placed = Placed(
        epoch=permit.epoch,
        worker=_address(permit.worker),
        ticket=run.ticket,
        model_id=permit.subject.model,
        version=permit.subject.version,
        model_digest=permit.subject.digest,
        degraded=permit.degraded,
        relay=_address(run.relay) if run.relay is not None else None,
        attempts=permit.attempts,
        fingerprint=run.engine.fingerprint,
        continuity=Infer.Continuity.ValueType(run.engine.continuity),
        seed=permit.seed,
        retain=decision.retain == Retain.RETAIN_REQUEST,
        without_store=run.without_store,
        orchestrator_id=permit.orchestrator,
    )
    if decision.hedge_after_s is not None:
        placed.hedge_after.FromMilliseconds(int(decision.hedge_after_s * 1_000))
    return placed


def _position(position: Infer.Position) -> Position:
    return Position(0, position.tokens, position.bytes)


def _cut(words: str) -> str:
    return words.encode()[:_ERROR_BYTES_MAX].decode(errors="ignore")


def _address(worker: Worker) -> WorkerAddress:
    return WorkerAddress(worker_id=worker.node, incarnation=worker.incarnation, address=worker.address)


def _check(field: str, *, ok: bool) -> None:
    if not ok:
        raise TetherError(Reason.INVALID_FIELD, f"{field} is missing or malformed", field=field)
