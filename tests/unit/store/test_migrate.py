"""Migrations: once each, in order, all or none, and never over a schema from the future."""

import sqlite3
from collections.abc import Iterator

import pytest

from tether.errors import TetherError
from tether.store.migrate import apply, load, parse

FIRST = parse(
    "0001_a.sql",
    "-- migrate:up\n-- why\nCREATE TABLE a (x);\nCREATE TABLE b (\n  x\n);\n-- migrate:down\nDROP TABLE a;\n",
)
SECOND = parse("0002_c.sql", "-- migrate:up\nCREATE TABLE c (x);\n")
BROKEN = parse("0003_d.sql", "-- migrate:up\nCREATE TABLE d (x);\nCREATE TABLE a (x);\n")


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    yield connection
    connection.close()


def tables(connection: sqlite3.Connection) -> set[str]:
    rows = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
    return {name for (name,) in rows} - {"schema_migrations"}


def test_parse_cuts_statements_and_directions() -> None:
    assert FIRST.version == "0001"
    assert FIRST.name == "a"
    assert FIRST.up == ("CREATE TABLE a (x);", "CREATE TABLE b (\n  x\n);")
    assert FIRST.down == ("DROP TABLE a;",)


@pytest.mark.parametrize(("file", "text"), [("a.sql", "-- migrate:up\n"), ("0001_a.sql", "SELECT 1;\n")])
def test_parse_of_something_else_is_refused(file: str, text: str) -> None:
    with pytest.raises(ValueError, match="no migration"):
        parse(file, text)


def test_parse_of_half_a_statement_is_refused() -> None:
    with pytest.raises(ValueError, match="inside a statement"):
        parse("0001_a.sql", "-- migrate:up\nCREATE TABLE a (x)\n")


def test_apply_runs_what_is_missing_once(connection: sqlite3.Connection) -> None:
    assert apply(connection, [FIRST]) == ["0001"]
    assert apply(connection, [FIRST, SECOND]) == ["0002"]
    assert apply(connection, [FIRST, SECOND]) == []
    assert tables(connection) == {"a", "b", "c"}


def test_apply_that_fails_changes_nothing(connection: sqlite3.Connection) -> None:
    apply(connection, [FIRST])
    with pytest.raises(sqlite3.Error):
        apply(connection, [FIRST, SECOND, BROKEN])
    assert tables(connection) == {"a", "b"}


def test_apply_over_a_newer_schema_is_refused(connection: sqlite3.Connection) -> None:
    apply(connection, [FIRST, SECOND])
    with pytest.raises(TetherError, match="newer Tether"):
        apply(connection, [FIRST])


def test_load_finds_the_shipped_migrations() -> None:
    shipped = load("sqlite", "jobs")
    assert [migration.version for migration in shipped] == sorted(migration.version for migration in shipped)
