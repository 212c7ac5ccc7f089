"""Reads fields of a JSON object, each refused with its path where it has another type than it must."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from tether.errors import Reason, TetherError

FLOAT32_MAX = 3.4e38  # what the contract's floats hold; ranges are the gateway's rules
UINT32_MAX = (1 << 32) - 1
SEED_MIN, SEED_MAX = -(1 << 63), (1 << 64) - 1  # OpenAI's seeds are signed, ours are not; both are 64 bits

Object = Mapping[str, Any]


def parse(body: bytes) -> Object:
    """Parse a request's body.

    Raises:
        TetherError: MALFORMED where it is no UTF-8 JSON object, or holds NaN or Infinity.
    """
    try:
        value = json.loads(body.decode(), parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise TetherError(Reason.MALFORMED, "The body is no JSON that this API takes.") from error
    if not isinstance(value, dict):
        raise TetherError(Reason.MALFORMED, "The body must be a JSON object.")
    return value


def text(value: object, param: str) -> str:
    """Return a string."""
    if not isinstance(value, str):
        raise wrong(param, value, "a string")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise TetherError(Reason.MALFORMED, f"{param} holds half a character.", field=param) from error
    return value


def integer(value: object, param: str, low: int = 0, high: int = UINT32_MAX) -> int:
    """Return a whole number from `low` to `high`; 5.0 is one too."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise wrong(param, value, "a whole number")
    if not low <= value <= high:
        raise TetherError(Reason.INVALID_FIELD, f"{param} must be {low} to {high}.", field=param)
    return value


def number(value: object, param: str) -> float:
    """Return a finite number."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise wrong(param, value, "a number")
    if not (-FLOAT32_MAX <= value <= FLOAT32_MAX) or not math.isfinite(value):
        raise TetherError(Reason.INVALID_FIELD, f"{param} is out of range.", field=param)
    return float(value)


def flag(value: object, param: str) -> bool:
    """Return true or false."""
    if not isinstance(value, bool):
        raise wrong(param, value, "true or false")
    return value


def items(value: object, param: str) -> Sequence[Any]:
    """Return a list."""
    if not isinstance(value, list):
        raise wrong(param, value, "a list")
    return value


def object_(value: object, param: str, allowed: frozenset[str] | None = None) -> Object:
    """Return an object without its null fields; fields that are not `allowed` are refused."""
    if not isinstance(value, dict):
        raise wrong(param, value, "an object")
    given = {key: one for key, one in value.items() if one is not None}
    for key in given:
        if allowed is not None and key not in allowed:
            raise unknown(f"{param}.{key}" if param else key)
    return given


def required(given: Object, key: str, param: str = "") -> Any:  # noqa: ANN401  the caller's reader says what it is
    """Return a field that must be there."""
    if key not in given:
        path = f"{param}.{key}" if param else key
        raise TetherError(Reason.INVALID_FIELD, f"{path} is missing.", field=path)
    return given[key]


def wrong(param: str, value: object, rule: str) -> TetherError:
    """Return the error of a field of another type."""
    names = {dict: "an object", list: "a list", str: "a string", bool: "true or false", type(None): "null"}
    found = names.get(type(value), "a number")
    return TetherError(Reason.INVALID_FIELD, f"{param} is {found}; it must be {rule}.", field=param)


def unknown(param: str) -> TetherError:
    """Return the error of a field that this API does not have."""
    return TetherError(Reason.UNKNOWN_FIELD, f"{param[:80]!a} is no field of this request.", field=param[:80])


def unsupported(param: str, what: str) -> TetherError:
    """Return the error of something that OpenAI's API has and Tether does not do."""
    return TetherError(Reason.UNSUPPORTED, f"{param}: {what} not supported.", field=param)


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")
