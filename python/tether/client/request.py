"""From Python arguments to `Infer.Request`: names are those of the proto, unset stays unset."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypedDict

from google.protobuf.duration_pb2 import Duration

from tether.errors import Reason, TetherError
from tether.v1.infer_pb2 import Infer


class Message(TypedDict):
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to answer; None leaves it to the model's default.

    Attributes:
        version: MAJOR.MINOR, or empty for the newest.
        max_tokens: most tokens to generate.
        temperature: 0 (greedy) to 2.
        top_p: over 0, up to 1.
        top_k: 1 to 1,000.
        stop: texts that end the answer.
        seed: seed of the sampler.
        frequency_penalty: -2 to 2.
        presence_penalty: -2 to 2.
        logprobs: alternatives to report with each token, 0 to 20.
        correlation_id: name of the request, so that a repeat is recognised.
        retry_token: second half of that name.
        on_disconnect: what happens when the client goes away; None as the service does by default.
        timeout_s: time for the whole job, seconds.
        json_schema: the answer is JSON that this schema allows: a schema, or its text.
        regex: the answer matches this whole.
        json_object: the answer is some JSON object.
        priority: scheduling class; None is `normal`.
        path: way of the chunks; None as policy says.
    """

    version: str = ""
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop: Sequence[str] = ()
    seed: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    logprobs: int = 0
    correlation_id: str = ""
    retry_token: str = ""
    on_disconnect: Literal["detach", "cancel"] | None = None
    timeout_s: float | None = None
    json_schema: Mapping[str, object] | str | None = None
    regex: str | None = None
    json_object: bool = False
    priority: Literal["low", "normal", "high"] | None = None
    path: Literal["direct", "relay"] | None = None


_PRIORITIES = {
    None: Infer.PRIORITY_UNSPECIFIED,
    "low": Infer.PRIORITY_LOW,
    "normal": Infer.PRIORITY_NORMAL,
    "high": Infer.PRIORITY_HIGH,
}
_PATHS = {None: Infer.PATH_UNSPECIFIED, "direct": Infer.PATH_DIRECT, "relay": Infer.PATH_RELAY}
_MODES = {
    None: Infer.ON_DISCONNECT_UNSPECIFIED,
    "detach": Infer.ON_DISCONNECT_DETACH,
    "cancel": Infer.ON_DISCONNECT_CANCEL,
}
_SAMPLING = ("max_tokens", "temperature", "top_p", "top_k", "seed", "frequency_penalty", "presence_penalty")


def build_request(model: str, prompt: str | Sequence[Message] | Infer.Tensors, options: Options) -> Infer.Request:
    """Make the request.

    Args:
        model: model's name, or `name:version`.
        prompt: text, a conversation, or tensors.
        options: how to answer.

    Raises:
        TetherError: INVALID_FIELD where a value does not fit its field at all; ranges are checked by the gateway.
    """
    name, _, version = model.partition(":")
    try:
        request = Infer.Request(
            model_id=name,
            version=options.version or version,
            input=_input(prompt),
            parameters=_parameters(options),
            correlation_id=options.correlation_id,
            retry_token=options.retry_token,
            stream=Infer.StreamOptions(on_disconnect=_MODES[options.on_disconnect], path=_PATHS[options.path]),
            priority=_PRIORITIES[options.priority],
        )
    except (TypeError, ValueError, KeyError) as error:
        raise TetherError(Reason.INVALID_FIELD, f"the request cannot be made: {error}") from error
    if options.timeout_s is not None:
        request.timeout.CopyFrom(_duration(options.timeout_s))
    return request


def _input(prompt: str | Sequence[Message] | Infer.Tensors) -> Infer.Input:
    if isinstance(prompt, str):
        return Infer.Input(text=prompt)
    if isinstance(prompt, Infer.Tensors):
        return Infer.Input(tensors=prompt)
    return Infer.Input(chat=Infer.Chat(messages=[_message(one) for one in prompt]))


def _message(one: Message) -> Infer.Message:
    return Infer.Message(role=one["role"], content=one["content"])


def _parameters(options: Options) -> Infer.Parameters:
    given = {name: getattr(options, name) for name in _SAMPLING if getattr(options, name) is not None}
    return Infer.Parameters(
        **given, stop=options.stop, logprobs=options.logprobs, response_format=_response_format(options)
    )


def _response_format(options: Options) -> Infer.ResponseFormat | None:
    """What the answer must look like, or None."""
    schema = options.json_schema
    if schema is not None:
        return Infer.ResponseFormat(json_schema=schema if isinstance(schema, str) else json.dumps(schema))
    if options.regex is not None:
        return Infer.ResponseFormat(regex=options.regex)
    return Infer.ResponseFormat(json_object=True) if options.json_object else None


def _duration(seconds: float) -> Duration:
    if not 0 < seconds <= 3600:  # the range that Infer.Request states
        raise TetherError(Reason.INVALID_FIELD, "timeout_s must be over 0 and at most 3600", field="timeout")
    duration = Duration()
    duration.FromNanoseconds(int(seconds * 1e9))
    return duration
