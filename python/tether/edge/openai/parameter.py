"""Sampling parameters that chat and completions share, and the fields that change nothing here."""

from collections.abc import Callable, Mapping
from typing import Any

from tether.edge.openai import field
from tether.v1.infer_pb2 import Infer

STOP_MAX = 8  # as the contract says; OpenAI's own limit is 4
CHOICES_MAX = 8
PARAMETERS = frozenset(
    {"temperature", "top_p", "top_k", "stop", "seed", "frequency_penalty", "presence_penalty", "n", "max_tokens"}
)

# Fields of OpenAI's API that change nothing in an answer, and the values with which they do not.
_ANY: Callable[[Any], bool] = lambda _: True  # noqa: E731
NEUTRAL: Mapping[str, Callable[[Any], bool]] = {
    "user": _ANY,
    "metadata": _ANY,
    "safety_identifier": _ANY,
    "prompt_cache_key": _ANY,
    "prompt_cache_retention": _ANY,
    "parallel_tool_calls": _ANY,
    "store": lambda value: value is False,
    "service_tier": lambda value: value in ("auto", "default"),
    "modalities": lambda value: value == ["text"],
    "logit_bias": lambda value: value == {},
    "reasoning_effort": lambda value: value == "none",
    "verbosity": lambda value: value == "medium",
    "functions": lambda value: value == [],
    "function_call": lambda value: value == "none",
    "suffix": lambda value: value == "",
    "echo": lambda value: value is False,
    "best_of": lambda value: value == 1,
    "audio": lambda _: False,
    "prediction": lambda _: False,
    "web_search_options": lambda _: False,
    "moderation": lambda _: False,
}


def read(given: field.Object, parameters: Infer.Parameters) -> None:
    """Fill in what the sampling fields say; ranges are the gateway's rules.

    Raises:
        TetherError: INVALID_FIELD, naming the field.
    """
    if "max_tokens" in given:
        parameters.max_tokens = field.integer(given["max_tokens"], "max_tokens", 1)
    for name in ("temperature", "top_p", "frequency_penalty", "presence_penalty"):
        if name in given:
            setattr(parameters, name, field.number(given[name], name))
    if "top_k" in given:
        parameters.top_k = field.integer(given["top_k"], "top_k")
    if "seed" in given:
        parameters.seed = field.integer(given["seed"], "seed", field.SEED_MIN, field.SEED_MAX) % (1 << 64)
    if "n" in given:
        parameters.choices = field.integer(given["n"], "n", 1, CHOICES_MAX)
    if "stop" in given:
        parameters.stop.extend(_stops(given["stop"]))


def refuse_unknown(given: field.Object, known: frozenset[str]) -> None:
    """Pass where every field is known, or changes nothing.

    Raises:
        TetherError: UNSUPPORTED for a field of OpenAI's that Tether cannot do, UNKNOWN_FIELD for any other.
    """
    for name, value in given.items():
        if name in known:
            continue
        if name not in NEUTRAL:
            raise field.unknown(name)
        if not NEUTRAL[name](value):
            raise field.unsupported(name, "this value is")


def _stops(value: object) -> list[str]:
    """Return the stop texts: one, or a list."""
    if isinstance(value, str):
        return [field.text(value, "stop")]
    stops = field.items(value, "stop")
    if len(stops) > STOP_MAX:
        raise field.wrong("stop", value, f"at most {STOP_MAX} texts")
    return [field.text(one, f"stop[{index}]") for index, one in enumerate(stops)]
