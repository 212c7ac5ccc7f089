"""The check of the books finds what is wrong, so that its silence means something."""

import sqlite3
from collections.abc import Iterator

import pytest

from tether.store.jobs_keep import verify
from tether.store.migrate import apply, load
from tether.store.sqlite_run import run


def check(connection: sqlite3.Connection, tenant: str = "") -> list[str]:
    return list(run(connection, verify(tenant), 0).violations)


def account(connection: sqlite3.Connection, tenant: str, **counters: int) -> None:
    columns = {"held_tokens": 0, "settled_input": 0, "settled_output": 0, **counters}
    marks = ", ".join("?" * (len(columns) + 1))
    connection.execute(
        f"INSERT INTO accounts (tenant, {', '.join(columns)}) VALUES ({marks})", (tenant, *columns.values())
    )


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    apply(connection, load("sqlite", "jobs"))
    yield connection
    connection.close()


def test_check_of_an_empty_store_is_silent(connection: sqlite3.Connection) -> None:
    assert check(connection) == []


def test_check_finds_a_counter_without_its_jobs_and_ledger(connection: sqlite3.Connection) -> None:
    account(connection, "t", held_tokens=5)
    assert [words.partition(":")[0] for words in check(connection)] == [
        "held of the account differs from the holds of open jobs and leases",
        "held of the account differs from the ledger",
    ]


def test_check_finds_settled_tokens_without_usage(connection: sqlite3.Connection) -> None:
    account(connection, "t", settled_input=1, settled_output=2)
    assert len(check(connection)) == 3  # input, output, and the ledger


def test_check_names_the_tenant(connection: sqlite3.Connection) -> None:
    account(connection, "acme", held_tokens=-1)
    assert all(words.endswith("acme") for words in check(connection))
    assert len(check(connection, "acme")) == 3
    assert check(connection, "other") == []
