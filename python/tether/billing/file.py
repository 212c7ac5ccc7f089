"""Writes each hour's usage as files: JSON Lines, and Parquet made from those lines.

The lines are what counts: a Parquet file that a crash left out is made from them at the next look.
Source: docs/billing.md; parquet.apache.org.
"""

import importlib.util
from collections.abc import Sequence
from typing import Protocol

from tether.billing import hour as hours
from tether.billing import metrics
from tether.billing.place import UsagePlace
from tether.errors import Reason, TetherError
from tether.store.jobs import UsageHour

PARTS_MAX = 100  # follow-ups of an hour; three looks make three
LINES, PARQUET = ".jsonl", ".parquet"


class Hours(Protocol):
    """What is needed of the job store."""

    async def usage_hour(self, hour: int) -> Sequence[UsageHour]:
        """Return what was used in an hour."""


class HourFiles:
    """Keeps a place up to date.

    Args:
        store: what was used.
        place: where files go.
        region: slug.
        parquet: whether Parquet files are written too.
    """

    def __init__(self, store: Hours, place: UsagePlace, region: str, *, parquet: bool) -> None:
        self._store = store
        self._place = place
        self._region = region
        self._parquet = parquet
        self._looked: dict[int, int] = {}

    async def round(self, now_ms: int) -> int:
        """Write what is due; returns how many parts were written.

        Args:
            now_ms: milliseconds since the Unix epoch.

        Raises:
            TetherError: STORE_UNAVAILABLE, STORE_CORRUPT or STATE_UNUSABLE; what is left is written later.
        """
        written = 0
        for hour in hours.due(now_ms, self._looked):
            written += await self._write(hour)
            self._looked[hour] = hours.looks_due(hour, now_ms)
        oldest = now_ms // hours.HOUR_MS - hours.LOOK_BACK_HOURS
        self._looked = {hour: looks for hour, looks in self._looked.items() if hour >= oldest}
        return written

    async def _write(self, hour: int) -> bool:
        """Write the next part of an hour, where there is anything to say."""
        told, part = await self._told(hour)
        rows = hours.missing(await self._store.usage_hour(hour), told, self._region, hour)
        if not rows:
            return False
        if part > PARTS_MAX:
            raise TetherError(
                Reason.STORE_CORRUPT, f"The usage files of {hours.file_name(hour, 1)} have too many parts."
            )
        name = hours.file_name(hour, part)
        made = await self._place.create(name + LINES, hours.to_lines(rows))
        if made:
            metrics.FILES.labels("jsonl").inc()
            await self._make_parquet(name, rows)
        return made

    async def _told(self, hour: int) -> tuple[list[hours.Row], int]:
        """Return the rows of an hour's parts, and the number of the next part."""
        told: list[hours.Row] = []
        for part in range(1, PARTS_MAX + 1):
            name = hours.file_name(hour, part)
            raw = await self._place.read(name + LINES)
            if raw is None:
                return told, part
            rows = hours.from_lines(raw, name + LINES)
            await self._make_parquet(name, rows)
            told += rows
        return told, PARTS_MAX + 1

    async def _make_parquet(self, name: str, rows: Sequence[hours.Row]) -> None:
        """Write a part's Parquet file, unless it is there."""
        if not self._parquet or await self._place.read(name + PARQUET) is not None:
            return
        from tether.billing.parquet import to_parquet  # noqa: PLC0415  pyarrow is an extra, and slow to import

        if await self._place.create(name + PARQUET, to_parquet(rows)):
            metrics.FILES.labels("parquet").inc()


def require_parquet() -> None:
    """Pass where Parquet can be written.

    Raises:
        TetherError: STATE_UNUSABLE, naming the extra.
    """
    if importlib.util.find_spec("pyarrow") is None:
        text = "Parquet files need pyarrow: pip install 'tether-mesh[billing]', or set usage_formats to jsonl."
        raise TetherError(Reason.STATE_UNUSABLE, text, field="usage_formats")
