"""Chunks that the gateway makes itself: the stamp of a stream, its first fields, and an answer that was kept. Pure."""

from tether.errors import Reason, TetherError
from tether.v1 import infer_pb2, placement_pb2
from tether_gateway.admission import Admitted

Chunk = infer_pb2.Infer.Chunk
Placement = placement_pb2.Placed | placement_pb2.Joined


def stamp(admitted: Admitted) -> bytes:
    """Serialized fields of every chunk."""
    return Chunk(correlation_id=admitted.correlation_id).SerializeToString()


def first_fields(admitted: Admitted, job: bytes, placed: Placement, *, joined: bool = False) -> bytes:
    """Serialized fields of the first chunk: what was started, and whether another request had started it."""
    started = infer_pb2.Infer.Started(
        job_id=job.hex(),
        retry_token=admitted.retry_token,
        model_id=placed.model_id,
        version=placed.version,
        model_digest=placed.model_digest,
        joined=joined or isinstance(placed, placement_pb2.Joined),
    )
    chunk = Chunk(started=started)
    if isinstance(placed, placement_pb2.Placed) and placed.HasField("degraded"):
        chunk.degraded.CopyFrom(placed.degraded)
    return chunk.SerializeToString()


def stored_answer(admitted: Admitted, job: bytes, ended: placement_pb2.Ended) -> list[bytes]:
    """The stream of a job that has ended: its answer as one chunk, then the last one.

    Raises:
        TetherError: ANSWER_NOT_KEPT, JOB_CANCELLED, JOB_FAILED, or WORKER_LOST for one that nobody finished.
    """
    row = ended.job
    refuse_unanswered(row)
    started = infer_pb2.Infer.Started(
        job_id=job.hex(),
        retry_token=admitted.retry_token,
        model_id=row.model_id,
        version=row.version,
        model_digest=ended.model_digest,
        joined=True,
    )
    first = Chunk(correlation_id=admitted.correlation_id, payload=row.answer, epoch=row.epoch, started=started)
    first.start.SetInParent()
    last = Chunk(
        correlation_id=admitted.correlation_id,
        seq=1,
        done=True,
        epoch=row.epoch,
        start=end_of(row.receipt),
        finish_reason=row.finish_reason,
        usage=row.usage,
        receipt=row.receipt,
        settlement=infer_pb2.Infer.SETTLEMENT_COMMITTED,
    )
    return [first.SerializeToString(), last.SerializeToString()]


def refuse_unanswered(row: infer_pb2.Job) -> None:
    """Raise what a job without an answer means to a repeat."""
    match row.state:
        case infer_pb2.JOB_STATE_DONE:
            if not row.HasField("answer"):
                raise TetherError(Reason.ANSWER_NOT_KEPT, "The job is done, and its answer was too long to keep.")
        case infer_pb2.JOB_STATE_CANCELLED:
            raise TetherError(Reason.JOB_CANCELLED, "The job was cancelled.")
        case infer_pb2.JOB_STATE_FAILED:
            raise TetherError(Reason.JOB_FAILED, f"The job failed: {row.error or 'no cause was given'}.")
        case _:
            raise TetherError(Reason.WORKER_LOST, "The job was given up before its end.", retry_after_s=0.1)


def end_of(receipt: infer_pb2.Infer.Receipt) -> infer_pb2.Infer.Position:
    """Where an answer ended, by its receipt."""
    return infer_pb2.Infer.ReceiptBody.FromString(receipt.body).end
