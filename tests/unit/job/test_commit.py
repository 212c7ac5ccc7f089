"""Commits: what a receipt settles, and which answers are kept."""

import pytest

from tether.errors import Reason, TetherError
from tether.job.commit import check_receipt, is_fault, is_whole, receipt_body, used
from tether.job.hold import Position
from tether.job.state import State
from tether.v1.infer_pb2 import Infer

BODY = Infer.ReceiptBody(
    job_id=b"j" * 16,
    epoch=2,
    worker_id="w",
    usage=Infer.Usage(input_tokens=10, output_tokens=5),
    end=Infer.Position(tokens=5, bytes=4),
)


def test_used_of_an_answer_is_what_the_receipt_says() -> None:
    assert used(State.DONE, BODY, None) == Position(10, 5, 4)


def test_used_of_a_cut_answer_is_what_was_delivered() -> None:
    assert used(State.ABANDONED, BODY, Position(0, 3, 2)) == Position(10, 3, 2)
    assert used(State.ABANDONED, BODY, Position(0, 9, 9)) == Position(10, 5, 4)


def test_used_without_a_receipt_charges_no_prompt() -> None:
    assert used(State.ABANDONED, None, Position(0, 3, 2)) == Position(0, 3, 2)
    assert used(State.FAILED, None, None) == Position()


@pytest.mark.parametrize(("job", "epoch", "signer"), [(b"x" * 16, 2, "w"), (b"j" * 16, 1, "w"), (b"j" * 16, 2, "v")])
def test_receipt_of_another_attempt_is_refused(job: bytes, epoch: int, signer: str) -> None:
    check_receipt(BODY, b"j" * 16, 2, "w")
    with pytest.raises(TetherError) as caught:
        check_receipt(BODY, job, epoch, signer)
    assert caught.value.reason is Reason.INVALID_FIELD


def test_receipt_that_is_no_message_is_refused() -> None:
    with pytest.raises(TetherError, match="malformed"):
        receipt_body(Infer.Receipt(body=b"\xff\xff"))


def test_answer_of_another_length_is_not_whole() -> None:
    assert is_whole(Infer.Payload(text="güt").SerializeToString(), BODY)
    assert not is_whole(Infer.Payload(text="gut").SerializeToString(), BODY)
    assert not is_whole(b"\xff", BODY)


def test_fault_is_an_end_by_a_reason_of_the_worker() -> None:
    assert is_fault(State.ABANDONED, "WORKER_LOST: gone")
    assert is_fault(State.FAILED, "ENGINE_FAILED: broke")
    assert not is_fault(State.FAILED, "CONTEXT_EXCEEDED: too long")
    assert not is_fault(State.DONE, "")
