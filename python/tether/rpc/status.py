"""`TetherError` on the wire, and back: google.rpc.Status in the trailing metadata of a call.

ErrorInfo names the reason; BadRequest, RetryInfo and QuotaFailure say more where there is more to say. What may be sent
again later also carries `grpc-retry-pushback-ms`, which gRPC's own retries honour.
Source: google/rpc/error_details.proto; gRFC A6 (pushback); AIP-193.
"""

from collections.abc import Iterable, Mapping
from typing import NoReturn, Protocol, cast

import grpc
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2
from grpc import aio

from tether.errors import DOMAIN, TABLE, Code, Reason, TetherError

DETAILS_KEY = "grpc-status-details-bin"
PUSHBACK_KEY = "grpc-retry-pushback-ms"
MESSAGE_BYTES_MAX = 512  # most peers drop metadata over 8 KiB, and this travels up to four times, in base64 too
FACT_BYTES_MAX = 128  # a fact is a name or a number
FACTS_MAX = 8  # errors with more are for people, and those read the log
PUSHBACK_MS_MAX = 3_600_000  # an hour; longer is "do not"

_QUOTA = frozenset({Reason.QUOTA_EXCEEDED, Reason.RATE_LIMITED})
_CODES = {code.value[0]: code for code in grpc.StatusCode}
_FALLBACK: Mapping[grpc.StatusCode, Reason] = {
    grpc.StatusCode.CANCELLED: Reason.JOB_CANCELLED,
    grpc.StatusCode.INVALID_ARGUMENT: Reason.MALFORMED,
    grpc.StatusCode.DEADLINE_EXCEEDED: Reason.DEADLINE,
    grpc.StatusCode.PERMISSION_DENIED: Reason.ROLE_FORBIDDEN,
    grpc.StatusCode.UNAUTHENTICATED: Reason.NODE_TOKEN_INVALID,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Reason.OVERLOADED,
    grpc.StatusCode.UNIMPLEMENTED: Reason.METHOD_UNKNOWN,
    grpc.StatusCode.UNAVAILABLE: Reason.UNREACHABLE,
}


class Abortable(Protocol):
    """The part of a servicer context that ends a call."""

    async def abort(
        self,
        code: grpc.StatusCode,
        details: str = "",
        trailing_metadata: aio.Metadata | tuple[tuple[str, str | bytes], ...] = (),
    ) -> NoReturn:
        """End the call."""


def code_of(code: Code) -> grpc.StatusCode:
    """Return grpc's name of a google.rpc code."""
    return _CODES[code.value]


def to_status(error: TetherError) -> status_pb2.Status:
    """Write an error as google.rpc.Status; long texts are cut."""
    status = status_pb2.Status(code=error.row.code.value, message=_wire_text(error))
    for detail in _details(error):
        status.details.add().Pack(detail)
    return status


def from_status(status: status_pb2.Status) -> TetherError | None:
    """Read an error back, or return None where the status holds none of ours."""
    info, bad, retry = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
    for detail in status.details:
        for message in (info, bad, retry):
            detail.Unpack(message)
    reason = Reason.__members__.get(info.reason)
    if info.domain != DOMAIN or reason is None:
        return None
    wait_s = retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9
    return TetherError(
        reason,
        status.message.removesuffix(TABLE[reason].advice).rstrip(),
        field=bad.field_violations[0].field if bad.field_violations else "",
        retry_after_s=wait_s if retry.HasField("retry_delay") else None,
        metadata=dict(info.metadata),
    )


def trailers(error: TetherError) -> tuple[tuple[str, str | bytes], ...]:
    """Return the trailing metadata that carries an error."""
    details: tuple[tuple[str, str | bytes], ...] = ((DETAILS_KEY, to_status(error).SerializeToString()),)
    if error.row.again and error.retry_after_s is not None:
        pushback_ms = min(max(int(error.retry_after_s * 1_000), 0), PUSHBACK_MS_MAX)
        details += ((PUSHBACK_KEY, str(pushback_ms)),)
    return details


async def abort(context: Abortable, error: TetherError) -> NoReturn:
    """End a call with an error, details and all."""
    await context.abort(code_of(error.row.code), _wire_text(error), trailers(error))


def from_rpc_error(error: aio.AioRpcError | grpc.RpcError, *, peer: str = "the peer") -> TetherError:
    """Turn what a call raised into an error of the closed set.

    Args:
        error: what a grpc or grpc.aio call raised.
        peer: who was called, for the message of an error that carries no details.
    """
    metadata = cast("Iterable[tuple[str, bytes | str]] | None", error.trailing_metadata())
    for key, value in metadata or ():
        if key == DETAILS_KEY and (found := _parsed(value)) is not None:
            return found
    code, text = error.code(), error.details() or ""
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and "larger than max" in text:
        return TetherError(Reason.TOO_LARGE, f"The message is larger than {peer} takes.")
    reason = _FALLBACK.get(code, Reason.INTERNAL)
    return TetherError(reason, f"{peer} answered {code.name}: {_cut(text)}", metadata={"code": code.name})


def _parsed(raw: bytes | str) -> TetherError | None:
    """Read the details of a status, or return None where they are not ours."""
    try:
        return from_status(status_pb2.Status.FromString(raw if isinstance(raw, bytes) else raw.encode()))
    except DecodeError:
        return None


def _wire_text(error: TetherError) -> str:
    """Return message and advice as one line."""
    message = _cut(error.message, MESSAGE_BYTES_MAX).rstrip()
    stop = "" if message.endswith((".", "!", "?")) else "."
    return f"{message}{stop} {error.row.advice}"


def _cut(text: str, bytes_max: int = FACT_BYTES_MAX) -> str:
    """Cut a text at a whole character, and replace what cannot be sent as UTF-8."""
    return text[:bytes_max].encode(errors="replace")[:bytes_max].decode(errors="ignore")


def _details(error: TetherError) -> Iterable[Message]:
    """Yield the details that an error has."""
    facts = list(error.metadata.items())[:FACTS_MAX]
    metadata = {_cut(key): _cut(str(value)) for key, value in facts}
    yield error_details_pb2.ErrorInfo(reason=error.reason.name, domain=DOMAIN, metadata=metadata)
    if error.field:
        violation = error_details_pb2.BadRequest.FieldViolation(
            field=_cut(error.field), description=_cut(error.message, MESSAGE_BYTES_MAX)
        )
        yield error_details_pb2.BadRequest(field_violations=[violation])
    if error.retry_after_s is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromNanoseconds(max(int(error.retry_after_s * 1e9), 0))
        yield retry
    if error.reason in _QUOTA:
        subject = f"tenant:{error.metadata['tenant_id']}" if "tenant_id" in error.metadata else "tenant"
        quota = error_details_pb2.QuotaFailure.Violation(
            subject=subject, description=_cut(error.message, MESSAGE_BYTES_MAX)
        )
        yield error_details_pb2.QuotaFailure(violations=[quota])
