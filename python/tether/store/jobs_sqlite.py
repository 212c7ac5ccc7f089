"""The job store on SQLite: the embedded default, for exactly one orchestrator.

Source: docs/design/design.md §5.
"""

import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from tether.errors import Reason, TetherError
from tether.store.jobs_meta import fenced_words
from tether.store.jobs_store import Keep, SqlJobStore
from tether.store.migrate import load
from tether.store.sqlite import Sqlite
from tether.store.sqlite_run import run
from tether.store.step import Program

T = TypeVar("T")
_KEEP = Keep()
_GENERATION = "SELECT value FROM numbers WHERE name = 'generation'"


def wall_ms() -> int:
    """The wall clock, milliseconds since the Unix epoch."""
    return time.time_ns() // 1_000_000


class SqliteDatabase:
    """Runs programs on SQLite.

    Args:
        database: the executor.
        now_ms: wall clock, milliseconds since the Unix epoch.
    """

    def __init__(self, database: Sqlite, now_ms: Callable[[], int]) -> None:
        self._database = database
        self._now_ms = now_ms
        self._generation: int | None = None
        self._operations: dict[Any, Callable[[sqlite3.Connection, Sequence[Any]], Sequence[Any]]] = {}

    @property
    def alone(self) -> bool:
        """Nobody else writes."""
        return True

    async def batch(self, program: Callable[[Sequence[Any]], Program[list[T]]], items: Sequence[Any]) -> list[T]:
        """See `Database.batch`."""
        operation = self._operations.get(program)
        if operation is None:
            operation = self._operations[program] = self._operation(program)
        return await self._database.batch(operation, items)

    async def write(self, program: Callable[[], Program[T]]) -> T:
        """See `Database.write`."""
        return await self._database.write(lambda connection: self._run(connection, program()))

    async def read(self, program: Callable[[], Program[T]]) -> T:
        """See `Database.read`."""
        return await self._database.read(lambda connection: run(connection, program(), self._now_ms()))

    async def browse(self, program: Callable[[], Program[T]]) -> T:
        """See `Database.browse`."""
        return await self._database.browse(lambda connection: run(connection, program(), self._now_ms()))

    def enter(self, generation: int) -> None:
        """See `Database.enter`."""
        self._generation = generation

    async def close(self) -> None:
        """See `Database.close`."""
        await self._database.close()

    def _operation(
        self, program: Callable[[Sequence[Any]], Program[list[T]]]
    ) -> Callable[[sqlite3.Connection, Sequence[Any]], Sequence[T]]:
        return lambda connection, items: self._run(connection, program(items))

    def _run(self, connection: sqlite3.Connection, program: Program[T]) -> T:
        if self._generation is not None and connection.execute(_GENERATION).fetchone()[0] != self._generation:
            raise TetherError(Reason.STORE_UNUSABLE, fenced_words())
        return run(connection, program, self._now_ms())


class SqliteJobStore(SqlJobStore):
    """`JobStore` over one SQLite file."""

    @classmethod
    async def open(cls, path: Path, now_ms: Callable[[], int] = wall_ms, keep: Keep = _KEEP) -> "SqlJobStore":
        """Open or create a store.

        Args:
            path: database file; its folder must exist.
            now_ms: wall clock, milliseconds since the Unix epoch.
            keep: how it is kept.

        Returns:
            The open store.

        Raises:
            TetherError: STORE_UNAVAILABLE, STORE_CORRUPT, or STORE_UNUSABLE for a schema of a newer Tether.
        """
        return await cls.over(SqliteDatabase(await Sqlite.open(path, load("sqlite", "jobs")), now_ms), keep)
