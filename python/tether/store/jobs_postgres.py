"""The job store on PostgreSQL: for any number of orchestrators.

Each write transaction takes a lock that is shared by all writers before it compares the store's generation, and a fence
takes it for itself: so a fence waits for what is under way, and nothing that comes later gets through.
Source: docs/design/design.md §5; postgresql.org/docs/15/explicit-locking.html.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import asyncpg

from tether.store.jobs_store import Keep, SqlJobStore
from tether.store.migrate import load
from tether.store.postgres import Postgres
from tether.store.postgres_line import Patience
from tether.store.postgres_run import Clock, run
from tether.store.step import Program

T = TypeVar("T")
_KEEP = Keep()
_FENCE_LOCK = 0x7465_6665_6E63  # "tefenc"; shared by writers, taken alone by a fence
FENCE_ALONE = f"SELECT pg_advisory_xact_lock({_FENCE_LOCK})"


class PostgresDatabase:
    """Runs programs on PostgreSQL.

    Args:
        clock: wall clock, milliseconds since the Unix epoch; None for the server's.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._begin = "BEGIN"
        self._database: Postgres | None = None
        self._operations: dict[Any, Callable[[asyncpg.Connection, Sequence[Any]], Awaitable[Sequence[Any]]]] = {}

    async def open(self, url: str, replica: str, patience: Patience | None) -> None:
        """Connect, and bring the schema up to date; see `Postgres.open`."""
        self._database = await Postgres.open(
            url, load("postgres", "jobs"), replica=replica, patience=patience, begin=lambda: self._begin
        )

    @property
    def alone(self) -> bool:
        """Others may write too."""
        return False

    async def batch(self, program: Callable[[Sequence[Any]], Program[list[T]]], items: Sequence[Any]) -> list[T]:
        """See `Database.batch`."""
        operation = self._operations.get(program)
        if operation is None:
            operation = self._operations[program] = self._operation(program)
        return await self._open().batch(operation, items, repeatable=True)

    async def write(self, program: Callable[[], Program[T]]) -> T:
        """See `Database.write`."""
        return await self._open().write(lambda connection: run(connection, program(), self._clock), repeatable=True)

    async def read(self, program: Callable[[], Program[T]]) -> T:
        """See `Database.read`."""
        return await self._open().read(lambda connection: run(connection, program(), self._clock))

    async def browse(self, program: Callable[[], Program[T]]) -> T:
        """See `Database.browse`."""
        return await self._open().browse(lambda connection: run(connection, program(), self._clock))

    def enter(self, generation: int) -> None:
        """See `Database.enter`."""
        self._begin = (
            f"BEGIN; SELECT pg_advisory_xact_lock_shared({_FENCE_LOCK}); SELECT tether_fence({int(generation)})"
        )

    async def close(self) -> None:
        """See `Database.close`."""
        if self._database is not None:
            await self._database.close()

    def _open(self) -> Postgres:
        if self._database is None:
            raise RuntimeError("the database was not opened")
        return self._database

    def _operation(
        self, program: Callable[[Sequence[Any]], Program[list[T]]]
    ) -> Callable[[asyncpg.Connection, Sequence[Any]], Awaitable[list[T]]]:
        return lambda connection, items: run(connection, program(items), self._clock)


class PostgresJobStore(SqlJobStore):
    """`JobStore` in one PostgreSQL database."""

    @classmethod
    async def open(
        cls,
        url: str,
        now_ms: Clock = None,
        keep: Keep = _KEEP,
        *,
        replica: str = "",
        patience: Patience | None = None,
    ) -> SqlJobStore:
        """Open or create a store; see `tether.store.open_jobs`."""
        database = PostgresDatabase(now_ms)
        await database.open(url, replica, patience)
        return await cls.over(database, keep)
