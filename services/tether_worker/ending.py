"""How an attempt's end looks on the wire: the last chunk, the COMPLETE, and the extra fields of single tokens.

Pure. Source: docs/design/link.md (END, COMPLETE), docs/design/streams.md §5.
"""

from tether.errors import TetherError
from tether.link import outcome_of, to_failure
from tether.v1 import infer_pb2, link_pb2
from tether_worker.engine.runtime import Emitted, Finish, TokenLogprob
from tether_worker.receipt import Ran, usage_of
from tether_worker.run import Run

_FINISH = {
    Finish.STOP: infer_pb2.Infer.FINISH_REASON_STOP,
    Finish.LENGTH: infer_pb2.Infer.FINISH_REASON_LENGTH,
    Finish.CANCELLED: infer_pb2.Infer.FINISH_REASON_CANCELLED,
}
_EMPTY_CHAIN = (bytes.fromhex("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"), b"", 0, 0)


def extra_fields(piece: Emitted, *, alone: bool) -> bytes:
    """Serialized `Infer.Chunk` fields that belong to a piece's tokens: logprobs, and the end of one of several."""
    finish = infer_pb2.Infer.FINISH_REASON_UNSPECIFIED
    if not alone and piece.finish is not None:
        finish = finish_of(piece.finish)
    if not piece.logprobs and not finish:
        return b""
    chunk = infer_pb2.Infer.Chunk(logprobs=logprobs_of(piece), finish_reason=finish)
    return chunk.SerializeToString()


def logprobs_of(piece: Emitted) -> list[infer_pb2.Infer.TokenLogprob]:
    """Log probabilities of a piece's tokens, where they were asked for."""
    return [_logprob(one) for one in piece.logprobs]


def finish_of(finish: Finish) -> infer_pb2.Infer.FinishReason.ValueType:
    """A reason as the contract names it."""
    return _FINISH.get(finish, infer_pb2.Infer.FINISH_REASON_UNSPECIFIED)


def _logprob(one: TokenLogprob) -> infer_pb2.Infer.TokenLogprob:
    alternatives = [
        infer_pb2.Infer.TokenLogprob.Alternative(token=text, logprob=logprob) for _, text, logprob in one.alternatives
    ]
    return infer_pb2.Infer.TokenLogprob(token=one.token, logprob=one.logprob, alternatives=alternatives)


def ran_of(run: Run, chain: tuple[bytes, bytes, int, int] | None, ended_ms: int) -> Ran:
    """What a run came to, by the chain at its end."""
    digest, _, tokens, text_bytes = chain or _EMPTY_CHAIN
    finish = Finish.CANCELLED if run.error is not None or not run.over else run.finish
    return Ran(
        fingerprint=run.served.engine.runtime.fingerprint,
        chain=digest,
        tokens=tokens,
        text_bytes=text_bytes,
        input_tokens=run.input_tokens,
        finish=_FINISH[finish],
        complete=finish is not Finish.CANCELLED,
        started_ms=run.started_ms,
        ended_ms=ended_ms,
        begun=run.begun,
        attempts=max(1, run.ticket.attempts),
    )


def end_chunk(run: Run, ran: Ran, receipt: infer_pb2.Infer.Receipt) -> bytes:
    """The serialized last chunk: `done`, finish reason, usage of the whole answer, continuity, receipt."""
    chunk = infer_pb2.Infer.Chunk(
        done=True,
        finish_reason=ran.finish,
        usage=usage_of(ran, whole=True),
        receipt=receipt,
        continuity=run.begun.continuity,
    )
    if run.ticket.HasField("degraded"):
        chunk.degraded.CopyFrom(run.ticket.degraded)
    return chunk.SerializeToString()


def handed_over(error: TetherError, receipt: infer_pb2.Infer.Receipt | None) -> bytes:
    """A serialized `Link.Failure` that says: the position stands, another worker goes on from there."""
    failure = link_pb2.Link.Failure.FromString(to_failure(error, receipt))
    failure.elsewhere = failure.handed_over = True
    return failure.SerializeToString()


def complete_body(
    receipt: infer_pb2.Infer.Receipt | None,
    answer: bytes | None,
    error: TetherError | None,
    *,
    complete: bool,
    placed_by: str = "",
) -> bytes:
    """The serialized `Link.Complete` that the worker would send for an end.

    Args:
        receipt: over what ran, or None.
        answer: serialized `Infer.Payload` of a keyed job, or None.
        error: what failed it, or None.
        complete: whether the answer is whole.
        placed_by: node id of the orchestrator that placed it without the store, or empty.
    """
    outcome = infer_pb2.JOB_STATE_DONE if complete else outcome_of(error)
    told = "" if error is None else f"{error.reason.name}: {error.message}"
    message = link_pb2.Link.Complete(
        receipt=receipt, answer=answer or b"", outcome=outcome, error=told, orchestrator_id=placed_by
    )
    return message.SerializeToString()
