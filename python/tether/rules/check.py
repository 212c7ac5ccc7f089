"""The few kinds of rule that all others are made of: a range, a length, a count, a choice."""

import math
from collections.abc import Collection, Sized

from tether.errors import Reason, TetherError


def refusal(field: str, found: str, rule: str) -> TetherError:
    """Make the error of a field that breaks its rule."""
    return TetherError(Reason.INVALID_FIELD, f"{field} is {found}; it must be {rule}.", field=field)


def number(field: str, value: float, low: float, high: float, *, over: bool = False) -> None:
    """Require `low` <= value <= `high` (`low` < value with `over`), and that it is finite."""
    fits = math.isfinite(value) and (low < value if over else low <= value) and value <= high
    if not fits:
        rule = f"over {low:g}, up to {high:g}" if over else f"{low:g} to {high:g}"
        raise refusal(field, f"{value:g}", rule)


def text(field: str, value: str, bytes_max: int, bytes_min: int = 0) -> None:
    """Require `bytes_min` to `bytes_max` bytes of UTF-8 without NUL, which not every database keeps."""
    size = len(value.encode())
    if "\0" in value:
        raise refusal(field, "text with a NUL", "text without one")
    if not bytes_min <= size <= bytes_max:
        raise refusal(field, f"{size} bytes", f"{bytes_min} to {bytes_max} bytes")


def count(field: str, items: Sized, most: int, least: int = 0) -> None:
    """Require `least` to `most` items."""
    if not least <= len(items) <= most:
        raise refusal(field, f"{len(items)} items", f"{least} to {most}")


def size(field: str, value: bytes, exactly: int) -> None:
    """Require an exact number of bytes."""
    if len(value) != exactly:
        raise refusal(field, f"{len(value)} bytes", f"{exactly} bytes")


def choice(field: str, value: int, allowed: Collection[int]) -> None:
    """Require a value that an enum knows; proto3 lets any number through."""
    if value not in allowed:
        raise refusal(field, str(value), f"one of {', '.join(map(str, sorted(allowed)))}")


def holds(field: str, *, ok: bool, found: str, rule: str) -> None:
    """Require `ok`."""
    if not ok:
        raise refusal(field, found, rule)
