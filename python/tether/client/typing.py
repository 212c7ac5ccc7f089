"""Keyword arguments of the clients' calls, as a typed dictionary; meanings stand in `Options`."""

from collections.abc import Mapping, Sequence
from typing import Literal, TypedDict


class OptionValues(TypedDict, total=False):
    """Fields of `Options`, each optional."""

    version: str
    max_tokens: int | None
    temperature: float | None
    top_p: float | None
    top_k: int | None
    stop: Sequence[str]
    seed: int | None
    frequency_penalty: float | None
    presence_penalty: float | None
    logprobs: int
    correlation_id: str
    retry_token: str
    on_disconnect: Literal["detach", "cancel"] | None
    timeout_s: float | None
    json_schema: Mapping[str, object] | str | None
    regex: str | None
    json_object: bool
    priority: Literal["low", "normal", "high"] | None
    path: Literal["direct", "relay"] | None
