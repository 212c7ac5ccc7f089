"""Carries out the steps of a program on PostgreSQL, inside a transaction that somebody else opens and commits.

A round trip costs more than a row, so rows travel as arrays, one per column, and writes that belong together travel as
one statement. Numbers travel as one text: asyncpg asks of each one whether it is an array, which costs more than the
text. Time is the server's, since several owners write.
Source: postgresql.org/docs/15/functions-array.html (unnest), postgresql.org/docs/15/queries-with.html.
"""

import re
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, TypeVar

import asyncpg

from tether.store.jobs_table import ACCOUNTS
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
)

T = TypeVar("T")
Clock = Callable[[], int] | None
_MUTEX_SPACE = 0x7465  # keeps these advisory locks apart from those of others
_CLOCK = "(extract(epoch FROM clock_timestamp()) * 1000)::bigint"
_LOCKED = (
    f"SELECT {', '.join(ACCOUNTS.columns)}, {_CLOCK} FROM accounts WHERE tenant = ANY($1::text[]) "  # noqa: S608
    "ORDER BY tenant FOR NO KEY UPDATE"
)
_MISSING = (
    f"INSERT INTO accounts ({', '.join(ACCOUNTS.columns)}) SELECT tenant, "  # noqa: S608
    f"{', '.join('0' for _ in ACCOUNTS.columns[1:])} FROM unnest($1::text[]) AS t(tenant) ON CONFLICT DO NOTHING"
)
_NUMBERS = frozenset({"bigint", "integer"})
_MARK = re.compile(r"\$(\d+)")


async def run(connection: asyncpg.Connection, program: Program[T], clock: Clock) -> T:
    """Run a program to its end.

    Args:
        connection: inside a transaction.
        program: what to run.
        clock: wall clock, milliseconds since the Unix epoch; None for the server's.

    Returns:
        The program's result.

    Raises:
        asyncpg.PostgresError: the database failed or refused.
    """
    answer: Any = None
    try:
        while True:
            step = program.send(answer)
            answer = await _DO[type(step)](connection, step, clock)
    except StopIteration as end:
        result: T = end.value
        return result
    finally:
        program.close()


async def _fetch(connection: asyncpg.Connection, step: Fetch, _clock: Clock) -> list[Any]:
    return [tuple(row) for row in await connection.fetch(step.sql, *step.values)]


async def _run(connection: asyncpg.Connection, step: Run, _clock: Clock) -> int:
    return _count(await connection.execute(step.sql, *step.values))


async def _find(connection: asyncpg.Connection, step: Find, _clock: Clock) -> list[Any]:
    if not step.keys:
        return []
    return [tuple(row) for row in await connection.fetch(_select(step.table, step.column), list(step.keys))]


async def _write(connection: asyncpg.Connection, step: Insert | Update | Delete, _clock: Clock) -> None:
    if _is_some(step):
        sql, values = _statement(step)
        await connection.execute(sql, *values)


async def _blind(connection: asyncpg.Connection, step: Blind, clock: Clock) -> bool:
    """One statement whose parts all look first: the locks that are held keep others from these keys meanwhile."""
    if not step.rows:
        await _together(connection, Together(step.more), clock)
        return True
    key, at = step.table.key[0], step.table.columns.index(step.table.key[0])
    keys = [row[at] for row in step.rows]
    texts, values = _texts([Insert(step.table, step.rows), *step.more], [keys])
    seen = f"seen AS MATERIALIZED (SELECT 1 FROM {step.table.name} WHERE {key} = ANY($1::{step.table.types[key]}[]))"  # noqa: S608
    named = ", ".join(f"w{at} AS ({_unseen(text)})" for at, text in enumerate(texts))
    query = f"WITH {seen}, {named} SELECT NOT EXISTS (SELECT 1 FROM seen)"  # noqa: S608 - names of the program
    whole: bool = await connection.fetchval(query, *values)
    return whole


@cache
def _unseen(text: str) -> str:
    """A write that is only done where nothing was seen."""
    return f"{text} {'WHERE' if text.startswith('INSERT') else 'AND'} NOT EXISTS (SELECT 1 FROM seen)"  # noqa: S608


def _texts(steps: Sequence[Insert | Update | Delete], first: Sequence[Any]) -> tuple[list[str], list[Any]]:
    """Statements of steps that write anything, whose parameters begin behind `first`, and all parameters."""
    values: list[Any] = list(first)
    texts = []
    for one in steps:
        if _is_some(one):
            sql, own = _statement(one)
            texts.append(_shifted(sql, len(values)))
            values += own
    return texts, values


async def _together(connection: asyncpg.Connection, step: Together, _clock: Clock) -> None:
    """All of it as one statement: the last one, with the others as its common table expressions."""
    texts, values = _texts(step.steps, ())
    if not texts:
        return
    named = ", ".join(f"w{at} AS ({text})" for at, text in enumerate(texts[:-1]))
    await connection.execute(f"WITH {named} {texts[-1]}" if named else texts[-1], *values)


async def _lock(connection: asyncpg.Connection, step: Lock, clock: Clock) -> tuple[list[Any], int]:
    tenants = list(step.tenants)
    rows = await connection.fetch(_LOCKED, tenants) if tenants else []
    if len(rows) < len(tenants):
        await connection.execute(_MISSING, tenants)
        rows = await connection.fetch(_LOCKED, tenants)
    if not rows:
        return [], await _now(connection, step, clock)
    return [tuple(row)[:-1] for row in rows], max(row[-1] for row in rows) if clock is None else clock()


async def _now(connection: asyncpg.Connection, _step: object, clock: Clock) -> int:
    now_ms: int = clock() if clock is not None else await connection.fetchval(f"SELECT {_CLOCK}")
    return now_ms


async def _mutex(connection: asyncpg.Connection, step: Mutex, _clock: Clock) -> None:
    await connection.execute("SELECT pg_advisory_xact_lock($1, $2)", _MUTEX_SPACE, step.number)


_DO: dict[type, Callable[..., Any]] = {
    Fetch: _fetch,
    Run: _run,
    Find: _find,
    Insert: _write,
    Blind: _blind,
    Update: _write,
    Delete: _write,
    Together: _together,
    Lock: _lock,
    Now: _now,
    Mutex: _mutex,
}


def _is_some(step: Insert | Update | Delete) -> bool:
    return bool(step.keys if isinstance(step, Delete) else step.rows)


def _statement(step: Insert | Update | Delete) -> tuple[str, list[Any]]:
    """A statement for all rows of a step, and an array per column."""
    if isinstance(step, Delete):
        return _deletion(step.table, step.column), [list(step.keys)]
    text = _setting(step.table) if isinstance(step, Update) else _insertion(step.table, absent=step.absent)
    columns = zip(step.table.types.values(), zip(*step.rows, strict=True), strict=True)
    return text, [_numbers(column) if kind in _NUMBERS else list(column) for kind, column in columns]


def _numbers(column: Sequence[int | None]) -> str:
    """An array of numbers as PostgreSQL writes it."""
    text = repr(column).strip("(,)")  # one call for all, where all are plain numbers
    if "N" in text or "<" in text:
        text = ",".join("NULL" if number is None else str(int(number)) for number in column)
    return "{" + text + "}"


_text = Texts().of


def _select(table: Table, column: str) -> str:
    return _text(
        "select",
        table,
        column,
        lambda: (
            f"SELECT {', '.join(table.columns)} FROM {table.name} "  # noqa: S608
            f"WHERE {column} = ANY($1::{_type(table, column)}[])"
        ),
    )


def _insertion(table: Table, *, absent: bool) -> str:
    return _text("insert", table, absent, lambda: _insert_text(table, absent=absent))


def _insert_text(table: Table, *, absent: bool) -> str:
    columns = ", ".join((*table.columns, *(name for name, _value in table.fixed)))
    fixed = "".join(f", {value}" for _name, value in table.fixed)
    conflict = " ON CONFLICT DO NOTHING" if absent else ""
    return f"INSERT INTO {table.name} ({columns}) SELECT v.*{fixed} FROM {_arrays(table)} AS v{conflict}"  # noqa: S608


def _setting(table: Table) -> str:
    values = [column for column in table.columns if column not in table.key]
    return _text(
        "update",
        table,
        None,
        lambda: (
            f"UPDATE {table.name} SET {', '.join(f'{column} = v.{column}' for column in values)} "  # noqa: S608
            f"FROM {_arrays(table)} AS v({', '.join(table.columns)}) "
            f"WHERE {' AND '.join(f'{table.name}.{column} = v.{column}' for column in table.key)}"
        ),
    )


def _deletion(table: Table, column: str) -> str:
    return _text(
        "delete",
        table,
        column,
        lambda: f"DELETE FROM {table.name} WHERE {column} = ANY($1::{_type(table, column)}[])",  # noqa: S608
    )


def _arrays(table: Table) -> str:
    marks = (
        f"${at}::{'text::' if kind in _NUMBERS else ''}{kind}[]" for at, kind in enumerate(table.types.values(), 1)
    )
    return f"unnest({', '.join(marks)})"


def _type(table: Table, column: str) -> str:
    """Type of a column; one that a partial table leaves out is a job's id."""
    return table.types.get(column, "bytea")


@cache
def _shifted(sql: str, by: int) -> str:
    """SQL whose parameters begin behind `by` others."""
    return _MARK.sub(lambda mark: f"${int(mark[1]) + by}", sql) if by else sql


def _count(status: str) -> int:
    """Rows that a command changed: `UPDATE 3`."""
    return int(status.rsplit(" ", 1)[-1])
