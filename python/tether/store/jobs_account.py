"""Ledger rows and tenants' counters: gathered over a group of writes, then one row update per tenant.

A hot tenant's counter is one row; touching it once per group instead of once per job keeps it from being the limit.
"""

import sqlite3
from collections.abc import Iterable

from tether.job.hold import Entry, Position
from tether.store.jobs import JobRow

_ENTRY = "INSERT INTO ledger (job, entry, tenant, epoch, kind, held, settled, at_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
_COUNT = (
    "INSERT INTO accounts (tenant, held_tokens, settled_input, settled_output) VALUES (?, ?, ?, ?) "
    "ON CONFLICT (tenant) DO UPDATE SET held_tokens = held_tokens + excluded.held_tokens, "
    "settled_input = settled_input + excluded.settled_input, settled_output = settled_output + excluded.settled_output"
)
_USAGE = (
    "INSERT INTO usage (tenant, job, epoch, model, version, input_tokens, output_tokens, output_bytes, at_ms) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)


class Books:
    """What a group of writes changes in ledger, usage and counters.

    Args:
        now_ms: time of the group, milliseconds since the Unix epoch.
    """

    def __init__(self, now_ms: int) -> None:
        self._now_ms = now_ms
        self._entries: list[tuple[object, ...]] = []
        self._usage: list[tuple[object, ...]] = []
        self._counts: dict[str, list[int]] = {}

    def note(self, job: bytes, tenant: str, epoch: int, first: int, entries: Iterable[Entry]) -> int:
        """Add ledger rows of a job.

        Args:
            job: its id.
            tenant: who pays.
            epoch: attempt they belong to.
            first: number of the first row.
            entries: the rows.

        Returns:
            Number of the next row.
        """
        for entry in entries:
            row = (job, first, tenant, epoch, int(entry.kind), entry.held, entry.settled, self._now_ms)
            self._entries.append(row)
            self._count(tenant)[0] += entry.held
            first += 1
        return first

    def bill(self, row: JobRow, due: Position) -> None:
        """Add a usage row, where anything is due."""
        if due == Position():
            return
        subject = row.subject
        what = (subject.tenant, subject.job, row.epoch, subject.model, subject.version)
        self._usage.append((*what, due.input_tokens, due.output_tokens, due.output_bytes, self._now_ms))
        count = self._count(subject.tenant)
        count[1] += due.input_tokens
        count[2] += due.output_tokens

    def write(self, connection: sqlite3.Connection) -> None:
        """Write all of it."""
        connection.executemany(_ENTRY, self._entries)
        if self._usage:
            connection.executemany(_USAGE, self._usage)
        connection.executemany(_COUNT, [(tenant, *count) for tenant, count in self._counts.items()])

    def _count(self, tenant: str) -> list[int]:
        return self._counts.setdefault(tenant, [0, 0, 0])
