"""One connection to PostgreSQL that comes back by itself.

While the server is away callers are refused at once, and one task tries again with backoff; nobody waits for a
connection longer than its timeout. A connection that breaks is noticed when it breaks, not when it is used next.
Source: magicstack.github.io/asyncpg; Brooker, "Exponential Backoff and Jitter", AWS, 2015.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import asyncpg
import structlog

from tether.errors import Reason, TetherError
from tether.store.postgres_fault import RETRY_S, as_error, is_fault, is_lost

_log = structlog.get_logger("tether.store")


@dataclass(frozen=True, slots=True)
class Patience:
    """How long each thing may take.

    Attributes:
        connect_s: until a connection stands.
        statement_s: until the server answers a statement of a write; the server itself gives up a little earlier.
        browse_s: the same for a long read.
        lock_s: until another's row lock is free.
        idle_s: that the server keeps a transaction whose client went silent, so that its locks go with it.
        backoff_s: first and longest wait between two attempts to connect.
    """

    connect_s: float = 2.0
    statement_s: float = 3.0
    browse_s: float = 10.0
    lock_s: float = 2.0
    idle_s: float = 5.0
    backoff_s: tuple[float, float] = (0.05, 1.0)


class Line:
    """A connection.

    Args:
        url: `postgresql://…`.
        patience: its time limits.
        statement_s: until the server answers, seconds.
        read_only: whether writes are refused.
    """

    def __init__(self, url: str, patience: Patience, *, statement_s: float, read_only: bool = False) -> None:
        self._url = url
        self._patience = patience
        self._statement_s = statement_s
        self._read_only = read_only
        self._connection: asyncpg.Connection | None = None
        self._mending: asyncio.Task[None] | None = None
        self._closed = False
        self._why: TetherError | None = None
        self._hurry = asyncio.Event()
        self.siblings: tuple[Line, ...] = ()  # lines to the same server: where one gets through, all try at once

    async def connect(self) -> None:
        """Connect now.

        Raises:
            TetherError: STORE_UNAVAILABLE or STORE_UNUSABLE.
        """
        try:
            async with asyncio.timeout(self._patience.connect_s):
                connection = await asyncpg.connect(
                    self._url,
                    timeout=self._patience.connect_s,
                    command_timeout=self._statement_s + 0.5,
                    server_settings=self._settings(),
                )
        except Exception as error:
            if not (is_fault(error) or isinstance(error, ValueError)):
                raise
            self._why = as_error(error) if is_fault(error) else bad_url()
            raise self._why from error
        if self._closed:
            connection.terminate()
            raise TetherError(Reason.STORE_UNAVAILABLE, "The store is closed")
        connection.add_termination_listener(self._broken)
        self._connection, self._why = connection, None

    def get(self) -> asyncpg.Connection:
        """The connection.

        Raises:
            TetherError: STORE_UNAVAILABLE at once, while there is none.
        """
        connection = self._connection
        if connection is None or connection.is_closed():
            self.mend()
            raise self._why or TetherError(
                Reason.STORE_UNAVAILABLE, "The store's server cannot be reached", retry_after_s=RETRY_S
            )
        return connection

    @property
    def is_up(self) -> bool:
        """Whether there is a connection, as far as is known."""
        return self._connection is not None and not self._connection.is_closed()

    def drop(self) -> None:
        """Give up a connection whose state is not known, and get another."""
        connection, self._connection = self._connection, None
        if connection is not None and not connection.is_closed():
            connection.terminate()
        self.mend()

    async def again(self) -> bool:
        """Drop the connection and try once, at once, for another; whether there is one."""
        self.drop()
        if self._mending is not None:
            await asyncio.wait([self._mending], timeout=self._patience.backoff_s[0] * 4)
        return self.is_up

    def hurry(self) -> None:
        """Try again now, if it is waiting to."""
        self._hurry.set()

    def mend(self) -> None:
        """Connect in the background, unless that is under way."""
        if not self._closed and (self._mending is None or self._mending.done()):
            self._mending = asyncio.get_running_loop().create_task(self._mend())

    async def close(self) -> None:
        """Close; idempotent."""
        self._closed = True
        if self._mending is not None:
            self._mending.cancel()
            await asyncio.gather(self._mending, return_exceptions=True)
        connection, self._connection = self._connection, None
        if connection is not None:
            await _close(connection, self._patience.connect_s)

    async def _mend(self) -> None:
        first_s, longest_s = self._patience.backoff_s
        wait_s = first_s
        while not self._closed:
            try:
                await self.connect()
            except TetherError as error:
                if wait_s == first_s:  # once per outage is enough
                    _log.warning("store_connect_failed", reason=error.reason.name, message=error.message)
            else:
                _log.info("store_connected")
                for line in self.siblings:
                    line.hurry()
                return
            await self._pause(_jittered(wait_s))
            wait_s = min(longest_s, wait_s * 2)

    async def _pause(self, wait_s: float) -> None:
        """Wait, unless told to hurry."""
        self._hurry.clear()
        try:
            async with asyncio.timeout(wait_s):
                await self._hurry.wait()
        except TimeoutError:
            return

    def _broken(self, connection: object) -> None:
        """Called by asyncpg when the connection ends."""
        if connection is self._connection and not self._closed:
            self._connection = None
            _log.warning("store_connection_lost")
            self.mend()

    def _settings(self) -> dict[str, str]:
        patience = self._patience
        return {
            "application_name": "tether",
            "timezone": "UTC",
            "synchronous_commit": "on",  # what is acknowledged is on disk, whatever the server's default is
            "default_transaction_isolation": "read committed",
            "default_transaction_read_only": "on" if self._read_only else "off",
            "statement_timeout": _ms(self._statement_s),
            "lock_timeout": _ms(patience.lock_s),
            "idle_in_transaction_session_timeout": _ms(patience.idle_s),
            "plan_cache_mode": "auto" if self._read_only else "force_generic_plan",  # writes never need another plan
            "jit": "off",  # compiling costs more than any statement here runs
        }


def _jittered(wait_s: float) -> float:
    return wait_s * random.uniform(0.5, 1.0)  # noqa: S311 - jitter


async def use(line: Line, work: Callable[[asyncpg.Connection], Awaitable[Any]]) -> Any:  # noqa: ANN401
    """Run a read on a line; once more where the connection was lost under it.

    Raises:
        TetherError: STORE_UNAVAILABLE, STORE_CORRUPT or STORE_UNUSABLE.
    """
    for last in (False, True):
        try:
            return await work(line.get())
        except Exception as error:
            if not is_fault(error):
                raise
            if is_lost(error) and await line.again() and not last:
                continue
            _log.warning("store_read_failed", error=type(error).__name__)
            raise as_error(error) from error
    raise TetherError(Reason.STORE_UNAVAILABLE, "The store's server cannot be reached", retry_after_s=RETRY_S)


async def _close(connection: asyncpg.Connection, timeout_s: float) -> None:
    try:
        await connection.close(timeout=timeout_s)
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        _log.warning("store_close_failed", error=type(error).__name__)
        connection.terminate()


def bad_url() -> TetherError:
    """What an operator is told of an address that asyncpg cannot read."""
    return TetherError(Reason.STORE_UNUSABLE, "The store's address is no PostgreSQL address: postgresql://user@host/db")


def _ms(seconds: float) -> str:
    return str(round(seconds * 1_000))
