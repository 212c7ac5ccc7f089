"""Faults that a simulated engine is ordered to have, as a setting writes them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Faults:
    """Faults on order; empty texts and a rate of 0 order none.

    Attributes:
        poison_text: a prompt that contains it ends the process at once, with nothing said.
        fail_text: a prompt that contains it fails ENGINE_FAILED.
        stall_text: a prompt that contains it makes nothing more, and never ends by itself.
        fail_rate: share of attempts that fail ENGINE_FAILED, 0 to 1.
        after_tokens: tokens of the answer that come before any of these.
    """

    poison_text: str = ""
    fail_text: str = ""
    stall_text: str = ""
    fail_rate: float = 0.0
    after_tokens: int = 0


_KINDS: dict[str, Callable[[str], Any]] = {
    "poison_text": str,
    "fail_text": str,
    "stall_text": str,
    "fail_rate": float,
    "after_tokens": int,
}


def read_faults(text: str) -> Faults:
    """Faults as a setting writes them: `poison_text=BOOM,fail_rate=0.01`; none for an empty one.

    Raises:
        ValueError: an unknown name, or a value out of range.
    """
    given: dict[str, Any] = {}
    for part in filter(None, text.split(",")):
        name, _, value = part.partition("=")
        if name not in _KINDS or not value:
            raise ValueError(f"write name=value, separated by commas; names are {', '.join(_KINDS)}")
        given[name] = _KINDS[name](value)
    faults = Faults(**given)
    if not 0 <= faults.fail_rate <= 1 or faults.after_tokens < 0:
        raise ValueError("fail_rate is 0 to 1, after_tokens is not negative")
    return faults
