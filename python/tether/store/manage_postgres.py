"""An operator's work on a job store in PostgreSQL, over a connection of its own."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import asyncpg

from tether.store.jobs_postgres import FENCE_ALONE
from tether.store.migrate import load
from tether.store.postgres_fault import as_error, is_fault
from tether.store.postgres_line import Patience
from tether.store.postgres_migrate import apply
from tether.store.postgres_run import run
from tether.store.step import Program

T = TypeVar("T")
_PROMOTE_S = 60  # the replica replays what it has received
_STATEMENT_S = 3_600.0  # a page of an export is quick; an operator's check of a huge store is not
_LOCK_MS = 10_000  # a fence waits so long for the writes under way


async def migrate(url: str) -> list[str]:
    """Bring a schema up to date; see `tether.store.manage.migrate_jobs`."""
    return await apply(url, load("postgres", "jobs"), Patience())


async def transact(url: str, program: Callable[[], Program[T]], *, writes: bool) -> T:
    """Run a program in one transaction: alone where it writes, else seeing one committed state.

    Raises:
        TetherError: STORE_UNAVAILABLE, STORE_UNUSABLE or STORE_CORRUPT.
    """
    async with _connected(url) as connection:
        isolation = "read_committed" if writes else "repeatable_read"
        async with connection.transaction(isolation=isolation, readonly=not writes):
            if writes:
                await connection.execute(f"SET LOCAL lock_timeout = {_LOCK_MS}; {FENCE_ALONE}")
            return await run(connection, program(), None)


async def promote(url: str) -> None:
    """Make a replica a primary; one that is a primary already stays it.

    Raises:
        TetherError: STORE_UNAVAILABLE.
    """
    async with _connected(url) as connection:
        if await connection.fetchval("SELECT pg_is_in_recovery()"):
            await connection.execute("SELECT pg_promote(true, $1)", _PROMOTE_S)


@asynccontextmanager
async def _connected(url: str) -> AsyncIterator[asyncpg.Connection]:
    try:
        async with asyncio.timeout(Patience().connect_s):
            connection = await asyncpg.connect(
                url, command_timeout=_STATEMENT_S, server_settings={"application_name": "tether", "timezone": "UTC"}
            )
        try:
            yield connection
        finally:
            connection.terminate()
    except Exception as error:
        if is_fault(error):
            raise as_error(error) from error
        raise
