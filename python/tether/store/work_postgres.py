"""Runs works on PostgreSQL.

A work is a generator of statements (see `registry_work`); each runs in one transaction.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

from tether.store.migrate import Migration
from tether.store.postgres import Postgres
from tether.store.registry_work import Work

if TYPE_CHECKING:
    import asyncpg

T = TypeVar("T")


class PostgresWorks:
    """A PostgreSQL database that runs works.

    Args:
        postgres: open, with the newest schema.
    """

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    @classmethod
    async def open(cls, url: str, migrations: Sequence[Migration], begin: str = "BEGIN") -> "PostgresWorks":
        """Connect, and bring the schema up to date.

        Args:
            url: `postgresql://…`.
            migrations: all that the store needs, by version.
            begin: SQL that opens each write transaction.

        Raises:
            TetherError: STORE_UNAVAILABLE, or STORE_UNUSABLE for an address, a role or a schema that cannot be used.
        """
        return cls(await Postgres.open(url, migrations, begin=lambda: begin))

    async def read(self, make: Callable[[], Work[T]]) -> T:
        """Run a work that only reads; it sees one committed state."""

        async def in_one_state(connection: "asyncpg.Connection[Any]") -> T:
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                return await _drive(connection, make())

        return await self._postgres.read(in_one_state)

    async def write(self, make: Callable[[], Work[T]]) -> T:
        """Run a work in a transaction; durable on return."""
        return await self._postgres.write(lambda connection: _drive(connection, make()))

    async def close(self) -> None:
        """Finish what was asked and let go; the same again does nothing."""
        await self._postgres.close()


async def _drive(connection: "asyncpg.Connection[Any]", done: Work[T]) -> T:
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
