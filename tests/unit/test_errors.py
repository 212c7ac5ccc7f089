"""The table of errors is whole, and says the same as the contract."""

import re
from pathlib import Path

import grpc
import pytest

from tether.errors import TABLE, Reason, TetherError
from tether.v1 import error_pb2

PROTO = Path(__file__).parents[2] / "proto" / "tether" / "v1" / "error.proto"
PREFIX = "ERROR_REASON_"


def test_every_reason_has_a_row_and_no_row_is_alone() -> None:
    assert set(TABLE) == set(Reason)


def test_reasons_equal_those_of_the_contract() -> None:
    stated = {
        value.name.removeprefix(PREFIX): value.number
        for value in error_pb2.ErrorReason.DESCRIPTOR.values
        if value.number
    }
    assert {reason.name: reason.value for reason in Reason} == stated


@pytest.mark.parametrize("reason", list(Reason))
def test_code_equals_the_one_in_the_contract_comment(reason: Reason) -> None:
    comment = re.search(rf"// ([A-Z_]+): [^\n]*\n\s*{PREFIX}{reason.name} = ", PROTO.read_text())
    assert comment is not None
    assert comment[1] == TABLE[reason].code.name


@pytest.mark.parametrize("reason", list(Reason))
def test_row_is_sensible_at_every_edge(reason: Reason) -> None:
    row = TABLE[reason]
    assert row.code.name in grpc.StatusCode.__members__
    assert 400 <= row.http < 600
    assert 0 < row.exit < 128
    assert row.advice.endswith(".")


def test_error_text_names_reason_and_advice() -> None:
    text = str(TetherError(Reason.NO_WORKER, "No worker serves tether-demo."))
    assert text == "No worker serves tether-demo. (NO_WORKER) Start a worker for the model, or wait."
