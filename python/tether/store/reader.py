"""Reads beside the writer: read-only connections that see one committed state each, within a limit.

In WAL mode a reader neither waits for the writer nor holds it up. Point reads share a connection and a thread; a long
one gets its own, so that it stands in nobody's way.
Source: sqlite.org/wal.html; sqlite.org/c3ref/progress_handler.html.
"""

import asyncio
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import structlog

from tether.store.fault import is_fault, unavailable

READ_S_MAX = 10.0  # a person waits so long; a query that needs more wants an index
_STEPS = 100_000  # of SQLite's machine between two looks at the clock: about a millisecond
_BUSY_TIMEOUT_S = 2.0  # only the recovery of a crashed database makes a reader wait

T = TypeVar("T")
_log = structlog.get_logger("tether.store")


class Reader:
    """Point reads of one database.

    Args:
        path: database file; it must exist when something is read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._executor = ThreadPoolExecutor(1, thread_name_prefix=f"sqlite-read-{path.stem}")
        self._connection: sqlite3.Connection | None = None

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` in a read transaction.

        Raises:
            TetherError: STORE_UNAVAILABLE.
        """
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._work, work)

    async def close(self) -> None:
        """Finish what was submitted, and close; idempotent."""
        await asyncio.to_thread(self._close)

    def _work(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            if self._connection is None:
                self._connection = _connect(self._path)
            return _read(self._connection, work)
        except sqlite3.Error as error:
            self._drop()
            raise unavailable(error) from error

    def _close(self) -> None:
        self._executor.shutdown(wait=True)
        self._drop()

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                connection.close()
            except sqlite3.Error as error:
                _log.exception("store_reader_close_failed", fault=is_fault(error))


def browse(path: Path, work: Callable[[sqlite3.Connection], T]) -> T:
    """Open, read, close; blocks.

    Args:
        path: database file.
        work: gets the connection.

    Returns:
        What `work` returned.

    Raises:
        TetherError: STORE_UNAVAILABLE.
    """
    try:
        connection = _connect(path)
        try:
            return _read(connection, work)
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise unavailable(error) from error


def _connect(path: Path) -> sqlite3.Connection:
    uri = f"{path.absolute().as_uri()}?mode=ro"
    return sqlite3.connect(uri, uri=True, isolation_level=None, timeout=_BUSY_TIMEOUT_S, check_same_thread=False)


def _read(connection: sqlite3.Connection, work: Callable[[sqlite3.Connection], T]) -> T:
    """All statements of `work` see one state."""
    until_s = time.monotonic() + READ_S_MAX
    connection.set_progress_handler(lambda: time.monotonic() > until_s, _STEPS)
    connection.execute("BEGIN")
    try:
        return work(connection)
    finally:
        if connection.in_transaction:
            connection.execute("COMMIT")
