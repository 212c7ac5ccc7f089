"""Carries out the steps of a program on SQLite, inside a transaction that somebody else opens and commits.

There is one writer, so locks are nothing here, and rows are found one by one: a prepared statement costs less than
a list of parameters of ever new length. It remembers the accounts that it wrote, until somebody else writes.
Source: sqlite.org/pragma.html#pragma_data_version.
"""

import sqlite3
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, TypeVar

from tether.store.jobs_table import ACCOUNT_SET, ACCOUNTS
from tether.store.step import (
    Blind,
    Delete,
    Fetch,
    Find,
    Insert,
    Lock,
    Mutex,
    Now,
    Program,
    Run,
    Table,
    Texts,
    Together,
    Update,
    marked,
)

T = TypeVar("T")
_ACCOUNTS_MAX = 16_384  # remembered at a time, some 10 MB


class Writer(sqlite3.Connection):
    """The connection of a database's one writer.

    Attributes:
        accounts: rows of `ACCOUNTS` by tenant, as this transaction leaves them.
        version: SQLite's number of what others wrote, when they were read.
    """

    version = -1

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - whatever sqlite3 hands on
        super().__init__(*args, **kwargs)
        self.accounts: dict[str, tuple[Any, ...]] = {}

    def forget(self) -> None:
        """Something was rolled back: what is remembered may never have been."""
        self.accounts.clear()


def run(connection: sqlite3.Connection, program: Program[T], now_ms: int) -> T:
    """Run a program to its end.

    Args:
        connection: inside a transaction.
        program: what to run.
        now_ms: wall clock, milliseconds since the Unix epoch.

    Returns:
        The program's result.

    Raises:
        sqlite3.Error: the database failed or refused; the program saw it first.
    """
    answer: Any = None
    try:
        while True:
            step = program.send(answer)
            if type(step) is Lock:
                answer = _lock(connection, step.tenants), now_ms
            elif type(step) is Now:
                answer = now_ms
            else:
                answer = _DO[type(step)](connection, step)
    except StopIteration as end:
        result: T = end.value
        return result
    finally:
        program.close()


def _fetch(connection: sqlite3.Connection, step: Fetch) -> list[Any]:
    return connection.execute(_marked(step.sql), step.values).fetchall()


def _run(connection: sqlite3.Connection, step: Run) -> int:
    return connection.execute(_marked(step.sql), step.values).rowcount


def _find(connection: sqlite3.Connection, step: Find) -> list[Any]:
    query = _select(step.table, step.column)
    return [row for key in step.keys for row in connection.execute(query, (key,))]


def _insert(connection: sqlite3.Connection, step: Insert) -> None:
    connection.executemany(_insertion(step.table, absent=step.absent), step.rows)


def _blind(connection: sqlite3.Connection, step: Blind) -> bool:
    """Undone by number where it fails: a savepoint costs a copy of each page that it guards."""
    name, serial = step.table.name, step.table.serial
    [(last,)] = connection.execute(f"SELECT coalesce(max({serial}), 0) FROM {name}")  # noqa: S608 - names of the program
    try:
        connection.executemany(_insertion(step.table, absent=False), step.rows)
    except sqlite3.IntegrityError:
        connection.execute(f"DELETE FROM {name} WHERE {serial} > ?", (last,))  # noqa: S608
        return False
    for one in step.more:
        _DO[type(one)](connection, one)
    return True


def _update(connection: sqlite3.Connection, step: Update) -> None:
    connection.executemany(_setting(step.table), step.rows)
    if step.table is ACCOUNT_SET and isinstance(connection, Writer):
        for row in step.rows:
            connection.accounts[row[-1]] = (row[-1], *row[:-1])


def _delete(connection: sqlite3.Connection, step: Delete) -> None:
    query = f"DELETE FROM {step.table.name} WHERE {step.column} = ?"  # noqa: S608 - names of the program
    connection.executemany(query, [(key,) for key in step.keys])


def _together(connection: sqlite3.Connection, step: Together) -> None:
    for one in step.steps:
        if not isinstance(one, Delete) and not one.rows:
            continue
        _DO[type(one)](connection, one)


def _lock(connection: sqlite3.Connection, tenants: Sequence[str]) -> list[Any]:
    if not isinstance(connection, Writer):
        return _accounts(connection, tenants)
    known = connection.accounts
    [(version,)] = connection.execute("PRAGMA data_version")
    if version != connection.version or len(known) > _ACCOUNTS_MAX:
        known.clear()
        connection.version = version
    unknown = [tenant for tenant in tenants if tenant not in known]
    if unknown:
        known.update((row[0], row) for row in _accounts(connection, unknown))
    return [known[tenant] for tenant in tenants]


def _accounts(connection: sqlite3.Connection, tenants: Sequence[str]) -> list[Any]:
    """Accounts as they stand, created where missing."""
    marks = ", ".join("?" * len(tenants))
    rows = connection.execute(_ACCOUNTS_OF.format(marks), tenants).fetchall()
    if len(rows) < len(tenants):
        missing = set(tenants).difference(row[0] for row in rows)
        new = [(tenant, *_NOTHING) for tenant in sorted(missing)]
        connection.executemany(_insertion(ACCOUNTS, absent=False), new)
        rows += new
    return rows


def _nothing(_connection: sqlite3.Connection, _step: Mutex) -> None:
    """The one writer is alone anyway."""


_ACCOUNTS_OF = f"SELECT {', '.join(ACCOUNTS.columns)} FROM accounts WHERE tenant IN ({{}})"  # noqa: S608
_NOTHING = (0,) * (len(ACCOUNTS.columns) - 1)
_DO: dict[type, Callable[[sqlite3.Connection, Any], Any]] = {
    Fetch: _fetch,
    Run: _run,
    Find: _find,
    Insert: _insert,
    Blind: _blind,
    Update: _update,
    Delete: _delete,
    Together: _together,
    Mutex: _nothing,
}
_marked = cache(marked)
_text = Texts().of


def _select(table: Table, column: str) -> str:
    return _text(
        "select",
        table,
        column,
        lambda: f"SELECT {', '.join(table.columns)} FROM {table.name} WHERE {column} = ?",  # noqa: S608
    )


def _insertion(table: Table, *, absent: bool) -> str:
    return _text("insert", table, absent, lambda: _insert_text(table, absent=absent))


def _insert_text(table: Table, *, absent: bool) -> str:
    columns = ", ".join((*table.columns, *(name for name, _value in table.fixed)))
    values = ", ".join((*("?" * len(table.types)), *(value for _name, value in table.fixed)))
    conflict = " ON CONFLICT DO NOTHING" if absent else ""
    return f"INSERT INTO {table.name} ({columns}) VALUES ({values}){conflict}"  # noqa: S608


def _setting(table: Table) -> str:
    values = [column for column in table.columns if column not in table.key]
    return _text(
        "update",
        table,
        None,
        lambda: (
            f"UPDATE {table.name} SET {', '.join(f'{column} = ?' for column in values)} "  # noqa: S608
            f"WHERE {' AND '.join(f'{column} = ?' for column in table.key)}"
        ),
    )
