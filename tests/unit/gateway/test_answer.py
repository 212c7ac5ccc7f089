"""What a repeat of an ended job gets."""

import pytest

from tether.errors import Reason, TetherError
from tether.v1 import infer_pb2, placement_pb2
from tether_gateway.answer import stored_answer

JOB = bytes(range(16))


def ended(state: int, **fields: object) -> placement_pb2.Ended:
    job = infer_pb2.Job(name=JOB.hex(), state=infer_pb2.JobState.ValueType(state), epoch=2, **fields)  # type: ignore[arg-type]
    return placement_pb2.Ended(job=job)


def test_kept_answer_is_one_chunk_and_the_end() -> None:
    body = infer_pb2.Infer.ReceiptBody(end=infer_pb2.Infer.Position(tokens=3, bytes=5))
    receipt = infer_pb2.Infer.Receipt(body=body.SerializeToString())
    done = ended(infer_pb2.JOB_STATE_DONE, answer={"text": "hello"}, receipt=receipt)
    first, last = (infer_pb2.Infer.Chunk.FromString(raw) for raw in stored_answer(done))
    assert (first.payload.text, first.seq, first.done, first.started.joined) == ("hello", 0, False, True)
    assert (last.seq, last.done, last.start.bytes, last.receipt) == (1, True, 5, receipt)
    assert last.settlement == infer_pb2.Infer.SETTLEMENT_COMMITTED


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (infer_pb2.JOB_STATE_DONE, Reason.ANSWER_NOT_KEPT),
        (infer_pb2.JOB_STATE_CANCELLED, Reason.JOB_CANCELLED),
        (infer_pb2.JOB_STATE_FAILED, Reason.JOB_FAILED),
        (infer_pb2.JOB_STATE_ABANDONED, Reason.WORKER_LOST),
    ],
)
def test_job_without_an_answer_is_a_typed_error(state: int, reason: Reason) -> None:
    with pytest.raises(TetherError) as raised:
        stored_answer(ended(state))
    assert raised.value.reason is reason
