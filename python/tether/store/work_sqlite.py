"""Runs works on SQLite's threads.

A work is a generator of statements (see `registry_work`); each runs in one transaction.
"""

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from tether.store.migrate import Migration
from tether.store.registry_work import Work, drive
from tether.store.sqlite import Sqlite

T = TypeVar("T")


class SqliteWorks:
    """A SQLite file that runs works.

    Args:
        sqlite: open, with the newest schema.
    """

    def __init__(self, sqlite: Sqlite) -> None:
        self._sqlite = sqlite

    @classmethod
    async def open(cls, path: Path, migrations: Sequence[Migration]) -> "SqliteWorks":
        """Open or create a file, and bring its schema up to date.

        Raises:
            TetherError: STORE_UNAVAILABLE, or an error of the schema where a newer Tether wrote it.
        """
        return cls(await Sqlite.open(path, migrations))

    async def read(self, make: Callable[[], Work[T]]) -> T:
        """Run a work that only reads; it sees one committed state."""
        return await self._sqlite.read(lambda connection: _drive(connection, make()))

    async def write(self, make: Callable[[], Work[T]]) -> T:
        """Run a work in a transaction; durable on return."""
        return await self._sqlite.write(lambda connection: _drive(connection, make()))

    async def close(self) -> None:
        """Finish what was asked and let go; the same again does nothing."""
        await self._sqlite.close()


def _drive(connection: sqlite3.Connection, done: Work[T]) -> T:
    return drive(done, lambda statement: connection.execute(*statement).fetchall())
