"""Numbered plain SQL migrations, each applied once, in order, under the database's write lock.

A migration is a file `NNNN_name.sql` in dbmate's format: statements after `-- migrate:up`, and those that undo them
after `-- migrate:down`. All that are missing run in one transaction, so a crash leaves the old schema whole.
Source: dbmate's file format; sqlite.org/lang_transaction.html.
"""

import sqlite3
from collections.abc import Iterator, Sequence
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
    """

    version: str
    name: str
    up: tuple[str, ...]
    down: tuple[str, ...]


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
    return tuple(parse(entry.name, entry.read_text(encoding="utf-8")) for entry in files)


def parse(file: str, text: str) -> Migration:
    """Read one migration.

    Args:
        file: `NNNN_name.sql`.
        text: its content.

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
    return Migration(version, name, tuple(_statements(upward)), tuple(_statements(downward)))


def apply(connection: sqlite3.Connection, migrations: Sequence[Migration]) -> list[str]:
    """Bring a database to the newest schema.

    Args:
        connection: in autocommit mode.
        migrations: all that this version knows, by version.

    Returns:
        Versions that were applied now.

    Raises:
        TetherError: STATE_UNUSABLE, when the database has a schema that this version does not know.
        sqlite3.Error: the database failed; nothing is changed.
    """
    connection.execute("BEGIN EXCLUSIVE")
    try:
        missing = _missing(connection, migrations)
        for migration in missing:
            _run(connection, migration)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return [migration.version for migration in missing]


def _missing(connection: sqlite3.Connection, migrations: Sequence[Migration]) -> list[Migration]:
    connection.execute(_APPLIED)
    applied = {version for (version,) in connection.execute("SELECT version FROM schema_migrations")}
    unknown = sorted(applied - {migration.version for migration in migrations})
    if unknown:
        raise TetherError(
            Reason.STATE_UNUSABLE, f"The store has schema {unknown[-1]}, which a newer Tether wrote: use that version"
        )
    return [migration for migration in migrations if migration.version not in applied]


def _run(connection: sqlite3.Connection, migration: Migration) -> None:
    for statement in migration.up:
        connection.execute(statement)
    connection.execute("INSERT INTO schema_migrations (version) VALUES (?)", (migration.version,))


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
