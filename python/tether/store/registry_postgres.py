"""The registry's store on PostgreSQL: one database, shared by any number of registries.

Every write locks the one row of the revision first, so that writes follow one another and their revisions become
visible in order; a registry that polls the revision misses nothing.
Source: docs/design/design.md §5; postgresql.org/docs/15/explicit-locking.html (row locks).
"""

import time
from collections.abc import Callable

from tether.store import registry_work as work
from tether.store.migrate import load
from tether.store.registry import StoreLimits
from tether.store.registry_sql import SqlRegistryStore
from tether.store.work_postgres import PostgresWorks

_BEGIN = f"BEGIN; {work.REVISION} FOR UPDATE"


class PostgresRegistryStore(SqlRegistryStore):
    """`RegistryStore` over one PostgreSQL database."""

    @classmethod
    async def open(
        cls,
        url: str,
        limits: StoreLimits | None = None,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> "PostgresRegistryStore":
        """Connect, and bring the schema up to date.

        Args:
            url: `postgresql://…`.
            limits: how much it keeps.
            now_ms: wall clock, milliseconds since the Unix epoch; where a new store's revision begins.

        Raises:
            TetherError: STORE_UNAVAILABLE, or STORE_UNUSABLE for an address, a role or a schema that cannot be used.
        """
        database = await PostgresWorks.open(url, load("postgres", "registry"), _BEGIN)
        try:
            await database.write(lambda: work.begin(now_ms()))
        except BaseException:
            await database.close()
            raise
        return cls(database, limits or StoreLimits())
