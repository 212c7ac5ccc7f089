"""What an operator does to a job store: make it, migrate, check, move, fence and promote it.

Each function opens the store by its address, does one thing and closes it. None of them needs an orchestrator.
"""

import asyncio
import os
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from tether.errors import Reason, TetherError
from tether.store import jobs_keep, jobs_meta, jobs_move
from tether.store.fault import unavailable
from tether.store.jobs_move import Moved
from tether.store.jobs_open import open_jobs
from tether.store.jobs_quota import Verified
from tether.store.jobs_sqlite import wall_ms
from tether.store.lines import lines_of
from tether.store.migrate import apply, load
from tether.store.registry_open import is_postgres
from tether.store.sqlite import PRAGMAS
from tether.store.sqlite_run import run
from tether.store.step import Program

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Facts:
    """What a store is.

    Attributes:
        store_id: 16 bytes.
        schema: newest migration.
        generation: raised by each promotion.
        fenced: whether another store was promoted in its place.
    """

    store_id: bytes
    schema: str
    generation: int
    fenced: bool


async def init_jobs(url: str | Path) -> Facts:
    """Make a store, or bring the schema of one that is there up to date.

    Args:
        url: path or `postgresql://…`.

    Raises:
        TetherError: as `open_jobs`.
    """
    store = await open_jobs(url)
    await store.close()
    return await facts(url)


async def migrate_jobs(url: str | Path) -> list[str]:
    """Bring a schema up to date; safe from many processes at once.

    Returns:
        Versions that were applied now.

    Raises:
        TetherError: STORE_UNAVAILABLE; STORE_UNUSABLE for a schema of a newer Tether.
    """
    if is_postgres(url):
        from tether.store.manage_postgres import migrate  # noqa: PLC0415  its driver is an extra

        return await migrate(str(url))
    jobs = load("sqlite", "jobs")
    return await asyncio.to_thread(_sqlite, Path(url), lambda connection: apply(connection, jobs), makes=True)


async def facts(url: str | Path) -> Facts:
    """What a store is.

    Raises:
        TetherError: STORE_UNAVAILABLE, STORE_CORRUPT.
    """
    return await _do(url, lambda: _facts(shared=is_postgres(url)), writes=False)


async def check_jobs(url: str | Path, tenant: str = "") -> Verified:
    """Check the books, and of SQLite the file itself.

    Args:
        url: path or `postgresql://…`.
        tenant: only this one's books; empty for all.

    Raises:
        TetherError: STORE_UNAVAILABLE; STORE_CORRUPT for a file that cannot be read.
    """
    found = await _do(url, lambda: jobs_keep.verify(tenant), writes=False)
    if is_postgres(url):
        return found
    damage = await asyncio.to_thread(_sqlite, Path(url), _integrity)
    return replace(found, violations=(*damage, *found.violations))


async def export_jobs(url: str | Path, file: Path) -> Moved:
    """Write a store into a file of JSON Lines, as it stands in one committed state.

    Raises:
        TetherError: STORE_UNAVAILABLE, STORE_CORRUPT; also where the file cannot be written.
    """
    with _opened(file, "x") as out:
        return await _do(url, lambda: jobs_move.export(out.write), writes=False)


async def import_jobs(url: str | Path, file: Path) -> Moved:
    """Read an export into an empty store, which becomes that store: with its id, so that keys still name their jobs.

    The same import again changes nothing. The generation is raised: the store that was exported should be fenced.

    Raises:
        TetherError: STORE_UNAVAILABLE; STORE_UNUSABLE for a store that is not empty; STORE_CORRUPT for a damaged file.
    """
    await migrate_jobs(url)
    with _opened(file, "r") as lines:
        try:
            return await _do(url, lambda: jobs_move.load_lines(lines_of(lines), serial=is_postgres(url)), writes=True)
        except (ValueError, TypeError, LookupError, RecursionError) as error:  # lines that are not ours
            raise TetherError(Reason.STORE_CORRUPT, "The export is damaged: it holds what no store does") from error


async def fence_jobs(url: str | Path) -> int:
    """Refuse all further writes to a store, whoever has it open; returns its new generation.

    Raises:
        TetherError: STORE_UNAVAILABLE.
    """
    return await _do(url, jobs_meta.fence, writes=True)


async def promote_jobs(url: str | Path, old: str | Path = "") -> int:
    """Make a store the one that is written; a PostgreSQL replica becomes a primary.

    Args:
        url: path or `postgresql://…` of what becomes the primary.
        old: the same of what was it: fenced first, so that nothing is written there any more. Empty where it cannot
            be reached: then it must not come back with orchestrators that never saw the new one.

    Returns:
        The new generation: orchestrators with an older one refuse to write.

    Raises:
        TetherError: STORE_UNAVAILABLE; STORE_UNUSABLE where the two are not copies of one store: neither is touched.
    """
    if old:
        await _same_store(url, old)
    at_least = await fence_jobs(old) if old else 0
    if is_postgres(url):
        from tether.store.manage_postgres import promote  # noqa: PLC0415  its driver is an extra

        await promote(str(url))
    return await _do(url, lambda: jobs_meta.promote(at_least), writes=True)


async def _same_store(url: str | Path, old: str | Path) -> None:
    """Refuse to fence a store whose copy the other is not."""
    ids = [(await _do(one, lambda: jobs_meta.draw({}), writes=False)).get("store_id") for one in (url, old)]
    if ids[0] != ids[1]:
        raise TetherError(Reason.STORE_UNUSABLE, "The two stores are not copies of one: their ids differ")


def _facts(*, shared: bool) -> Program[Facts]:
    meta = yield from jobs_meta.draw({})
    numbers = yield from jobs_meta.numbers()
    newest = yield from jobs_meta.schema(shared=shared)
    return Facts(meta.get("store_id", b""), newest, numbers.get("generation", 1), bool(numbers.get("fenced", 0)))


async def _do(url: str | Path, program: Callable[[], Program[T]], *, writes: bool) -> T:
    """Run a program in one transaction, without the limits that hold for an orchestrator's."""
    if is_postgres(url):
        from tether.store.manage_postgres import transact  # noqa: PLC0415  its driver is an extra

        return await transact(str(url), program, writes=writes)
    return await asyncio.to_thread(_sqlite, Path(url), lambda connection: _transact(connection, program, writes=writes))


def _transact(connection: sqlite3.Connection, program: Callable[[], Program[T]], *, writes: bool) -> T:
    connection.execute("BEGIN IMMEDIATE" if writes else "BEGIN")
    try:
        result = run(connection, program(), wall_ms())
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return result


def _sqlite(path: Path, work: Callable[[sqlite3.Connection], T], *, makes: bool = False) -> T:
    if not makes and not path.exists():
        raise TetherError(Reason.STORE_UNUSABLE, f"There is no store at {path}: `tether store init` makes one")
    try:
        connection = sqlite3.connect(path, isolation_level=None)
        try:
            for pragma in PRAGMAS:
                connection.execute(pragma)
            return work(connection)
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise unavailable(error) from error


def _integrity(connection: sqlite3.Connection) -> list[str]:
    rows = connection.execute("PRAGMA integrity_check(10)").fetchall()
    return [f"the file is damaged: {row[0]}" for row in rows if row[0] != "ok"]


def _private(path: str, flags: int) -> int:
    """Open a file that, where it is new, only its owner can read: a store holds answers."""
    return os.open(path, flags, 0o600)


def _opened(file: Path, mode: str):  # type: ignore[no-untyped-def]  # noqa: ANN202 - a text file
    try:
        return open(file, mode, encoding="utf-8", opener=_private)
    except FileExistsError as error:
        raise TetherError(Reason.STORE_UNUSABLE, f"{file} is there already") from error
    except OSError as error:
        raise TetherError(Reason.STORE_UNAVAILABLE, f"{file} cannot be opened: {error.strerror}") from error
