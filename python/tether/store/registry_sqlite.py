"""The registry's store on SQLite: one file, owned by one registry.

Source: docs/design/design.md §5.
"""

import time
from collections.abc import Callable
from pathlib import Path

from tether.store import registry_work as work
from tether.store.migrate import load
from tether.store.registry import StoreLimits
from tether.store.registry_sql import SqlRegistryStore
from tether.store.work_sqlite import SqliteWorks


class SqliteRegistryStore(SqlRegistryStore):
    """`RegistryStore` over one SQLite file."""

    @classmethod
    async def open(
        cls,
        path: Path,
        limits: StoreLimits | None = None,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> "SqliteRegistryStore":
        """Open or create a store.

        Args:
            path: database file; its folder must exist.
            limits: how much it keeps.
            now_ms: wall clock, milliseconds since the Unix epoch; where a new store's revision begins.

        Raises:
            TetherError: STORE_UNAVAILABLE, or an error of the schema where a newer Tether wrote it.
        """
        database = await SqliteWorks.open(path, load("sqlite", "registry"))
        try:
            await database.write(lambda: work.begin(now_ms()))
        except BaseException:
            await database.close()
            raise
        return cls(database, limits or StoreLimits())
