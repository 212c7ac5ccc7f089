"""One transaction over the calls of many callers.

Equal operations run as one batch. When a batch breaks a rule all of it runs again, calls of the broken one by one, each
behind a savepoint, so that one caller's mistake costs the others nothing; when the disk fails, all of them fail.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from tether.errors import Reason, TetherError
from tether.store.fault import is_fault, unavailable
from tether.store.sqlite_run import Writer

_log = structlog.get_logger("tether.store")


@dataclass(slots=True, eq=False)
class Call:
    """One caller's work.

    Attributes:
        operation: what to run; equal ones of a group run together.
        items: its items.
        future: where the caller waits.
        results: one per item, once it ran.
        error: what went wrong, or None.
    """

    operation: Callable[[sqlite3.Connection, Sequence[Any]], Sequence[Any]]
    items: Sequence[Any]
    future: asyncio.Future[Any]
    results: Sequence[Any] = ()
    error: Exception | None = None

    def answer(self) -> None:
        """Tell the caller, on its loop."""
        if self.future.done():
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.results)


def run_group(connection: sqlite3.Connection, group: Sequence[Call]) -> None:
    """Run a group in one transaction.

    Args:
        connection: in autocommit mode.
        group: calls; each gets its results or its error. A caller that gave up before is left out.
    """
    live = [call for call in group if not call.future.cancelled()]
    if live:
        _commit(connection, live)


def _commit(connection: sqlite3.Connection, writes: Sequence[Call]) -> None:
    try:
        if not _all_commit(connection, writes):
            connection.execute("BEGIN IMMEDIATE")
            for calls in _by_operation(writes):
                _together(connection, calls)
            connection.execute("COMMIT")
    except sqlite3.Error as error:
        _log.exception("store_commit_failed", calls=len(writes))
        roll_back(connection)
        for call in writes:
            call.error = unavailable(error)


def _all_commit(connection: sqlite3.Connection, writes: Sequence[Call]) -> bool:
    """Write all, as goes well nearly always: a savepoint costs a copy of each page that it guards."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        for calls in _by_operation(writes):
            _run(connection, calls)
    except Exception as error:
        if isinstance(error, sqlite3.Error) and is_fault(error):
            raise
        roll_back(connection)
        if len(writes) == 1:
            writes[0].error = _blame(error)
        return len(writes) == 1
    connection.execute("COMMIT")
    return True


def _by_operation(calls: Sequence[Call]) -> list[list[Call]]:
    batches: dict[Any, list[Call]] = {}
    for call in calls:
        batches.setdefault(call.operation, []).append(call)
    return list(batches.values())


def _together(connection: sqlite3.Connection, calls: list[Call]) -> None:
    """Run equal calls as one batch; one by one where that fails."""
    if len(calls) == 1:
        _behind_savepoint(connection, calls)
        return
    _behind_savepoint(connection, calls)
    if calls[0].error is not None:
        for call in calls:
            call.error = None
            _behind_savepoint(connection, [call])


def _behind_savepoint(connection: sqlite3.Connection, calls: list[Call]) -> None:
    connection.execute("SAVEPOINT batch")
    try:
        _run(connection, calls)
    except Exception as error:
        if isinstance(error, sqlite3.Error) and is_fault(error):
            raise
        connection.execute("ROLLBACK TO batch")
        _forget(connection)
        for call in calls:
            call.error = _blame(error)
    connection.execute("RELEASE batch")


def _run(connection: sqlite3.Connection, calls: list[Call]) -> None:
    items = calls[0].items if len(calls) == 1 else [item for call in calls for item in call.items]
    results = calls[0].operation(connection, items)
    if len(calls) == 1:
        calls[0].results = list(results)
        return
    start = 0
    for call in calls:
        call.results = list(results[start : start + len(call.items)])
        start += len(call.items)


def _blame(error: Exception) -> Exception:
    """What the caller gets: its own typed error, or INTERNAL with the cause chained."""
    if isinstance(error, TetherError):
        return error
    _log.error("store_operation_failed", exc_info=error)
    internal = TetherError(Reason.INTERNAL, "A write was refused by the store")
    internal.__cause__ = error
    return internal


def roll_back(connection: sqlite3.Connection) -> None:
    """Undo what a failed group left, where it left anything."""
    _forget(connection)
    if not connection.in_transaction:
        return
    try:
        connection.execute("ROLLBACK")
    except sqlite3.Error:
        _log.exception("store_rollback_failed")


def _forget(connection: sqlite3.Connection) -> None:
    if isinstance(connection, Writer):
        connection.forget()
