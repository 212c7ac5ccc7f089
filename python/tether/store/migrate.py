"""Numbered plain SQL migrations, each applied once, in order, under the database's write lock.

A migration is a file `NNNN_name.sql` in dbmate's format: statements after `-- migrate:up`, and those that undo them
after `-- migrate:down`. All that are missing run in one transaction, so a crash leaves the old schema whole.
Source: dbmate's file format; sqlite.org/lang_transaction.html.
"""

import sqlite3
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from importlib import resources

from tether.errors import Reason, TetherError

_UP, _DOWN = "-- migrate:up", "-- migrate:down"
_APPLIED = "CREATE TABLE IF NOT EXISTS schema_migrations (version TEXT PRIMARY KEY) WITHOUT ROWID"


@dataclass(frozen=True, slots=True)
class Migration:
    """One step of a schema.

    Attributes:
        version: four digits; versions sort as text.
        name: what it does, from the file's name.
        up: statements that apply it.
        down: statements that undo it.
        store: whose schema it is, such as `jobs`: two may live in one PostgreSQL database.
    """

    version: str
    name: str
    up: tuple[str, ...]
    down: tuple[str, ...]
    store: str = ""


def load(dialect: str, store: str) -> tuple[Migration, ...]:
    """The migrations that this version of Tether ships.

    Args:
        dialect: `sqlite` or `postgres`.
        store: folder of the store, such as `jobs`.

    Returns:
        Migrations by version.
    """
    folder = resources.files("tether.store") / "sql" / dialect / store
    files = sorted((entry for entry in folder.iterdir() if entry.name.endswith(".sql")), key=lambda entry: entry.name)
    split = _statements if dialect == "sqlite" else _whole
    return tuple(parse(entry.name, entry.read_text(encoding="utf-8"), store, split) for entry in files)


def parse(file: str, text: str, store: str = "", split: Callable[[str], Iterator[str]] | None = None) -> Migration:
    """Read one migration.

    Args:
        file: `NNNN_name.sql`.
        text: its content.
        store: whose schema it is.
        split: cuts a script into what is executed at a time; None cuts it into statements.

    Returns:
        The migration.

    Raises:
        ValueError: the name has no number, or there is no `-- migrate:up`.
    """
    version, _, name = file.removesuffix(".sql").partition("_")
    before, up, rest = text.partition(_UP)
    if not version.isdigit() or not up or before.strip():
        raise ValueError(f"{file} is no migration")
    upward, _, downward = rest.partition(_DOWN)
    cut = split or _statements
    return Migration(version, name, tuple(cut(upward)), tuple(cut(downward)), store)


def apply(connection: sqlite3.Connection, migrations: Sequence[Migration]) -> list[str]:
    """Bring a database to the newest schema.

    Args:
        connection: in autocommit mode.
        migrations: all that this version knows, by version.

    Returns:
        Versions that were applied now.

    Raises:
        TetherError: STORE_UNUSABLE, when the database has a schema that this version does not know.
        sqlite3.Error: the database failed; nothing is changed.
    """
    connection.execute("BEGIN EXCLUSIVE")
    try:
        wanted = missing(_applied(connection), migrations)
        for migration in wanted:
            _run(connection, migration)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return [migration.version for migration in wanted]


def undo(connection: sqlite3.Connection, migrations: Sequence[Migration]) -> list[str]:
    """Undo migrations, newest first; what their tables held is lost.

    Args:
        connection: in autocommit mode.
        migrations: those to undo.

    Returns:
        Versions that were undone now.

    Raises:
        sqlite3.Error: the database failed; nothing is changed.
    """
    connection.execute("BEGIN EXCLUSIVE")
    try:
        applied = _applied(connection)
        gone = [migration for migration in reversed(migrations) if migration.version in applied]
        for statement, version in [(one, migration.version) for migration in gone for one in migration.down]:
            connection.execute(statement)
            connection.execute("DELETE FROM schema_migrations WHERE version = ?", (version,))
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return [migration.version for migration in gone]


def missing(applied: Collection[str], migrations: Sequence[Migration]) -> list[Migration]:
    """Migrations that a database does not have yet.

    Args:
        applied: versions that it has.
        migrations: all that this version of Tether knows, by version.

    Returns:
        Those to apply, by version.

    Raises:
        TetherError: STORE_UNUSABLE, when the database has one that this version does not know.
    """
    unknown = sorted(set(applied) - {migration.version for migration in migrations})
    if unknown:
        raise TetherError(
            Reason.STORE_UNUSABLE, f"The store has schema {unknown[-1]}, which a newer Tether wrote: use that version"
        )
    return [migration for migration in migrations if migration.version not in applied]


def _applied(connection: sqlite3.Connection) -> set[str]:
    connection.execute(_APPLIED)
    return {version for (version,) in connection.execute("SELECT version FROM schema_migrations")}


def _run(connection: sqlite3.Connection, migration: Migration) -> None:
    for statement in migration.up:
        connection.execute(statement)
    connection.execute("INSERT INTO schema_migrations (version) VALUES (?)", (migration.version,))


def _whole(script: str) -> Iterator[str]:
    """A script as it is: PostgreSQL runs several statements at once, and functions hold semicolons."""
    if script.strip():
        yield script.strip()


def _statements(script: str) -> Iterator[str]:
    """Whole statements; `executescript` would commit the transaction that holds the lock."""
    pending = ""
    for line in script.splitlines():
        if not pending and (not line.strip() or line.lstrip().startswith("--")):
            continue
        pending += line + "\n"
        if sqlite3.complete_statement(pending):
            yield pending.strip()
            pending = ""
    if pending.strip():
        raise ValueError("a migration ends inside a statement")
