"""Chunks that the gateway makes itself: the stamp of a stream, its first fields, and an answer that was kept. Pure."""

from dataclasses import dataclass

from tether.errors import Reason, TetherError
from tether.v1 import infer_pb2, placement_pb2
from tether_gateway.cursor import Cursor, digest_of
from tether_gateway.endings import meaning
from tether_gateway.flight import Placement

Chunk = infer_pb2.Infer.Chunk


@dataclass(frozen=True, slots=True)
class Place:
    """Where a reader of a kept answer stands.

    Attributes:
        cursor: the place; None for position 0.
        seq: number of its next chunk.
    """

    cursor: Cursor | None = None
    seq: int = 0

    @property
    def text_bytes(self) -> int:
        """Bytes before it."""
        return self.cursor.text_bytes if self.cursor is not None else 0

    @property
    def tokens(self) -> int:
        """Tokens before it."""
        return self.cursor.tokens if self.cursor is not None else 0


def stamp(correlation_id: str) -> bytes:
    """Serialized fields of every chunk."""
    return Chunk(correlation_id=correlation_id).SerializeToString()


def first_fields(retry_token: str, job: bytes, placed: Placement, *, joined: bool = False) -> bytes:
    """Serialized fields of the first chunk: what was started, and whether another request had started it."""
    started = infer_pb2.Infer.Started(
        job_id=job.hex(),
        retry_token=retry_token,
        model_id=placed.model_id,
        version=placed.version,
        model_digest=placed.model_digest,
        joined=joined or isinstance(placed, placement_pb2.Joined),
    )
    chunk = Chunk(started=started)
    if isinstance(placed, placement_pb2.Placed) and placed.HasField("degraded"):
        chunk.degraded.CopyFrom(placed.degraded)
    return chunk.SerializeToString()


def stored_answer(ended: placement_pb2.Ended, place: Place | None = None) -> list[bytes]:
    """The stream of a job that has ended: its answer, from where the reader stands, as one chunk; then the last one.

    Args:
        ended: the job as the store has it.
        place: where the reader stands; None for position 0.

    Raises:
        TetherError: ANSWER_NOT_KEPT, JOB_CANCELLED, JOB_FAILED, POISON, WORKER_LOST for one that nobody finished;
            CURSOR_INVALID or STREAM_DIVERGED where the reader is not in this answer.
    """
    row, place = ended.job, place or Place()
    if row.state != infer_pb2.JOB_STATE_DONE:
        raise meaning(row)
    body = infer_pb2.Infer.ReceiptBody.FromString(row.receipt.body)
    chunks = [] if _at_end(place, body) else [_rest(row, place)]
    last = Chunk(
        done=True,
        start=body.end,
        finish_reason=row.finish_reason,
        usage=row.usage,
        receipt=row.receipt,
        settlement=infer_pb2.Infer.SETTLEMENT_COMMITTED,
    )
    chunks.append(last)
    for number, chunk in enumerate(chunks):
        chunk.correlation_id, chunk.epoch, chunk.seq = row.correlation_id, row.epoch, place.seq + number
    if not place.seq:
        chunks[0].started.CopyFrom(_started(ended))
    return [chunk.SerializeToString() for chunk in chunks]


def _at_end(place: Place, body: infer_pb2.Infer.ReceiptBody) -> bool:
    """Whether the reader has all but the last chunk; the chain must be the receipt's then."""
    if place.cursor is None or (place.tokens, place.text_bytes) < (body.end.tokens, body.end.bytes):
        return False
    if (place.tokens, place.text_bytes) != (body.end.tokens, body.end.bytes):
        raise TetherError(Reason.CURSOR_INVALID, "The answer ended before that place.", field="continuation")
    if digest_of(place.cursor) != body.output_commitment:
        raise TetherError(Reason.STREAM_DIVERGED, "The job's answer is another than what was read.")
    return True


def _rest(row: infer_pb2.Job, place: Place) -> Chunk:
    """What the reader has not had of a kept answer."""
    if not row.HasField("answer"):
        raise meaning(row)
    chunk = Chunk(payload=row.answer)
    chunk.start.SetInParent()
    if not place.text_bytes:
        return chunk
    if row.answer.WhichOneof("kind") != "text":
        raise TetherError(Reason.CURSOR_INVALID, "The answer is cut nowhere.", field="continuation")
    try:
        chunk.payload.text = row.answer.text.encode()[place.text_bytes :].decode()
    except UnicodeDecodeError as fault:
        raise TetherError(Reason.CURSOR_INVALID, "The place is inside a character.", field="continuation") from fault
    chunk.start.tokens, chunk.start.bytes = place.tokens, place.text_bytes
    return chunk


def _started(ended: placement_pb2.Ended) -> infer_pb2.Infer.Started:
    row = ended.job
    return infer_pb2.Infer.Started(
        job_id=row.name,
        retry_token=row.retry_token,
        model_id=row.model_id,
        version=row.version,
        model_digest=ended.model_digest,
        joined=True,
    )
