"""The check of the books finds what is wrong, so that its silence means something."""

import sqlite3
from collections.abc import Iterator

import pytest

from tether.store.jobs_keep import check
from tether.store.migrate import apply, load


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    apply(connection, load("sqlite", "jobs"))
    yield connection
    connection.close()


def test_check_of_an_empty_store_is_silent(connection: sqlite3.Connection) -> None:
    assert check(connection) == []


def test_check_finds_a_counter_without_its_jobs_and_ledger(connection: sqlite3.Connection) -> None:
    connection.execute("INSERT INTO accounts VALUES ('t', 5, 0, 0)")
    assert [words.partition(":")[0] for words in check(connection)] == [
        "held of the account differs from the holds of open jobs",
        "held of the account differs from the ledger",
    ]


def test_check_finds_settled_tokens_without_usage(connection: sqlite3.Connection) -> None:
    connection.execute("INSERT INTO accounts VALUES ('t', 0, 1, 2)")
    assert len(check(connection)) == 2


def test_check_names_the_tenant(connection: sqlite3.Connection) -> None:
    connection.execute("INSERT INTO accounts VALUES ('acme', -1, 0, 0)")
    assert all(words.endswith("acme") for words in check(connection))
