"""The registry's store on PostgreSQL: one database, shared by any number of registries.

Every write locks the one row of the revision first, so that writes follow one another and their revisions become
visible in order; a registry that polls the revision misses nothing.
Source: docs/design/design.md §5; postgresql.org/docs/15/explicit-locking.html (row locks).
"""

import time
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

from tether.store import registry_work as work
from tether.store.migrate import load
from tether.store.postgres import Postgres
from tether.store.registry import StoreLimits
from tether.store.registry_sql import SqlRegistryStore

if TYPE_CHECKING:
    import asyncpg

T = TypeVar("T")
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
        database = _Database(await Postgres.open(url, load("postgres", "registry"), begin=lambda: _BEGIN))
        try:
            await database.write(lambda: work.begin(now_ms()))
        except BaseException:
            await database.close()
            raise
        return cls(database, limits or StoreLimits())


class _Database:
    """Drives works over connections."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def read(self, make: Callable[[], work.Work[T]]) -> T:
        async def in_one_state(connection: "asyncpg.Connection[Any]") -> T:
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                return await _drive(connection, make())

        return await self._postgres.read(in_one_state)

    async def write(self, make: Callable[[], work.Work[T]]) -> T:
        return await self._postgres.write(lambda connection: _drive(connection, make()))

    async def close(self) -> None:
        await self._postgres.close()


async def _drive(connection: "asyncpg.Connection[Any]", done: work.Work[T]) -> T:
    """Run a work to its end."""
    try:
        query, values = next(done)
        while True:
            query, values = done.send(await connection.fetch(_numbered(query), *values))
    except StopIteration as ended:
        result: T = ended.value
        return result


@lru_cache(maxsize=64)  # about forty statements there are
def _numbered(query: str) -> str:
    """Write `?` as `$1`, `$2`, …; no statement of the works has a question mark in its text."""
    parts = query.split("?")
    return parts[0] + "".join(f"${number}{part}" for number, part in enumerate(parts[1:], 1))
