"""What an operator does to a registry's store: make it, migrate, check, move and promote it.

Each function opens the store by its address, does one thing and closes it. None of them needs a registry that runs.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

from tether.errors import Reason, TetherError
from tether.store import registry_move as move
from tether.store.lines import lines_of
from tether.store.migrate import load
from tether.store.registry_check import check
from tether.store.registry_open import explained, is_postgres
from tether.store.registry_sql import Database
from tether.store.registry_work import Work, begin, revision
from tether.store.work_sqlite import SqliteWorks

T = TypeVar("T")


async def init_registry(url: str | Path) -> int:
    """Make a store, or bring the schema of one that is there up to date; returns its revision.

    Args:
        url: path or `postgresql://…`.

    Raises:
        TetherError: STORE_UNAVAILABLE, STORE_UNUSABLE.
    """
    return await _do(url, lambda: _begun(_now_ms()), makes=True, writes=True)


async def migrate_registry(url: str | Path) -> int:
    """Bring the schema of a store that is there up to date; safe from many processes at once; returns its revision.

    Raises:
        TetherError: STORE_UNAVAILABLE; STORE_UNUSABLE for a schema of a newer Tether, or where there is no store.
    """
    return await _do(url, revision)


async def check_registry(url: str | Path) -> list[str]:
    """Return rows that no write of ours can have left, for people.

    Raises:
        TetherError: STORE_UNAVAILABLE, STORE_CORRUPT, STORE_UNUSABLE.
    """
    return await _do(url, check)


async def export_registry(url: str | Path, file: Path) -> dict[str, int]:
    """Write a registry into a file of JSON Lines that only its owner can read; returns rows by table.

    Raises:
        TetherError: STORE_UNAVAILABLE; STORE_UNUSABLE where the file is there.
    """
    _require_free(file)
    draft = file.with_name(f".{file.name}.draft")

    def work() -> Work[dict[str, int]]:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as out:
            counts = yield from move.export(out.write)
            out.flush()
            os.fsync(out.fileno())
            return counts

    try:
        counts = await _do(url, work)
        await asyncio.to_thread(draft.replace, file)
    finally:
        draft.unlink(missing_ok=True)
    return counts


async def import_registry(url: str | Path, file: Path) -> dict[str, int]:
    """Read an export into an empty store; returns rows by table.

    Raises:
        TetherError: STORE_UNAVAILABLE; STORE_UNUSABLE for a store that is not empty; STORE_CORRUPT for a damaged file.
    """

    def work() -> Work[dict[str, int]]:
        yield from begin(_now_ms())
        with file.open(encoding="utf-8", errors="replace") as lines:
            return (yield from move.load_lines(lines_of(lines), _now_ms()))

    return await _do(url, work, makes=True, writes=True)


async def promote_registry(url: str | Path) -> int:
    """Make a replica the store that is written; returns a revision beyond all that readers may have seen.

    Raises:
        TetherError: STORE_UNAVAILABLE, STORE_UNUSABLE.
    """
    if is_postgres(url):
        with explained():
            from tether.store.manage_postgres import promote  # noqa: PLC0415  its driver is an extra

            await promote(str(url))
    return await _do(url, lambda: move.advance(_now_ms()), writes=True)


def _begun(now_ms: int) -> Work[int]:
    yield from begin(now_ms)
    return (yield from revision())


async def _do(url: str | Path, make: Callable[[], Work[T]], *, makes: bool = False, writes: bool = False) -> T:
    """Run a work on a store.

    Args:
        url: path or `postgresql://…`.
        make: makes the work.
        makes: whether a file that is not there is made.
        writes: whether the work writes.
    """
    if not is_postgres(url) and not makes:
        _require_store(Path(url))
    async with _opened(url) as database:
        return await (database.write(make) if writes else database.read(make))


@asynccontextmanager
async def _opened(url: str | Path) -> AsyncIterator[Database]:
    database: Database
    if is_postgres(url):
        with explained():
            from tether.store.work_postgres import PostgresWorks  # noqa: PLC0415  its driver is an extra

            database = await PostgresWorks.open(str(url), load("postgres", "registry"))
    else:
        database = await SqliteWorks.open(Path(url), load("sqlite", "registry"))
    try:
        yield database
    finally:
        await database.close()


def _require_free(file: Path) -> None:
    if file.exists():
        raise TetherError(Reason.STORE_UNUSABLE, f"{file} is there already.")


def _require_store(path: Path) -> None:
    if not path.exists():
        raise TetherError(Reason.STORE_UNUSABLE, f"There is no store at {path}: `tether store init` makes one.")


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
