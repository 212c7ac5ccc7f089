"""Rules of a request and of its header: names, ranges, sizes, and what a model can do at all."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from enum import IntEnum

from google.protobuf.duration_pb2 import Duration

from tether import name
from tether.errors import Reason, TetherError
from tether.rules import check
from tether.rules.content import check_input
from tether.rules.parameters import check_adapters, check_parameters
from tether.v1 import control_pb2, infer_pb2, placement_pb2

TIMEOUT_S_MIN, TIMEOUT_S_MAX = 0.001, 3_600.0
HASH_BYTES = 32
INPUT_TOKENS_MAX = 1 << 32  # beyond any context; what is held for it stays far from what a database holds
PREFIX_HASHES_MAX, PREFIX_HASH_BYTES = 32, 8
UNKNOWN_SHOWN_MAX = 8  # enough to find the client's fault

JobName = infer_pb2.CancelRequest | infer_pb2.GetJobRequest | control_pb2.LookupJobRequest


class InputKind(IntEnum):
    """Which kind of input a request has; values are the field numbers of `Infer.Input.kind`."""

    NONE = 0
    TEXT = 1
    CHAT = 2
    TENSORS = 3
    SEALED = 4


@dataclass(frozen=True, slots=True)
class Limits:
    """What a place allows beyond what the contract fixes.

    Attributes:
        input_bytes_max: largest input in bytes.
        context_tokens: the model's context; 0 where it is not known yet.
    """

    input_bytes_max: int = 1 << 20  # the contract's default: a few hundred pages of text
    context_tokens: int = 0


TEXT_LIMITS = Limits()


def check_cut(unknown: Sequence[int], input_kind: int, *, utf8: bool) -> None:
    """Check what the native cut of a raw request says of it.

    Args:
        unknown: numbers of the fields that this version does not know.
        input_kind: field number of the input's kind; 0 where there is none.
        utf8: whether all its text is UTF-8.

    Raises:
        TetherError: UNKNOWN_FIELD, MALFORMED, or INVALID_FIELD at `input`.
    """
    if unknown:
        numbers = ", ".join(map(str, unknown[:UNKNOWN_SHOWN_MAX]))
        raise TetherError(
            Reason.UNKNOWN_FIELD,
            f"The request has fields that are not known here: {numbers}.",
            metadata={"fields": numbers},
        )
    if not utf8:
        raise TetherError(Reason.MALFORMED, "The request has text that is no UTF-8.")
    if input_kind == InputKind.NONE:
        raise check.refusal("input", "empty", "text, chat, tensors or sealed")


def check_header(header: placement_pb2.Header, limits: Limits = TEXT_LIMITS) -> None:
    """Check a request without its input, as a client sent it: ids may still be empty.

    Raises:
        TetherError: INVALID_FIELD, or TOO_LARGE at `input`.
    """
    if header.tenant_id:
        name.tenant(header.tenant_id)
    name.model(header.model_id)
    if header.version:
        name.version(header.version)
    for field, value in (("correlation_id", header.correlation_id), ("retry_token", header.retry_token)):
        if value:
            _check_token(field, value)
    _check_size(header.input_bytes, limits)
    check_parameters(header.parameters, limits.context_tokens)
    if header.adapters:
        check_adapters(header.adapters)
    check.choice("priority", header.priority, infer_pb2.Infer.Priority.values())
    check.choice("stream.on_disconnect", header.on_disconnect, infer_pb2.Infer.OnDisconnect.values())
    check.choice("stream.path", header.path, infer_pb2.Infer.Path.values())
    if header.HasField("timeout"):
        _check_timeout("timeout", header.timeout)


def check_place(header: placement_pb2.Header, limits: Limits = TEXT_LIMITS) -> None:
    """Check a header as a gateway sends it to an orchestrator: all is filled in.

    Raises:
        TetherError: INVALID_FIELD, or TOO_LARGE at `input`.
    """
    check_header(header, limits)
    name.tenant(header.tenant_id)
    _check_token("correlation_id", header.correlation_id)
    check.size("request_hash", header.request_hash, HASH_BYTES)
    stated = header.on_disconnect != infer_pb2.Infer.ON_DISCONNECT_UNSPECIFIED
    check.holds("on_disconnect", ok=stated, found="not stated", rule="DETACH or CANCEL")
    check.number("input_tokens_max", header.input_tokens_max, 0, INPUT_TOKENS_MAX)
    check.count("prefix_hashes", header.prefix_hashes, PREFIX_HASHES_MAX)
    for index, prefix in enumerate(header.prefix_hashes):
        check.size(f"prefix_hashes[{index}]", prefix, PREFIX_HASH_BYTES)


def check_request(request: infer_pb2.Infer.Request, limits: Limits = TEXT_LIMITS) -> None:
    """Check a whole request, input and all.

    Raises:
        TetherError: INVALID_FIELD, or TOO_LARGE at `input`.
    """
    header = placement_pb2.Header(
        tenant_id=request.tenant_id,
        model_id=request.model_id,
        version=request.version,
        correlation_id=request.correlation_id,
        retry_token=request.retry_token,
        input_bytes=request.input.ByteSize(),
        parameters=request.parameters,
        adapters=request.adapters,
        priority=request.priority,
        timeout=request.timeout if request.HasField("timeout") else None,
        on_disconnect=request.stream.on_disconnect,
        path=request.stream.path,
    )
    check_header(header, limits)
    if request.trace_id:
        check_trace_id(request.trace_id)
    check_input(request.input)


def check_trace_id(trace_id: str) -> None:
    """Check a W3C trace id: 32 lower-case hex digits, not all zero.

    Raises:
        TetherError: INVALID_FIELD at `trace_id`.
    """
    digits = set(trace_id)
    ok = len(trace_id) == 32 and digits <= set("0123456789abcdef") and digits != {"0"}
    check.holds("trace_id", ok=ok, found="no trace id", rule="32 lower-case hex digits, not all zero")


def check_job_name(request: JobName) -> None:
    """Check that a job is named either by its id or by its key.

    Raises:
        TetherError: INVALID_FIELD.
    """
    if request.job_id:
        name.job_id(request.job_id)
        keyed = bool(request.correlation_id or request.retry_token)
        check.holds("correlation_id", ok=not keyed, found="there beside job_id", rule="empty where job_id is given")
        return
    check.holds("job_id", ok=bool(request.correlation_id), found="empty", rule="there, or correlation_id")
    _check_token("correlation_id", request.correlation_id)
    if request.retry_token:
        _check_token("retry_token", request.retry_token)


_KIND_CAPABILITY = {
    InputKind.TEXT: "text",
    InputKind.CHAT: "chat",
    InputKind.TENSORS: "tensors",
    InputKind.SEALED: "sealed",
}
# What a request may ask for beyond plain text, the capability that it needs, and the field that asks.
_FEATURES: tuple[tuple[str, str, Callable[[placement_pb2.Header], bool]], ...] = (
    ("choices", "parameters.choices", lambda header: header.parameters.choices > 1),
    ("logprobs", "parameters.logprobs", lambda header: header.parameters.logprobs > 0),
    ("response-format", "parameters.response_format", lambda header: header.parameters.HasField("response_format")),
    ("tools", "parameters.tools", lambda header: len(header.parameters.tools) > 0),
    ("adapters", "adapters", lambda header: len(header.adapters) > 0),
)


def check_supported(
    header: placement_pb2.Header, capabilities: Collection[str], input_kind: int = InputKind.NONE
) -> None:
    """Check that a model can do what a request asks.

    Args:
        header: the request.
        capabilities: of the model: `text`, `chat`, `tensors`, `sealed`, `choices`, `logprobs`, `response-format`,
            `tools`, `adapters`.
        input_kind: field number of the input's kind; 0 leaves it unchecked.

    Raises:
        TetherError: UNSUPPORTED at the field that asks.
    """
    needed = _KIND_CAPABILITY.get(InputKind(input_kind)) if input_kind in _KIND_CAPABILITY else None
    if needed is not None and needed not in capabilities:
        raise _unsupported(header.model_id, needed, "input", capabilities)
    for capability, field, asks in _FEATURES:
        if capability not in capabilities and asks(header):
            raise _unsupported(header.model_id, capability, field, capabilities)


def _unsupported(model_id: str, capability: str, field: str, capabilities: Collection[str]) -> TetherError:
    can = ", ".join(sorted(capabilities)) or "nothing"
    message = f"{model_id} does not do {capability} ({field}); it does {can}."
    return TetherError(Reason.UNSUPPORTED, message, field=field, metadata={"capability": capability})


def _check_token(field: str, value: str) -> None:
    check.holds(
        field, ok=name.is_token(value), found=f"{len(value)} characters", rule="1 to 128 visible ASCII characters"
    )


def _check_size(input_bytes: int, limits: Limits) -> None:
    if input_bytes > limits.input_bytes_max:
        found, most = str(input_bytes), str(limits.input_bytes_max)
        raise TetherError(
            Reason.TOO_LARGE,
            f"The input has {found} bytes; {most} are allowed.",
            field="input",
            metadata={"bytes": found, "bytes_max": most},
        )


def _check_timeout(field: str, timeout: Duration) -> None:
    """Check that a time is 1 ms to 1 h, and a well-formed Duration."""
    whole = 0 <= timeout.nanos < 1_000_000_000
    check.holds(field, ok=whole, found="malformed", rule="a Duration from 1 ms to 1 h")
    check.number(field, timeout.seconds + timeout.nanos / 1e9, TIMEOUT_S_MIN, TIMEOUT_S_MAX)


def time_left_s(field: str, time: Duration) -> float:
    """Seconds of a time that may be over already, and may be longer than any job.

    Raises:
        TetherError: INVALID_FIELD for one that is negative or no Duration.
    """
    whole = 0 <= time.nanos < 1_000_000_000 and time.seconds >= 0
    check.holds(field, ok=whole, found="negative or malformed", rule="a Duration from 0")
    return time.seconds + time.nanos / 1e9
