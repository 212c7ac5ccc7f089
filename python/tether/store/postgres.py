"""One PostgreSQL database with group commit, for any number of owners at once.

Writes go over few connections, each a `Lane` that groups its callers; reads go beside them, long ones to a replica
where one is given. Nothing returns before it is durable (synchronous_commit), nothing waits without a limit, and while
the server is away callers are refused at once.
Source: docs/design/design.md §5; postgresql.org/docs/15/wal-async-commit.html.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import asyncpg
import structlog

from tether.errors import Reason, TetherError
from tether.store.migrate import Migration
from tether.store.postgres_lane import Lane
from tether.store.postgres_line import Line, Patience, use
from tether.store.postgres_migrate import apply

_log = structlog.get_logger("tether.store")
T = TypeVar("T")
Work = Callable[[asyncpg.Connection], Awaitable[T]]

_LANES = 2  # one transaction's fsync overlaps the next one's statements
_READS_WAITING_MAX = 1_024  # point reads; each takes a fraction of a millisecond
_STALL_S = 1.0  # a read that takes so long is stuck: newcomers are told at once


class Reads:
    """Reads over one line, one after the other."""

    def __init__(self, line: Line, stall_s: float) -> None:
        self._line = line
        self._lock = asyncio.Lock()
        self._stall_s = stall_s
        self._waiting = 0
        self._since_s = 0.0

    async def run(self, work: Work[T]) -> T:
        """Run a read.

        Raises:
            TetherError: STORE_UNAVAILABLE.
        """
        stuck = self._lock.locked() and time.monotonic() - self._since_s > self._stall_s
        if stuck or self._waiting >= _READS_WAITING_MAX:
            raise TetherError(Reason.STORE_UNAVAILABLE, "The store's server does not answer", retry_after_s=1.0)
        self._waiting += 1
        try:
            async with self._lock:
                self._since_s = time.monotonic()
                result: T = await use(self._line, work)
                return result
        finally:
            self._waiting -= 1

    async def close(self) -> None:
        """Close the line; what runs on it fails."""
        await self._line.close()


class Postgres:
    """A database. Use from one event loop.

    Args:
        url: `postgresql://…`.
        replica: the same of a replica for long reads; empty for none.
        patience: time limits.
        begin: SQL that opens each write transaction, several statements without parameters.
    """

    def __init__(
        self, url: str, *, replica: str = "", patience: Patience | None = None, begin: Callable[[], str] | None = None
    ) -> None:
        limits = patience or Patience()
        opener = begin or _begin
        lines = [Line(url, limits, statement_s=limits.statement_s) for _ in range(_LANES)]
        self._lanes = [Lane(line, opener) for line in lines]
        self._point = Line(url, limits, statement_s=limits.statement_s, read_only=True)
        self._long = Line(url, limits, statement_s=limits.browse_s, read_only=True)
        self._replica = Line(replica, limits, statement_s=limits.browse_s, read_only=True) if replica else None
        self._lines = [*lines, self._point, self._long]
        for line in self._lines:
            line.siblings = tuple(other for other in self._lines if other is not line)
        self._reads = Reads(self._point, _STALL_S)
        self._browses = Reads(self._long, limits.browse_s)
        self._aside = Reads(self._replica, limits.browse_s) if self._replica is not None else None
        self._lane_of: dict[Any, Lane] = {}
        self._closed = False

    @classmethod
    async def open(
        cls,
        url: str,
        migrations: Sequence[Migration],
        *,
        replica: str = "",
        patience: Patience | None = None,
        begin: Callable[[], str] | None = None,
    ) -> "Postgres":
        """Connect, and bring the schema up to date.

        Args:
            url: `postgresql://…`.
            migrations: all that the store needs, by version: `migrate.load("postgres", …)`.
            replica: address of a replica for `browse`; empty for none.
            patience: time limits.
            begin: SQL that opens each write transaction.

        Returns:
            The open database.

        Raises:
            TetherError: STORE_UNAVAILABLE, or STORE_UNUSABLE for an address, a role or a schema that cannot be used.
        """
        database = cls(url, replica=replica, patience=patience, begin=begin)
        try:
            await apply(url, migrations, patience or Patience())
            for line in database._lines:
                await line.connect()
        except BaseException:
            await database.close()
            raise
        if database._replica is not None:
            database._replica.mend()  # one that is away must not keep the primary's store from opening
        return database

    async def batch(
        self,
        operation: Callable[[asyncpg.Connection, Sequence[Any]], Awaitable[Sequence[T]]],
        items: Sequence[Any],
        *,
        repeatable: bool = False,
    ) -> list[T]:
        """Write items, in one transaction with what else waits for the same operation.

        Args:
            operation: the write: gets a connection inside a transaction and the items of all calls in order; compared
                by equality; returns one result per item. It may run more than once, until a run is committed.
            items: what to write; all or none of them is written.
            repeatable: whether it may run again after it may have been committed: when the connection was lost at the
                commit, it does, where it is; else the caller gets STORE_UNAVAILABLE without knowing.

        Returns:
            One result per item, in order, once durable.

        Raises:
            TetherError: STORE_UNAVAILABLE, STORE_CORRUPT or STORE_UNUSABLE; its own, where the operation raised it.
        """
        if not items:
            return []
        lane = self._lane_of.setdefault(operation, self._lanes[len(self._lane_of) % _LANES])
        return await lane.submit(operation, items, repeatable=repeatable)

    async def write(self, work: Work[T], *, repeatable: bool = False) -> T:
        """Run `work` in a transaction of its own.

        Args:
            work: gets a connection inside a transaction; may run more than once, until a run is committed.
            repeatable: as for `batch`.

        Returns:
            What `work` returned, once durable.

        Raises:
            TetherError: as for `batch`.
        """

        async def once(connection: asyncpg.Connection, _items: Sequence[Any]) -> Sequence[T]:
            return [await work(connection)]

        result: list[T] = await self._lanes[-1].submit(once, (None,), repeatable=repeatable)
        return result[0]

    async def read(self, work: Work[T]) -> T:
        """Run a point read; `work` sees what is committed, and must not write.

        Raises:
            TetherError: STORE_UNAVAILABLE, STORE_CORRUPT or STORE_UNUSABLE.
        """
        self._require_open()
        return await self._reads.run(work)

    async def browse(self, work: Work[T]) -> T:
        """Run a long read in one transaction that sees one committed state, on the replica while it is there.

        Raises:
            TetherError: as for `read`.
        """
        self._require_open()
        if self._aside is not None and self._replica is not None and self._replica.is_up:
            try:
                return await self._aside.run(lambda connection: _in_one_state(connection, work))
            except (TetherError, asyncpg.PostgresError) as error:  # it may be far behind, or in its way
                _log.warning("store_replica_failed", error=type(error).__name__)
        return await self._browses.run(lambda connection: _in_one_state(connection, work))

    async def close(self) -> None:
        """Finish what was submitted and close; idempotent."""
        self._closed = True
        for lane in self._lanes:
            await lane.close()
        await self._reads.close()
        await self._browses.close()
        if self._aside is not None:
            await self._aside.close()

    def _require_open(self) -> None:
        if self._closed:
            raise TetherError(Reason.STORE_UNAVAILABLE, "The store is closed")


async def _in_one_state(connection: asyncpg.Connection, work: Work[T]) -> T:
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        return await work(connection)


def _begin() -> str:
    return "BEGIN"
