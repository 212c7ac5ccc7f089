"""Opens the job store by its address: a file for SQLite, `postgresql://…` for PostgreSQL."""

from collections.abc import Callable, Mapping
from pathlib import Path

from tether.errors import Reason, TetherError
from tether.store.jobs_letter import LetterLimits
from tether.store.jobs_sqlite import SqliteJobStore, wall_ms
from tether.store.jobs_store import Keep, SqlJobStore
from tether.store.registry_open import is_postgres

_LETTERS = LetterLimits()


async def open_jobs(
    url: str | Path,
    *,
    replica: str = "",
    letters: LetterLimits = _LETTERS,
    outbox: bool = False,
    generation_min: int | Mapping[bytes, int] = 0,
    now_ms: Callable[[], int] | None = None,
) -> SqlJobStore:
    """Open or create a job store.

    Args:
        url: path of a database file, whose folder must exist, or `postgresql://…`.
        replica: `postgresql://…` of a replica for long reads, which may then be a little late; empty for none.
        letters: how many dead letters are kept.
        outbox: whether somebody takes usage by `outbox`; until then usage is kept row by row, at most 30 days.
        generation_min: a store of an older generation is refused, since another copy of it was promoted in its place:
            the newest that the caller has seen, of whichever store or of each by its `store_id`.
        now_ms: wall clock, milliseconds since the Unix epoch; None for the machine's own (SQLite) or the server's.

    Returns:
        The open store, its schema up to date.

    Raises:
        TetherError: STORE_UNAVAILABLE; STORE_CORRUPT for a damaged file; STORE_UNUSABLE for a schema of a newer Tether,
            a fenced store, an address that is none, or where asyncpg is not installed.
    """
    keep = Keep(letters, outbox, generation_min)
    if is_postgres(url):
        return await _open_postgres(str(url), replica, now_ms, keep)
    if "://" in str(url):
        raise TetherError(Reason.STORE_UNUSABLE, "The store's address must be a file or postgresql://…", field="store")
    return await SqliteJobStore.open(Path(url), now_ms or wall_ms, keep)


async def _open_postgres(url: str, replica: str, now_ms: Callable[[], int] | None, keep: Keep) -> SqlJobStore:
    try:
        from tether.store.jobs_postgres import PostgresJobStore  # noqa: PLC0415  its driver is an extra
    except ModuleNotFoundError as error:
        if error.name != "asyncpg":
            raise
        text = "A store on PostgreSQL needs asyncpg: pip install 'tether-mesh[postgres]'"
        raise TetherError(Reason.STORE_UNUSABLE, text, field="store") from error
    return await PostgresJobStore.open(url, now_ms, keep, replica=replica)
