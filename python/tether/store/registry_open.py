"""Opens the registry's store by its address: a file for SQLite, `postgresql://…` for PostgreSQL."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tether.errors import Reason, TetherError
from tether.store.registry import RegistryStore, StoreLimits
from tether.store.registry_sqlite import SqliteRegistryStore

SCHEMES = ("postgresql://", "postgres://")


def is_postgres(url: str | Path) -> bool:
    """Tell whether an address is one of PostgreSQL."""
    return str(url).startswith(SCHEMES)


async def open_registry(
    url: str | Path,
    limits: StoreLimits | None = None,
    now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
) -> RegistryStore:
    """Open or create the registry's store.

    Args:
        url: path of a database file, whose folder must exist, or `postgresql://…`.
        limits: how much it keeps.
        now_ms: wall clock, milliseconds since the Unix epoch; where a new store's revision begins.

    Raises:
        TetherError: STORE_UNAVAILABLE; STORE_UNUSABLE, also where asyncpg is not installed or the address is none.
    """
    if is_postgres(url):
        return await _open_postgres(str(url), limits, now_ms)
    if "://" in str(url):
        raise TetherError(Reason.STORE_UNUSABLE, "The store's address must be a file or postgresql://…", field="store")
    return await SqliteRegistryStore.open(Path(url), limits, now_ms)


@contextmanager
def explained() -> Iterator[None]:
    """Say what is wrong where PostgreSQL's driver is not installed, or cannot read an address.

    Raises:
        TetherError: STORE_UNUSABLE, without the address, which may hold a password.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name != "asyncpg":
            raise
        text = "A store on PostgreSQL needs asyncpg: pip install 'tether-mesh[postgres]'"
        raise TetherError(Reason.STORE_UNUSABLE, text, field="store") from error
    except (ValueError, OverflowError):  # the second for a port that is none
        text = "The store's address is no PostgreSQL address: postgresql://user@host/db"
        raise TetherError(Reason.STORE_UNUSABLE, text, field="store") from None


async def _open_postgres(url: str, limits: StoreLimits | None, now_ms: Callable[[], int]) -> RegistryStore:
    with explained():
        from tether.store.registry_postgres import PostgresRegistryStore  # noqa: PLC0415  its driver is an extra

        return await PostgresRegistryStore.open(url, limits, now_ms)
