"""The job store on SQLite: the embedded default, for exactly one orchestrator.

Source: docs/design/design.md §5.
"""

import secrets
import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tether.job.key import SECRET_BYTES, job_id
from tether.job.state import State
from tether.store import jobs_keep, jobs_write
from tether.store.jobs import (
    LIST_MAX,
    Attempt,
    Completion,
    Existing,
    JobRow,
    Refused,
    Reservation,
    Reserved,
    Session,
    Settled,
)
from tether.store.jobs_row import COLUMNS, find_whole, whole
from tether.store.migrate import load
from tether.store.sqlite import Sqlite

_STORE_ID_BYTES = 16
_META = "INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT DO NOTHING"
_RENEW = (
    "INSERT INTO sessions (session, node, incarnation, beat, at_ms) VALUES (?, ?, ?, ?, ?) "
    "ON CONFLICT (session) DO UPDATE SET beat = max(beat + 1, excluded.beat), at_ms = excluded.at_ms"
)
_LIST = (
    f"SELECT {COLUMNS} FROM jobs WHERE number < ? AND (? = '' OR tenant = ?) AND (? = 0 OR state = ?) "  # noqa: S608
    "ORDER BY number DESC LIMIT ?"
)
_NUMBER_MAX = 2**63 - 1


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


class SqliteJobStore:
    """`JobStore` over one SQLite file."""

    def __init__(self, database: Sqlite, store_id: bytes, secret: bytes, now_ms: Callable[[], int]) -> None:
        self._database = database
        self._store_id = store_id
        self._secret = secret
        self._now_ms = now_ms
        self._reserve, self._attempt, self._complete = self._write_reserve, jobs_write.attempt, self._write_complete

    @classmethod
    async def open(cls, path: Path, now_ms: Callable[[], int] = _now_ms) -> "SqliteJobStore":
        """Open or create a store.

        Args:
            path: database file; its folder must exist.
            now_ms: wall clock, milliseconds since the Unix epoch.

        Returns:
            The open store.

        Raises:
            TetherError: STORE_UNAVAILABLE, or STATE_UNUSABLE for a schema of a newer Tether.
        """
        database = await Sqlite.open(path, load("sqlite", "jobs"))
        try:
            meta = await database.write(_draw_meta)
        except BaseException:
            await database.close()
            raise
        return cls(database, meta["store_id"], meta["job_secret"], now_ms)

    @property
    def store_id(self) -> bytes:
        """16 bytes, drawn at creation."""
        return self._store_id

    def job_id(self, tenant: str, correlation_id: str, retry_token: str) -> bytes:
        """The id of a key, 16 bytes."""
        return job_id(self._secret, tenant, correlation_id, retry_token)

    async def reserve(self, batch: Sequence[Reservation]) -> list[Reserved | Existing | Refused]:
        """See `JobStore.reserve`."""
        return await self._database.batch(self._reserve, batch)

    async def attempt(self, batch: Sequence[Attempt]) -> list[Reserved | Existing | Refused]:
        """See `JobStore.attempt`."""
        return await self._database.batch(self._attempt, batch)

    async def complete(self, batch: Sequence[Completion]) -> list[Settled | Refused]:
        """See `JobStore.complete`."""
        return await self._database.batch(self._complete, batch)

    async def renew(self, sessions: Sequence[Session]) -> None:
        """See `JobStore.renew`."""
        at_ms = self._now_ms()
        rows = [(row.session, row.node, row.incarnation, row.beat, at_ms) for row in sessions]
        await self._database.write(lambda connection: _many(connection, _RENEW, rows))

    async def leave(self, session_id: bytes) -> None:
        """See `JobStore.leave`."""
        statement = "DELETE FROM sessions WHERE session = ?"
        await self._database.write(lambda connection: _many(connection, statement, [(session_id,)]))

    async def sessions(self) -> list[Session]:
        """See `JobStore.sessions`."""
        return await self._database.read(_sessions)

    async def get(self, job: bytes) -> JobRow | None:
        """See `JobStore.get`."""
        return await self._database.read(lambda connection: find_whole(connection, job))

    async def list(self, *, tenant: str, state: State | None, before: int, limit: int) -> Sequence[JobRow]:
        """See `JobStore.list`."""
        number = int(state) if state is not None else 0
        values = (before or _NUMBER_MAX, tenant, tenant, number, number, max(1, min(limit, LIST_MAX)))
        return await self._database.browse(lambda connection: _page(connection, values))

    async def undriven(self, standing: Sequence[bytes], after: tuple[int, int], limit: int) -> Sequence[JobRow]:
        """See `JobStore.undriven`."""
        bounded = max(1, min(limit, LIST_MAX))
        return await self._database.browse(lambda connection: jobs_keep.undriven(connection, standing, after, bounded))

    async def expire(self, limit: int) -> int:
        """See `JobStore.expire`."""
        return await self._database.write(lambda connection: self._write_expire(connection, limit))

    async def purge(self, limit: int) -> int:
        """See `JobStore.purge`."""
        return await self._database.write(lambda connection: jobs_keep.purge(connection, self._now_ms(), limit))

    async def check(self) -> Sequence[str]:
        """See `JobStore.check`."""
        return await self._database.browse(jobs_keep.check)

    async def close(self) -> None:
        """See `JobStore.close`."""
        await self._database.close()

    def _write_reserve(
        self, connection: sqlite3.Connection, batch: Sequence[Reservation]
    ) -> Sequence[Reserved | Existing | Refused]:
        return jobs_write.reserve(connection, batch, self._now_ms())

    def _write_complete(
        self, connection: sqlite3.Connection, batch: Sequence[Completion]
    ) -> Sequence[Settled | Refused]:
        return jobs_write.complete(connection, batch, self._now_ms())

    def _write_expire(self, connection: sqlite3.Connection, limit: int) -> int:
        due = jobs_keep.overdue(connection, self._now_ms(), limit)
        jobs_write.complete(connection, due, self._now_ms())
        return len(due)


def _draw_meta(connection: sqlite3.Connection) -> dict[str, bytes]:
    """The facts of the store, drawn when it is new."""
    connection.execute(_META, ("store_id", secrets.token_bytes(_STORE_ID_BYTES)))
    connection.execute(_META, ("job_secret", secrets.token_bytes(SECRET_BYTES)))
    return dict(connection.execute("SELECT name, value FROM meta").fetchall())


def _many(connection: sqlite3.Connection, statement: str, rows: Sequence[tuple[object, ...]]) -> None:
    connection.executemany(statement, rows)


def _sessions(connection: sqlite3.Connection) -> list[Session]:
    return [Session(*row) for row in connection.execute("SELECT session, node, incarnation, beat FROM sessions")]


def _page(connection: sqlite3.Connection, values: tuple[object, ...]) -> list[JobRow]:
    rows = connection.execute(_LIST, values).fetchall()
    return [whole(connection, row).bare() for row in rows]
