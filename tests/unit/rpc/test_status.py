"""Errors on the wire and back."""

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc import aio
from hypothesis import given, settings
from hypothesis import strategies as st

from tether.errors import TABLE, Reason, TetherError
from tether.rpc import status


def rpc_error(error: TetherError) -> aio.AioRpcError:
    trailing = aio.Metadata(*status.trailers(error))
    return aio.AioRpcError(status.code_of(error.row.code), aio.Metadata(), trailing, "text")


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_survives_the_wire(reason: Reason) -> None:
    error = TetherError(reason, "It broke.", field="a.b", retry_after_s=1.25, metadata={"k": "v"})
    back = status.from_rpc_error(rpc_error(error))
    assert (back.reason, back.field, back.retry_after_s, back.metadata) == (reason, "a.b", 1.25, {"k": "v"})
    assert back.message == "It broke."


@settings(max_examples=50, deadline=None)
@given(message=st.text(max_size=1_100), field=st.text(max_size=20), wait_s=st.none() | st.floats(0, 1e6))
def test_any_error_survives_the_wire(message: str, field: str, wait_s: float | None) -> None:
    back = status.from_rpc_error(rpc_error(TetherError(Reason.OVERLOADED, message, field=field, retry_after_s=wait_s)))
    assert back.reason is Reason.OVERLOADED
    assert back.retry_after_s == pytest.approx(wait_s, abs=1e-9) if wait_s is not None else back.retry_after_s is None


def test_status_message_equals_the_call_details() -> None:
    error = TetherError(Reason.KEY_MISSING, "No key")
    assert status.to_status(error).message == f"No key. {TABLE[Reason.KEY_MISSING].advice}"


def test_quota_errors_carry_quota_failure() -> None:
    error = TetherError(Reason.QUOTA_EXCEEDED, "Used up.", metadata={"tenant_id": "demo"})
    quota = error_details_pb2.QuotaFailure()
    assert any(detail.Unpack(quota) for detail in status.to_status(error).details)
    assert quota.violations[0].subject == "tenant:demo"


def test_pushback_is_set_only_where_the_same_may_be_sent_again() -> None:
    shed = dict(status.trailers(TetherError(Reason.OVERLOADED, "Full.", retry_after_s=0.25)))
    assert shed[status.PUSHBACK_KEY] == "250"
    assert status.PUSHBACK_KEY not in dict(status.trailers(TetherError(Reason.OVERLOADED, "Full.")))
    final = TetherError(Reason.TOO_MANY_ATTEMPTS, "Wait.", retry_after_s=3)
    assert status.PUSHBACK_KEY not in dict(status.trailers(final))


def test_wire_is_bounded() -> None:
    facts = {f"{i}" * 400: "€" * 10_000 for i in range(100)}
    error = TetherError(Reason.QUOTA_EXCEEDED, "€" * 100_000, field="f" * 1_000, retry_after_s=1, metadata=facts)
    sent = status.trailers(error)
    assert sum(len(key) + len(value) * 4 // 3 for key, value in sent) < 6_500
    assert status.from_rpc_error(rpc_error(error)).message.startswith("€€€")


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (grpc.StatusCode.UNAVAILABLE, Reason.UNREACHABLE),
        (grpc.StatusCode.DEADLINE_EXCEEDED, Reason.DEADLINE),
        (grpc.StatusCode.UNIMPLEMENTED, Reason.METHOD_UNKNOWN),
        (grpc.StatusCode.UNKNOWN, Reason.INTERNAL),
    ],
)
def test_errors_without_details_fall_back_to_their_code(code: grpc.StatusCode, reason: Reason) -> None:
    error = status.from_rpc_error(aio.AioRpcError(code, aio.Metadata(), aio.Metadata(), "gone"), peer="gateway")
    assert error.reason is reason
    assert "gateway" in error.message


@pytest.mark.parametrize("details", [b"\xff\xff", status_pb2.Status(code=5).SerializeToString()])
def test_foreign_details_are_not_trusted(details: bytes) -> None:
    trailing = aio.Metadata((status.DETAILS_KEY, details))
    error = aio.AioRpcError(grpc.StatusCode.NOT_FOUND, aio.Metadata(), trailing, "odd")
    assert status.from_rpc_error(error).reason is Reason.INTERNAL


def test_unknown_reason_of_a_newer_peer_falls_back() -> None:
    detail = error_details_pb2.ErrorInfo(reason="BRAND_NEW", domain="tether")
    sent = status_pb2.Status(code=14)
    sent.details.add().Pack(detail)
    trailing = aio.Metadata((status.DETAILS_KEY, sent.SerializeToString()))
    error = aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, aio.Metadata(), trailing, "odd")
    assert status.from_rpc_error(error).reason is Reason.UNREACHABLE
