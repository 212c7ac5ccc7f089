"""What a file of an hour holds: sums per tenant, model and price, and in follow-up parts only what came late.

A part is what an hour comes to now less what its earlier parts said, so writing one needs no memory but the files, and
writing it again changes nothing.
Source: docs/billing.md.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from tether.errors import Reason, TetherError
from tether.store.jobs import UsageHour

HOUR_MS = 3_600_000
LOOK_BACK_HOURS = 168  # a region that was down for a week still writes its last hours
LOOKS_MS = (120_000, 900_000, 10_800_000)  # after an hour's end: when it is final, and twice for what came late
COUNTS = ("input_tokens", "output_tokens", "output_bytes", "cost_micros")
NAMES = ("tenant", "model", "version", "price_version")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Row = dict[str, str | int]


def file_name(hour: int, part: int) -> str:
    """Name a file without its ending: `2026-11-21T14`, and after that `2026-11-21T14.part-2`.

    Args:
        hour: since the Unix epoch, UTC.
        part: from 1.
    """
    start = (_EPOCH + timedelta(hours=hour)).strftime("%Y-%m-%dT%H")
    return start if part == 1 else f"{start}.part-{part}"


def due(now_ms: int, looked: Mapping[int, int]) -> list[int]:
    """Return the hours to look at now, oldest first.

    Args:
        now_ms: milliseconds since the Unix epoch.
        looked: how often each hour was looked at since the start.
    """
    this = now_ms // HOUR_MS
    hours = range(max(0, this - LOOK_BACK_HOURS), this)
    return [hour for hour in hours if looked.get(hour, 0) < looks_due(hour, now_ms)]


def looks_due(hour: int, now_ms: int) -> int:
    """Return how many looks an hour should have had by now."""
    over_ms = now_ms - (hour + 1) * HOUR_MS
    return sum(over_ms >= after_ms for after_ms in LOOKS_MS)


def missing(total: Iterable[UsageHour], written: Iterable[Row], region: str, hour: int) -> list[Row]:
    """Return the rows of the next part: what is used less what was written, where that is anything.

    Args:
        total: what the hour comes to now.
        written: rows of its earlier parts.
        region: slug.
        hour: since the Unix epoch, UTC.
    """
    sums: dict[tuple[str | int, ...], dict[str, int]] = {}
    for row in (*map(_row, total),):
        _add(sums, row, 1)
    for row in written:
        _add(sums, row, -1)
    start = (_EPOCH + timedelta(hours=hour)).isoformat().replace("+00:00", "Z")
    fixed: Row = {"hour": start, "region": region}
    return [
        {**fixed, **dict(zip(NAMES, names, strict=True)), **counts}
        for names, counts in sorted(sums.items(), key=lambda item: tuple(map(str, item[0])))
        if any(counts.values())
    ]


def to_lines(rows: Sequence[Row]) -> bytes:
    """Write rows as JSON Lines."""
    return "".join(json.dumps(row, separators=(",", ":"), ensure_ascii=False) + "\n" for row in rows).encode()


def from_lines(raw: bytes, name: str) -> list[Row]:
    """Read rows of a file that `to_lines` wrote.

    Raises:
        TetherError: STORE_CORRUPT where it is none.
    """
    try:
        rows = [json.loads(line) for line in raw.decode().splitlines()]
        return [
            {**{key: row[key] for key in ("hour", "region", *NAMES)}, **{key: int(row[key]) for key in COUNTS}}
            for row in rows
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise TetherError(
            Reason.STORE_CORRUPT, f"The usage file {name} is damaged: restore it, or remove it."
        ) from error


def _row(one: UsageHour) -> Row:
    return {
        "tenant": one.tenant,
        "model": one.model,
        "version": one.version,
        "price_version": one.price_version,
        "input_tokens": one.position.input_tokens,
        "output_tokens": one.position.output_tokens,
        "output_bytes": one.position.output_bytes,
        "cost_micros": one.cost_micros,
    }


def _add(sums: dict[tuple[str | int, ...], dict[str, int]], row: Row, times: int) -> None:
    counts = sums.setdefault(tuple(row[name] for name in NAMES), dict.fromkeys(COUNTS, 0))
    for count in COUNTS:
        counts[count] += times * int(row[count])
