"""What a repeat of an ended job gets."""

import pytest

from tether._native import Chain
from tether.errors import Reason, TetherError
from tether.v1 import infer_pb2, placement_pb2
from tether_gateway.answer import Place, stored_answer
from tether_gateway.cursor import parse

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


def kept(text: str, ids: list[int]) -> placement_pb2.Ended:
    chain = Chain()
    chain.feed_tokens(ids)
    end = infer_pb2.Infer.Position(tokens=len(ids), bytes=len(text.encode()))
    body = infer_pb2.Infer.ReceiptBody(end=end, output_commitment=chain.digest())
    receipt = infer_pb2.Infer.Receipt(body=body.SerializeToString())
    return ended(infer_pb2.JOB_STATE_DONE, answer={"text": text}, receipt=receipt, correlation_id="c")


def at(ids: list[int], text_bytes: int) -> Place:
    chain = Chain()
    chain.feed_tokens(ids)
    position = infer_pb2.Infer.Position(tokens=len(ids), bytes=text_bytes)
    found = infer_pb2.Infer.Cursor(job_id=JOB, epoch=1, position=position, chain_state=chain.state())
    return Place(parse(found.SerializeToString()))


def test_kept_answer_goes_on_from_a_cursor() -> None:
    first, last = (
        infer_pb2.Infer.Chunk.FromString(raw) for raw in stored_answer(kept("aßc", [1, 2, 3]), at([1, 2], 3))
    )
    assert (first.payload.text, first.start.tokens, first.start.bytes, first.seq) == ("c", 2, 3, 0)
    assert (last.done, last.seq, last.start.bytes) == (True, 1, 4)


def test_reader_that_has_all_but_the_end_gets_the_end_even_of_an_answer_that_was_not_kept() -> None:
    whole = kept("abc", [1, 2, 3])
    whole.job.ClearField("answer")
    (last,) = (infer_pb2.Infer.Chunk.FromString(raw) for raw in stored_answer(whole, at([1, 2, 3], 3)))
    assert (last.done, last.seq, last.started.joined) == (True, 0, True)


@pytest.mark.parametrize(
    ("ids", "text_bytes", "reason"),
    [
        ([9, 9, 9], 4, Reason.STREAM_DIVERGED),
        ([1, 2, 3, 4], 5, Reason.CURSOR_INVALID),
        ([1], 2, Reason.CURSOR_INVALID),  # inside a character
    ],
)
def test_cursor_that_is_not_in_the_kept_answer_is_refused(ids: list[int], text_bytes: int, reason: Reason) -> None:
    with pytest.raises(TetherError) as raised:
        stored_answer(kept("aßc", [1, 2, 3]), at(ids, text_bytes))
    assert raised.value.reason is reason
