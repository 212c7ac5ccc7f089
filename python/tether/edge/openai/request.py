"""Requests of OpenAI's API, as `Infer.Request`s with what the answer needs to know.

`model` is `name` or `name:version`; the header `Idempotency-Key` is the correlation id, so that a repeat of it gets the
same answer and no second charge.
"""

import json
from dataclasses import dataclass
from enum import Enum

from tether import name
from tether.edge.openai import field, message, parameter
from tether.errors import Reason, TetherError
from tether.v1.infer_pb2 import Infer

TOP_LOGPROBS_MAX = 20  # as the contract says
COMPLETION_LOGPROBS_MAX = 5  # as OpenAI's completions say

_SHARED = parameter.PARAMETERS | {"model", "stream", "stream_options"}
_CHAT = _SHARED | {
    "messages",
    "max_completion_tokens",
    "logprobs",
    "top_logprobs",
    "response_format",
    "tools",
    "tool_choice",
}
_COMPLETION = _SHARED | {"prompt", "logprobs"}
_STREAM_OPTIONS = frozenset({"include_usage", "include_obfuscation"})


class Kind(Enum):
    """Which form the answer has."""

    CHAT = "chat"
    COMPLETION = "completion"


@dataclass(frozen=True, slots=True)
class Call:
    """A request of OpenAI's API.

    Attributes:
        kind: form of the answer.
        request: what is sent to a gateway.
        stream: whether the answer is a stream of events.
        include_usage: whether the stream ends with an event that tells the usage.
        logprobs: whether log probabilities are told.
        alternatives: how many of a token's rivals are told.
    """

    kind: Kind
    request: Infer.Request
    stream: bool
    include_usage: bool
    logprobs: bool
    alternatives: int

    @property
    def keyed(self) -> bool:
        """Whether the client named the request, so that sending it again is safe."""
        return bool(self.request.correlation_id)


def read_chat(body: bytes, idempotency_key: str = "") -> Call:
    """Read a request of `POST /v1/chat/completions`.

    Args:
        body: JSON.
        idempotency_key: the header of that name, or empty.

    Raises:
        TetherError: MALFORMED, INVALID_FIELD, UNKNOWN_FIELD or UNSUPPORTED, with the name of the field.
    """
    given = field.object_(field.parse(body), "")
    parameter.refuse_unknown(given, _CHAT)
    request = _request(given, idempotency_key)
    message.read_messages(field.required(given, "messages"), request.input.chat)
    if "max_completion_tokens" in given:
        limit = field.integer(given["max_completion_tokens"], "max_completion_tokens", 1)
        request.parameters.max_tokens = limit
    if "response_format" in given:
        _read_format(given["response_format"], request.parameters)
    if "tools" in given:
        message.read_tools(given["tools"], request.parameters)
    if "tool_choice" in given:
        request.parameters.tool_choice = message.read_tool_choice(given["tool_choice"])
    wanted = field.flag(given.get("logprobs", False), "logprobs")
    alternatives = field.integer(given.get("top_logprobs", 0), "top_logprobs", 0, TOP_LOGPROBS_MAX)
    if alternatives and not wanted:
        text = "top_logprobs needs logprobs to be true."
        raise TetherError(Reason.INVALID_FIELD, text, field="top_logprobs")
    return _call(Kind.CHAT, given, request, alternatives if wanted else None)


def read_completion(body: bytes, idempotency_key: str = "") -> Call:
    """Read a request of `POST /v1/completions`; arguments and errors as of `read_chat`."""
    given = field.object_(field.parse(body), "")
    parameter.refuse_unknown(given, _COMPLETION)
    request = _request(given, idempotency_key)
    request.input.text = _prompt(field.required(given, "prompt"))
    alternatives = None
    if "logprobs" in given:
        alternatives = field.integer(given["logprobs"], "logprobs", 0, COMPLETION_LOGPROBS_MAX)
    return _call(Kind.COMPLETION, given, request, alternatives)


def refuse_embeddings(body: bytes) -> TetherError:
    """Return the answer to `POST /v1/embeddings`: no model here makes them yet."""
    given = field.object_(field.parse(body), "")
    field.text(field.required(given, "model"), "model")
    return TetherError(Reason.UNSUPPORTED, "No published model makes embeddings.", field="model")


def _request(given: field.Object, idempotency_key: str) -> Infer.Request:
    """Return a request without its input."""
    model_id, version = name.model_and_version(field.text(field.required(given, "model"), "model"), "model")
    if idempotency_key and not name.is_token(idempotency_key):
        text = f"Idempotency-Key must be 1 to {name.TOKEN_BYTES_MAX} visible ASCII characters."
        raise TetherError(Reason.INVALID_FIELD, text, field="Idempotency-Key")
    request = Infer.Request(model_id=model_id, version=version, correlation_id=idempotency_key)
    parameter.read(given, request.parameters)
    return request


def _call(kind: Kind, given: field.Object, request: Infer.Request, alternatives: int | None) -> Call:
    """Put a call together; the contract asks for alternatives where only the token itself is wanted, so ask for one."""
    if alternatives is not None:
        request.parameters.logprobs = max(1, alternatives)
    stream = field.flag(given.get("stream", False), "stream")
    options = field.object_(given.get("stream_options", {}), "stream_options", _STREAM_OPTIONS)
    if options and not stream:
        text = "stream_options needs stream to be true."
        raise TetherError(Reason.INVALID_FIELD, text, field="stream_options")
    include_usage = field.flag(options.get("include_usage", False), "stream_options.include_usage")
    return Call(kind, request, stream, include_usage, alternatives is not None, alternatives or 0)


def _prompt(value: object) -> str:
    """Return the prompt: a text, or a list of one."""
    if isinstance(value, list):
        if len(value) != 1 or not isinstance(value[0], str):
            raise field.unsupported("prompt", "several prompts, or prompts of tokens, are")
        return field.text(value[0], "prompt[0]")
    return field.text(value, "prompt")


def _read_format(value: object, parameters: Infer.Parameters) -> None:
    """Fill in the form that the answer must have."""
    form = field.object_(value, "response_format")
    match field.text(field.required(form, "type", "response_format"), "response_format.type"):
        case "text":
            return
        case "json_object":
            parameters.response_format.json_object = True
        case "json_schema":
            named = field.object_(field.required(form, "json_schema", "response_format"), "response_format.json_schema")
            schema = field.object_(named.get("schema", {}), "response_format.json_schema.schema")
            parameters.response_format.json_schema = json.dumps(schema, separators=(",", ":"))
        case "regex":  # Tether's own
            expression = field.required(form, "regex", "response_format")
            parameters.response_format.regex = field.text(expression, "response_format.regex")
        case _:
            raise field.unsupported("response_format.type", "this form is")
