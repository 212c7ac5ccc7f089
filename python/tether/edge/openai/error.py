"""Errors of the closed set, as OpenAI's clients expect them: status, headers, body.

A client of OpenAI's retries 408, 409, 429 and 5xx by itself and sends no key with it, so every error says whether that
is safe: `x-should-retry`, and how long to wait: `retry-after-ms`.
Source: the `openai` Python client's `_base_client.py` and `_exceptions.py`.
"""

import json
import math
import re
from collections.abc import Mapping

from tether.errors import Reason, TetherError

WAIT_S = 1.0  # where a reason that passes names no time
WAIT_S_MAX = 60.0  # a client's automatic retries wait no longer; more is for a person to decide
_BUSY_STATUS = 429

_CODES: Mapping[Reason, str] = {
    Reason.MODEL_UNKNOWN: "model_not_found",
    Reason.VERSION_UNKNOWN: "model_not_found",
    Reason.KEY_MISSING: "invalid_api_key",
    Reason.KEY_INVALID: "invalid_api_key",
    Reason.CONTEXT_EXCEEDED: "context_length_exceeded",
    Reason.RATE_LIMITED: "rate_limit_exceeded",
    Reason.QUOTA_EXCEEDED: "insufficient_quota",
    Reason.UNKNOWN_FIELD: "unknown_parameter",
}
_TYPES: Mapping[int, str] = {401: "authentication_error", 403: "permission_error", _BUSY_STATUS: "rate_limit_error"}

# A repeat of these may run the work twice unless the client named it.
_RAN = frozenset({Reason.WORKER_LOST, Reason.SETTLEMENT_FAILED, Reason.ENGINE_FAILED, Reason.UNREACHABLE})

_FIELDS: Mapping[str, str] = {
    "model_id": "model",
    "version": "model",
    "correlation_id": "Idempotency-Key",
    "parameters.choices": "n",
    "parameters.logprobs": "logprobs",
    "input.text": "prompt",
}
_PREFIXES = ("input.chat.", "parameters.")
_TOOL = re.compile(r"tools\[(\d+)\]\.(name|description|parameters)(_json)?$")


def status(error: TetherError) -> int:
    """Return the HTTP status."""
    return error.row.http


def body(error: TetherError) -> bytes:
    """Return the JSON body; also what an error event in a stream holds."""
    return json.dumps({"error": describe(error)}, ensure_ascii=False).encode()


def describe(error: TetherError) -> dict[str, str | None]:
    """Return message, type, param and code."""
    code = _CODES.get(error.reason, error.reason.name.lower())
    named = param(error.field)
    message = error.message.replace(error.field, named) if named else error.message
    return {"message": f"{message} {error.row.advice}", "type": _type(error), "param": named, "code": code}


def param(path: str) -> str | None:
    """Return OpenAI's name of a field of the contract."""
    if path in _FIELDS:
        return _FIELDS[path]
    for prefix in _PREFIXES:
        path = path.removeprefix(prefix)
    return _TOOL.sub(r"tools[\1].function.\2", path) or None


def headers(error: TetherError, *, keyed: bool = False) -> list[tuple[str, str]]:
    """Return the headers that tell a client what to do next.

    Args:
        error: what happened.
        keyed: whether the client named the request, so that a repeat cannot run it twice.
    """
    again = should_retry(error, keyed=keyed)
    made = [("x-should-retry", "true" if again else "false"), ("x-tether-reason", error.reason.name)]
    wait_s = error.retry_after_s if error.retry_after_s is not None else WAIT_S
    if error.row.again and math.isfinite(wait_s):
        made.append(("retry-after-ms", str(max(0, round(wait_s * 1_000)))))
        made.append(("retry-after", str(max(0, math.ceil(wait_s)))))
    return made


def should_retry(error: TetherError, *, keyed: bool) -> bool:
    """Tell whether a client may send the same request again by itself."""
    if not error.row.again or (error.reason in _RAN and not keyed):
        return False
    return (error.retry_after_s or 0.0) <= WAIT_S_MAX


def _type(error: TetherError) -> str:
    if error.reason is Reason.QUOTA_EXCEEDED:
        return "insufficient_quota"
    http = error.row.http
    if http in _TYPES:
        return _TYPES[http]
    fault = http >= 500 and error.reason not in {Reason.UNSUPPORTED, Reason.METHOD_UNKNOWN}
    return "server_error" if fault else "invalid_request_error"
