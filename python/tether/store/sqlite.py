"""One SQLite database on one thread of its own, with group commit.

A commit costs one fsync however much it holds, so callers that arrive while one is under way share the next: at once
when idle, together when busy. Equal operations of a group run as one batch. Nothing returns before it is durable.
Source: sqlite.org/wal.html; group commit after DeWitt et al., "Implementation Techniques for Main Memory Database
Systems", SIGMOD 1984.
"""

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Protocol, TypeVar

import structlog

from tether.errors import Reason, TetherError
from tether.store.fault import is_fault, unavailable
from tether.store.group import Call, roll_back, run_group
from tether.store.migrate import Migration, apply
from tether.store.reader import Reader, browse
from tether.store.sqlite_run import Writer

_log = structlog.get_logger("tether.store")

T = TypeVar("T")
I_contra = TypeVar("I_contra", contravariant=True)
R_co = TypeVar("R_co", covariant=True)

_GROUP_ITEMS_MAX = 512  # keeps one transaction in the low milliseconds; a guess, bench/store.py replaces it
_WAITING_ITEMS_MAX = 16_384  # callers past this would wait longer than they care; a guess, bench/store.py replaces it
_BUSY_TIMEOUT_MS = 2_000  # only an operator's own shell competes for the lock
PRAGMAS = (
    f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_MS}",
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",  # a commit survives a power cut
    "PRAGMA temp_store = MEMORY",
    "PRAGMA cache_size = -16384",  # KiB; the hot rows of a region fit
    "PRAGMA wal_autocheckpoint = 4000",  # pages: a page that many groups change is copied to the file once for them
    "PRAGMA journal_size_limit = 67108864",  # bytes kept of the write-ahead log after a burst
)


class Operation(Protocol[I_contra, R_co]):
    """A write of many items inside a transaction that somebody else opens and commits."""

    def __call__(self, connection: sqlite3.Connection, items: Sequence[I_contra], /) -> Sequence[R_co]:
        """Write `items`; returns one result each, in order."""


class Sqlite:
    """A database file and the thread that owns its connection.

    Use from one event loop; `open` starts the thread and `close` ends it.
    """

    def __init__(self, path: Path, migrations: Sequence[Migration]) -> None:
        self._path = path
        self._migrations = migrations
        self._reader = Reader(path)
        self._loop = asyncio.get_running_loop()
        self._inbox: SimpleQueue[list[Call] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=f"sqlite-{path.stem}", daemon=True)
        self._waiting: list[Call] = []
        self._waiting_items = 0
        self._busy = self._kicked = self._closed = False
        self._opened: asyncio.Future[None] = self._loop.create_future()
        self._ended = asyncio.Event()

    @classmethod
    async def open(cls, path: Path, migrations: Sequence[Migration]) -> "Sqlite":
        """Open or create a database and bring its schema up to date.

        Args:
            path: database file; its folder must exist.
            migrations: all that the store needs, by version.

        Returns:
            The open database.

        Raises:
            TetherError: STORE_UNAVAILABLE, or STATE_UNUSABLE for a schema of a newer Tether.
        """
        database = cls(path, migrations)
        database._thread.start()
        try:
            await asyncio.shield(database._opened)
        except BaseException:
            await database.close()
            raise
        return database

    async def batch(self, operation: Operation[T, R_co], items: Sequence[T]) -> list[R_co]:
        """Write items, in one transaction with whatever else waits.

        Calls with the same `operation` (compared by identity: pass one bound method kept in an attribute, or a plain
        function) that wait together are handed to it as one sequence, in the order of the calls.

        Args:
            operation: the write.
            items: what to write; all or none of them is written.

        Returns:
            One result per item, in order, once durable.

        Raises:
            TetherError: STORE_UNAVAILABLE; nothing was written.
        """
        if not items:
            return []
        results: list[R_co] = await self._submit(operation, items)
        return results

    async def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` inside a transaction.

        Args:
            work: gets the connection; must not begin or commit.

        Returns:
            What `work` returned, once durable.

        Raises:
            TetherError: STORE_UNAVAILABLE; nothing was written.
        """
        result: list[T] = await self._submit(_once(work), (None,))
        return result[0]

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` beside the writer; it sees one committed state.

        Args:
            work: gets a read-only connection.

        Returns:
            What `work` returned.

        Raises:
            TetherError: STORE_UNAVAILABLE.
        """
        self._require_open()
        return await self._reader.run(work)

    async def browse(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run a long read on a connection and thread of its own, so that point reads don't wait for it.

        Args:
            work: gets a read-only connection; it sees one committed state.

        Returns:
            What `work` returned.

        Raises:
            TetherError: STORE_UNAVAILABLE, also when it takes over `READ_S_MAX`.
        """
        self._require_open()
        return await asyncio.to_thread(browse, self._path, work)

    async def close(self) -> None:
        """Finish what was submitted, close the file and end the thread; idempotent."""
        if not self._closed:
            self._closed = True
            await self._reader.close()  # before the writer, whose close then folds the log into the file
            self._kick()
            if not self._busy:
                self._inbox.put(None)
        await self._ended.wait()
        self._thread.join()

    def _submit(self, operation: Operation[Any, Any], items: Sequence[Any]) -> asyncio.Future[Any]:
        self._require_open()
        if self._waiting_items >= _WAITING_ITEMS_MAX:
            raise TetherError(Reason.STORE_UNAVAILABLE, "Too many writes wait for the store", retry_after_s=1.0)
        answer = self._loop.create_future()
        self._waiting.append(Call(operation, items, answer))
        self._waiting_items += len(items)
        if not self._busy and not self._kicked:
            self._kicked = True  # one turn of the loop later, so that callers of the same turn share the group
            self._loop.call_soon(self._kick)
        return answer

    def _require_open(self) -> None:
        if self._closed:
            raise TetherError(Reason.STORE_UNAVAILABLE, "The store is closed")

    def _kick(self) -> None:
        """Hand the thread its next group."""
        self._kicked = False
        if self._busy or not self._waiting:
            return
        group, self._waiting = _cut(self._waiting)
        self._waiting_items -= sum(len(call.items) for call in group)
        self._busy = True
        self._inbox.put(group)

    def _deliver(self, group: list[Call]) -> None:
        """On the loop: answer a group, then let its callers queue before the next one is cut."""
        self._busy = False
        for call in group:
            call.answer()
        if self._waiting and self._closed:
            self._kick()
        elif self._waiting and not self._kicked:
            self._kicked = True
            self._loop.call_soon(self._kick)
        if self._closed and not self._busy:
            self._inbox.put(None)

    def _run(self) -> None:
        """The thread: open, serve groups, close."""
        connection = self._connect()
        if connection is not None:
            while (group := self._inbox.get()) is not None:
                _serve(connection, group)
                self._call(self._deliver, group)
            _close(connection)
        self._call(self._ended.set)

    def _connect(self) -> sqlite3.Connection | None:
        connection: sqlite3.Connection | None = None
        try:
            connection = sqlite3.connect(self._path, isolation_level=None, cached_statements=256, factory=Writer)
            for pragma in PRAGMAS:
                connection.execute(pragma)
            apply(connection, self._migrations)
        except (sqlite3.Error, TetherError, ValueError) as error:
            _log.exception("store_open_failed", store=self._path.stem)
            if connection is not None:
                _close(connection)
            self._call(_fail, self._opened, unavailable(error) if isinstance(error, sqlite3.Error) else error)
            return None
        self._call(_done, self._opened)
        return connection

    def _call(self, callback: Callable[..., None], *args: object) -> None:
        try:
            self._loop.call_soon_threadsafe(callback, *args)
        except RuntimeError:  # the loop was closed before the store: nobody is left to tell
            _log.warning("store_outlived_loop", store=self._path.stem)


def _cut(waiting: list[Call]) -> tuple[list[Call], list[Call]]:
    """The calls of the next group, and the rest."""
    items = 0
    for index, call in enumerate(waiting):
        items += len(call.items)
        if items >= _GROUP_ITEMS_MAX:
            return waiting[: index + 1], waiting[index + 1 :]
    return waiting, []


def _serve(connection: sqlite3.Connection, group: list[Call]) -> None:
    """Run a group; whatever goes wrong, its callers are answered and the thread lives on."""
    try:
        run_group(connection, group)
    except Exception as error:  # noqa: BLE001 - a fault of ours must not leave callers waiting for good
        _log.exception("store_group_failed")
        roll_back(connection)
        for call in group:
            call.error = call.error or TetherError(Reason.INTERNAL, f"The store failed: {type(error).__name__}")


def _once(work: Callable[[sqlite3.Connection], T]) -> Operation[None, T]:
    return lambda connection, _items: [work(connection)]


def _done(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _fail(future: asyncio.Future[None], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)


def _close(connection: sqlite3.Connection) -> None:
    try:
        connection.close()
    except sqlite3.Error as error:
        _log.exception("store_close_failed", fault=is_fault(error))
