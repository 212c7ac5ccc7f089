"""The books of a store, read from its tables past the store's own code."""

import sqlite3
from typing import Any

from tether.testing.invariants import Books

_JOBS = (
    "SELECT tenant, sum(state = 1), sum((state = 1) * held_tokens), sum((state != 1) * held_tokens),"
    " sum(settled_input + settled_output) FROM jobs GROUP BY tenant"
)
_USAGE = "SELECT tenant, sum(input_tokens + output_tokens) FROM usage GROUP BY tenant"
_LEASED = "SELECT tenant, sum(tokens) FROM leases WHERE open = 1 GROUP BY tenant"
_ACCOUNTS = "SELECT tenant, open_jobs, held_tokens, settled_input + settled_output FROM accounts"


def rows(connection: sqlite3.Connection, query: str) -> list[Any]:
    """All rows of a query."""
    return list(connection.execute(query).fetchall())


def books_of(connection: sqlite3.Connection) -> dict[str, Books]:
    """Books of all tenants."""
    by_job = {row[0]: row[1:] for row in rows(connection, _JOBS)}
    usage, leased = dict(rows(connection, _USAGE)), dict(rows(connection, _LEASED))
    books = {}
    for tenant, open_jobs, held, settled in rows(connection, _ACCOUNTS):
        own = by_job.get(tenant, (0, 0, 0, 0))
        counted = (own[0], own[1], own[2], own[3], usage.get(tenant, 0), leased.get(tenant, 0))
        books[tenant] = Books(open_jobs, held, settled, *counted)
    return books
