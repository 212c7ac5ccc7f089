"""Migrations on PostgreSQL: one process at a time, all that are missing in one transaction.

An advisory lock lets any number of processes start at once: the first one migrates, the others find it done.
Source: dbmate's file format; postgresql.org/docs/15/explicit-locking.html.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

import asyncpg

from tether.store.migrate import Migration, missing
from tether.store.postgres_fault import as_error, is_fault
from tether.store.postgres_line import Patience, bad_url

_LOCK = 0x7465_7468_6572  # "tether"; transactions of migrations alone take it
_MIGRATE_S = 60.0  # a big table is rewritten in so long; others wait for it no longer
_APPLIED = "CREATE TABLE IF NOT EXISTS schema_migrations (store TEXT, version TEXT, PRIMARY KEY (store, version))"


async def apply(url: str, migrations: Sequence[Migration], patience: Patience) -> list[str]:
    """Bring a database to the newest schema.

    Args:
        url: `postgresql://…`.
        migrations: all that this version knows, of one store, by version.
        patience: time limits of connecting.

    Returns:
        Versions that were applied now.

    Raises:
        TetherError: STORE_UNAVAILABLE; STORE_UNUSABLE, when the database has a schema that this version does not know.
    """
    return await _alone(url, patience, lambda connection: _up(connection, migrations))


async def undo(url: str, migrations: Sequence[Migration], patience: Patience) -> list[str]:
    """Undo migrations, newest first; what their tables held is lost.

    Args:
        url: `postgresql://…`.
        migrations: those to undo.
        patience: time limits of connecting.

    Returns:
        Versions that were undone now.

    Raises:
        TetherError: STORE_UNAVAILABLE or STORE_UNUSABLE.
    """
    return await _alone(url, patience, lambda connection: _down(connection, migrations))


async def _alone(url: str, patience: Patience, work: Any) -> list[str]:  # noqa: ANN401 - private, two callers
    try:
        async with asyncio.timeout(patience.connect_s + _MIGRATE_S):
            connection = await _connect(url, patience)
            try:
                async with connection.transaction():
                    await connection.execute(f"SELECT pg_advisory_xact_lock({_LOCK})")
                    done: list[str] = await work(connection)
                    return done
            finally:
                connection.terminate()
    except Exception as error:
        if is_fault(error):
            raise as_error(error) from error
        raise


async def _connect(url: str, patience: Patience) -> asyncpg.Connection:
    try:
        return await asyncpg.connect(url, timeout=patience.connect_s, command_timeout=_MIGRATE_S)
    except (ValueError, OverflowError):  # no address, or no port; its words may hold the password
        raise bad_url() from None


async def _up(connection: asyncpg.Connection, migrations: Sequence[Migration]) -> list[str]:
    await connection.execute("SET LOCAL client_min_messages = warning")
    wanted = missing(await _applied(connection, migrations), migrations)
    for migration in wanted:
        await connection.execute("\n".join(migration.up))
        insert = "INSERT INTO schema_migrations (store, version) VALUES ($1, $2)"
        await connection.execute(insert, migration.store, migration.version)
    return [migration.version for migration in wanted]


async def _down(connection: asyncpg.Connection, migrations: Sequence[Migration]) -> list[str]:
    applied = await _applied(connection, migrations)
    gone = [migration for migration in reversed(migrations) if migration.version in applied]
    for migration in gone:
        await connection.execute("\n".join(migration.down))
        delete = "DELETE FROM schema_migrations WHERE store = $1 AND version = $2"
        await connection.execute(delete, migration.store, migration.version)
    return [migration.version for migration in gone]


async def _applied(connection: asyncpg.Connection, migrations: Sequence[Migration]) -> set[str]:
    if not await connection.fetchval("SELECT to_regclass('schema_migrations') IS NOT NULL"):
        await connection.execute(_APPLIED)
    store = migrations[0].store if migrations else ""
    rows = await connection.fetch("SELECT version FROM schema_migrations WHERE store = $1", store)
    return {row[0] for row in rows}
