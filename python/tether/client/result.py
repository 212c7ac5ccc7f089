"""What a client gets: pieces of an answer, and the whole of it."""

from dataclasses import dataclass, field

from tether.errors import Reason, TetherError
from tether.v1.infer_pb2 import Infer

FINISH = {
    Infer.FINISH_REASON_STOP: "stop",
    Infer.FINISH_REASON_LENGTH: "length",
    Infer.FINISH_REASON_TOOL_CALLS: "tool_calls",
    Infer.FINISH_REASON_CANCELLED: "cancelled",
}


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of an answer.

    Attributes:
        text: what it adds; may be empty.
        seq: number of the delivery, from 0; it goes on when the stream is resumed.
        tokens: tokens of the answer before this piece.
        done: whether it is the last.
        chunk: the message as it came.
    """

    text: str
    seq: int
    tokens: int
    done: bool
    chunk: Infer.Chunk = field(repr=False)


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer.

    Attributes:
        text: the text, empty for tensors.
        tensors: the tensors, or None.
        finish_reason: `stop`, `length`, `tool_calls` or `cancelled`.
        job_id: 32 hex digits.
        correlation_id: name of the request, as sent or drawn.
        retry_token: second half of the name.
        model: `name:version` that ran.
        joined: whether the request joined a job that was there.
        settled: False where the bill is written later.
        input_tokens: tokens of the prompt.
        output_tokens: tokens generated.
        receipt: the worker's signed receipt.
        degraded: what ran in place of what was asked, or None.
        attempts: workers that it took, from 1.
    """

    text: str
    tensors: Infer.Tensors | None
    finish_reason: str
    job_id: str
    correlation_id: str
    retry_token: str
    model: str
    joined: bool
    settled: bool
    input_tokens: int
    output_tokens: int
    receipt: Infer.Receipt = field(repr=False)
    degraded: Infer.Degraded | None = None
    attempts: int = 1


@dataclass(slots=True)
class Gathered:
    """Chunks of one stream, checked for holes while they come in."""

    started: Infer.Started = field(default_factory=Infer.Started)
    correlation_id: str = ""
    text: list[str] = field(default_factory=list)
    tensors: Infer.Tensors | None = None
    last: Infer.Chunk | None = None
    next_seq: int = 0
    next_byte: int = 0
    delivered: int = 0
    continuation: bytes = b""
    degraded: Infer.Degraded | None = None
    anywhere: bool = False  # the first chunk says where it begins

    def reopened(self) -> None:
        """Another call reads on from where this one was cut: it counts its chunks from 0."""
        self.next_seq = 0

    def add(self, chunk: Infer.Chunk) -> Piece:
        """Take the next chunk.

        Raises:
            TetherError: STREAM_DIVERGED where a chunk is missing, doubled, or comes after the end.
        """
        if self.anywhere:
            self.anywhere, self.next_byte = False, chunk.start.bytes
        if self.last is not None or chunk.seq != self.next_seq or chunk.start.bytes != self.next_byte:
            message = (
                f"chunk {chunk.seq} at byte {chunk.start.bytes} came where {self.next_seq} at {self.next_byte} was due"
            )
            raise TetherError(Reason.STREAM_DIVERGED, message)
        text = chunk.payload.text
        self._note(chunk)
        number, self.delivered = self.delivered, self.delivered + 1
        self.next_seq += 1
        self.next_byte += len(text.encode()) if text else chunk.payload.ByteSize()
        return Piece(text, number, chunk.start.tokens, chunk.done, chunk)

    def _note(self, chunk: Infer.Chunk) -> None:
        if chunk.HasField("started") and not self.delivered:
            self.started = chunk.started
        self.continuation = chunk.continuation or self.continuation
        if chunk.HasField("degraded"):
            self.degraded = chunk.degraded
        self.correlation_id = chunk.correlation_id or self.correlation_id
        if chunk.payload.text:
            self.text.append(chunk.payload.text)
        elif chunk.payload.HasField("tensors"):
            self.tensors = self.tensors or Infer.Tensors()
            self.tensors.MergeFrom(chunk.payload.tensors)
        if chunk.done:
            self.last = chunk

    def answer(self) -> Answer:
        """Return the whole answer.

        Raises:
            TetherError: WORKER_LOST where no last chunk came.
        """
        if self.last is None:
            raise TetherError(Reason.WORKER_LOST, "the stream ended without its last chunk")
        return Answer(
            text="".join(self.text),
            tensors=self.tensors,
            finish_reason=FINISH.get(self.last.finish_reason, ""),
            job_id=self.started.job_id,
            correlation_id=self.correlation_id,
            retry_token=self.started.retry_token,
            model=f"{self.started.model_id}:{self.started.version}",
            joined=self.started.joined,
            settled=self.last.settlement != Infer.SETTLEMENT_PENDING,
            input_tokens=self.last.usage.input_tokens,
            output_tokens=self.last.usage.output_tokens,
            receipt=self.last.receipt,
            degraded=self.degraded,
            attempts=max(1, Infer.ReceiptBody.FromString(self.last.receipt.body).attempts),
        )
