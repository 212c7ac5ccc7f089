"""Commits: what a receipt settles, and which answers are kept."""

import pytest

from tether.errors import Reason, TetherError
from tether.job.commit import check_bounds, check_receipt, is_fault, is_whole, receipt_body, used
from tether.job.hold import Position
from tether.job.state import State
from tether.v1.infer_pb2 import Infer

NETWORK = b"n" * 32
BODY = Infer.ReceiptBody(
    network_id=NETWORK,
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


def test_used_without_a_receipt_charges_the_prompt_where_it_is_known() -> None:
    assert used(State.ABANDONED, None, Position(7, 3, 2)) == Position(7, 3, 2)
    assert used(State.ABANDONED, None, Position(0, 3, 2)) == Position(0, 3, 2)
    assert used(State.FAILED, None, None) == Position()


@pytest.mark.parametrize(("job", "epoch", "signer"), [(b"x" * 16, 2, "w"), (b"j" * 16, 1, "w"), (b"j" * 16, 2, "v")])
def test_receipt_of_another_attempt_is_refused(job: bytes, epoch: int, signer: str) -> None:
    check_receipt(BODY, b"j" * 16, 2, "w", NETWORK)
    with pytest.raises(TetherError) as caught:
        check_receipt(BODY, job, epoch, signer, NETWORK)
    assert caught.value.reason is Reason.INVALID_FIELD


def test_receipt_of_another_network_is_refused() -> None:
    with pytest.raises(TetherError, match="another network"):
        check_receipt(BODY, b"j" * 16, 2, "w", b"m" * 32)


@pytest.mark.parametrize(
    "position", [Position(2**33), Position(0, 2**64 - 1), Position(0, 0, 2**64 - 1), Position(2**64 - 1, 1, 1)]
)
def test_position_beyond_any_job_is_refused(position: Position) -> None:
    check_bounds("delivered", Position(1 << 32, 1 << 32, 1 << 48))
    with pytest.raises(TetherError) as caught:
        check_bounds("delivered", position)
    assert (caught.value.reason, caught.value.field) == (Reason.INVALID_FIELD, "delivered")


def test_receipt_of_more_than_any_job_is_refused() -> None:
    body = Infer.ReceiptBody()
    body.CopyFrom(BODY)
    body.usage.input_tokens = 2**64 - 1
    with pytest.raises(TetherError, match="beyond any job"):
        check_receipt(body, b"j" * 16, 2, "w", NETWORK)


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


def handed(*prefixes: tuple[int, int, int]) -> Infer.ReceiptBody:
    """A receipt of attempt 4 that ends at 50 tokens, after prefixes of (attempt, begin, end)."""
    return Infer.ReceiptBody(
        network_id=NETWORK,
        job_id=b"j" * 16,
        epoch=4,
        worker_id="w",
        usage=Infer.Usage(input_tokens=10, output_tokens=20),
        end=Infer.Position(tokens=50, bytes=200),
        handed=[
            Infer.HandedPrefix(
                epoch=epoch,
                start=Infer.Position(tokens=begin, bytes=begin * 4),
                end=Infer.Position(tokens=end, bytes=end * 4),
            )
            for epoch, begin, end in prefixes
        ],
    )


def test_used_of_a_continued_answer_is_all_of_it_and_the_prompt_once() -> None:
    body = handed((1, 0, 10), (3, 10, 30))
    check_receipt(body, b"j" * 16, 4, "w", NETWORK)
    assert used(State.DONE, body, None) == Position(10, 50, 200)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(handed((1, 5, 10)), id="not from the beginning"),
        pytest.param(handed((1, 0, 10), (2, 11, 20)), id="a hole"),
        pytest.param(handed((1, 0, 10), (2, 9, 20)), id="an overlap"),
        pytest.param(handed((2, 0, 10), (1, 10, 20)), id="a later attempt first"),
        pytest.param(handed((4, 0, 10)), id="by the attempt itself"),
        pytest.param(handed((1, 0, 60)), id="beyond the end"),
    ],
)
def test_receipt_whose_handed_prefixes_do_not_add_up_is_refused(body: Infer.ReceiptBody) -> None:
    with pytest.raises(TetherError) as caught:
        check_receipt(body, b"j" * 16, 4, "w", NETWORK)
    assert (caught.value.reason, caught.value.field) == (Reason.INVALID_FIELD, "receipt")
