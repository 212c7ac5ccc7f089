"""Group commit on one PostgreSQL connection: at once when idle, together when busy.

A commit costs one fsync however much it holds. While one is under way callers wait, and those with the same operation
then share the next transaction. One operation per transaction keeps the order in which rows are locked the same
everywhere, so that several orchestrators never wait for each other in a circle.
Source: DeWitt et al., "Implementation Techniques for Main Memory Database Systems", SIGMOD 1984.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg
import structlog

from tether.errors import Reason, TetherError
from tether.store.postgres_fault import RETRY_S, as_error, is_busy, is_fault, is_lost
from tether.store.postgres_line import Line

_log = structlog.get_logger("tether.store")

_GROUP_ITEMS_MAX = 512  # keeps one transaction in the low milliseconds; a guess, bench/store.py replaces it
_WAITING_ITEMS_MAX = 16_384  # callers past this would wait longer than they care; the same guess
_STALL_S = 1.0  # a group that takes so long is stuck: newcomers are told at once
_TRIES_MAX = 3  # of one group: once, once more after a lost connection or a deadlock, and once after the other

Operation = Callable[[asyncpg.Connection, Sequence[Any]], Awaitable[Sequence[Any]]]


@dataclass(slots=True, eq=False)
class Call:
    """One caller's work.

    Attributes:
        operation: what to run; equal ones of a group run together.
        items: its items.
        repeatable: whether running it again after it was committed changes nothing.
        future: where the caller waits.
    """

    operation: Operation
    items: Sequence[Any]
    repeatable: bool
    future: asyncio.Future[Any]

    def answer(self, results: Sequence[Any]) -> None:
        """Tell the caller."""
        if not self.future.done():
            self.future.set_result(list(results))

    def refuse(self, error: BaseException) -> None:
        """Tell the caller that nothing is known to be written."""
        if not self.future.done():
            self.future.set_exception(error)


class Lane:
    """Writes in order, on one connection.

    Args:
        line: the connection; nobody else uses it.
        begin: SQL that opens a transaction: several statements without parameters.
    """

    def __init__(self, line: Line, begin: Callable[[], str]) -> None:
        self._line = line
        self._begin = begin
        self._waiting: list[Call] = []
        self._waiting_items = 0
        self._task: asyncio.Task[None] | None = None
        self._since_s = 0.0
        self._closed = False

    async def submit(self, operation: Operation, items: Sequence[Any], *, repeatable: bool) -> list[Any]:
        """Run a write; see `Postgres.batch`."""
        self._require_room()
        call = Call(operation, items, repeatable, asyncio.get_running_loop().create_future())
        self._waiting.append(call)
        self._waiting_items += len(items)
        if self._task is None or self._task.done():
            self._since_s = time.monotonic()
            self._task = asyncio.get_running_loop().create_task(self._run())
        results: list[Any] = await call.future
        return results

    async def close(self) -> None:
        """Finish what was submitted, then close the line; idempotent."""
        self._closed = True
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)
        await self._line.close()

    def _require_room(self) -> None:
        if self._closed:
            raise TetherError(Reason.STORE_UNAVAILABLE, "The store is closed")
        if not self._line.is_up:
            self._line.get()
        busy = self._task is not None and not self._task.done()
        if busy and time.monotonic() - self._since_s > _STALL_S:
            raise TetherError(Reason.STORE_UNAVAILABLE, "The store's server does not answer", retry_after_s=RETRY_S)
        if self._waiting_items >= _WAITING_ITEMS_MAX:
            raise TetherError(Reason.STORE_UNAVAILABLE, "Too many writes wait for the store", retry_after_s=RETRY_S)

    async def _run(self) -> None:
        """Serve groups until nobody waits; whatever goes wrong, callers are answered."""
        while self._waiting:
            self._since_s = time.monotonic()
            group = self._cut()
            try:
                await self._serve(group)
            except BaseException as error:
                _refuse(group, as_error(error) if is_fault(error) else _internal(error))
                if isinstance(error, asyncio.CancelledError):
                    raise
            await asyncio.sleep(0)  # let the answered callers queue before the next group is cut

    def _cut(self) -> list[Call]:
        """The next group: the oldest call and those with its operation, in order."""
        operation, items = self._waiting[0].operation, 0
        group: list[Call] = []
        rest: list[Call] = []
        for call in self._waiting:
            if call.operation == operation and items < _GROUP_ITEMS_MAX:
                group.append(call)
                items += len(call.items)
            else:
                rest.append(call)
        self._waiting = rest
        self._waiting_items -= items
        return [call for call in group if not call.future.cancelled()]

    async def _serve(self, group: list[Call]) -> None:
        if not group:
            return
        try:
            await self._commit(group)
        except Exception as error:
            if is_fault(error):
                raise
            if len(group) == 1:
                group[0].refuse(_blame(error))
                return
            for call in group:  # one caller's mistake costs the others nothing
                await self._serve([call])

    async def _commit(self, group: list[Call]) -> None:
        """One transaction, again where that is safe."""
        items = group[0].items if len(group) == 1 else [item for call in group for item in call.items]
        for number in range(1, _TRIES_MAX + 1):
            attempt = _Attempt()
            try:
                connection = self._line.get()
            except TetherError as error:
                _refuse(group, error)
                return
            try:
                results = await attempt.run(connection, self._begin(), group[0].operation, items)
            except Exception as error:
                if not is_fault(error):
                    await self._undo(connection)
                    raise
                _log.warning("store_commit_failed", error=type(error).__name__, calls=len(group), attempt=number)
                safe = not attempt.committing or all(call.repeatable for call in group)
                if not await self._may_retry(connection, error, safe=safe) or number == _TRIES_MAX:
                    raise
            else:
                _deliver(group, results)
                return

    async def _may_retry(self, connection: asyncpg.Connection, error: Exception, *, safe: bool) -> bool:
        """Clean the line up; whether the same transaction may go again now."""
        if is_lost(error):
            return await self._line.again() and safe
        await self._undo(connection)
        return is_busy(error) and self._line.is_up and safe

    async def _undo(self, connection: asyncpg.Connection) -> None:
        try:
            await connection.execute("ROLLBACK")
        except Exception as error:  # noqa: BLE001 - whatever it is, a connection that cannot roll back is given up
            _log.warning("store_rollback_failed", error=type(error).__name__)
            self._line.drop()


class _Attempt:
    """One run of a transaction, and how far it came."""

    committing = False

    async def run(
        self, connection: asyncpg.Connection, begin: str, operation: Operation, items: Sequence[Any]
    ) -> Sequence[Any]:
        await connection.execute(begin)
        results = await operation(connection, items)
        self.committing = True
        await connection.execute("COMMIT")
        return results


def _refuse(group: Sequence[Call], error: BaseException) -> None:
    for call in group:
        call.refuse(error)


def _deliver(group: Sequence[Call], results: Sequence[Any]) -> None:
    start = 0
    for call in group:
        call.answer(results[start : start + len(call.items)])
        start += len(call.items)


def _blame(error: Exception) -> BaseException:
    """What the caller gets: its own typed error, or INTERNAL with the cause chained."""
    if isinstance(error, TetherError):
        return error
    return _internal(error)


def _internal(error: BaseException) -> TetherError:
    _log.error("store_operation_failed", exc_info=error)
    internal = TetherError(Reason.INTERNAL, "A write was refused by the store")
    internal.__cause__ = error
    return internal
