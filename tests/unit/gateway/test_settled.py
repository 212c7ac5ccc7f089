"""Whose answer a job is done with: only the end that was written is delivered."""

import pytest

from tether.v1 import infer_pb2, placement_pb2
from tether_gateway.settler import Settled

DONE, ABANDONED = infer_pb2.JOB_STATE_DONE, infer_pb2.JOB_STATE_ABANDONED


@pytest.mark.parametrize(
    ("asked", "held", "receipt", "elsewhere"),
    [
        (DONE, DONE, b"mine", False),
        (DONE, DONE, b"", False),  # in the journal: nothing else is known
        (DONE, DONE, b"another's", True),
        (ABANDONED, DONE, b"another's", True),  # cut off here, finished elsewhere
        (ABANDONED, ABANDONED, b"", False),
        (DONE, ABANDONED, b"", False),
        (DONE, infer_pb2.JOB_STATE_CANCELLED, b"", False),
    ],
)
def test_an_end_is_delivered_where_it_is_the_one_that_holds(
    asked: infer_pb2.JobState.ValueType, held: infer_pb2.JobState.ValueType, receipt: bytes, elsewhere: bool
) -> None:
    request = placement_pb2.CompleteRequest(outcome=asked, receipt=infer_pb2.Infer.Receipt(body=b"mine"))
    assert Settled(held, infer_pb2.Infer.SETTLEMENT_COMMITTED, receipt).elsewhere(request) is elsewhere
