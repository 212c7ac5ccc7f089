"""What senders of one region share: who of them sends, and the batch that is on its way.

Both stand beside the job store. A batch is written here before it is sent for the first time, so that whoever sends it
again sends the same; only the holder of the lease cuts one, and only while none is on its way.
Source: Gray and Cheriton, "Leases", SOSP 1989.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeVar

from tether.billing.batch import Batch
from tether.errors import Reason, TetherError
from tether.store.migrate import load
from tether.store.registry_open import explained, is_postgres
from tether.store.registry_work import Work
from tether.store.work_sqlite import SqliteWorks

NAME = "usage"
T = TypeVar("T")

_TAKE = """
INSERT INTO billing_leases (name, holder, until_ms) VALUES (?, ?, ?)
ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until_ms = excluded.until_ms
WHERE billing_leases.holder = excluded.holder OR billing_leases.until_ms < ?
"""
_HOLDER = "SELECT holder FROM billing_leases WHERE name = ?"
_CUT = """
INSERT INTO billing_batches (name, key, numbers, body, cut_ms)
SELECT name, CAST(? AS TEXT), CAST(? AS TEXT), ?, until_ms FROM billing_leases
WHERE name = ? AND holder = ? AND until_ms > ?
ON CONFLICT (name) DO NOTHING
"""
_WAITING = "SELECT key, numbers, body FROM billing_batches WHERE name = ?"


class Database(Protocol):
    """What runs works."""

    async def read(self, make: Callable[[], Work[T]]) -> T:
        """Run a work that only reads."""

    async def write(self, make: Callable[[], Work[T]]) -> T:
        """Run a work in a transaction; durable on return."""

    async def close(self) -> None:
        """Finish what was asked and let go."""


class Desk:
    """The lease and the batch.

    Args:
        database: open, with the newest schema.
        holder: node id of this sender.
        name: what is sent; each name has a lease and a batch of its own.
    """

    def __init__(self, database: Database, holder: str, name: str = NAME) -> None:
        self._database = database
        self._holder = holder
        self._name = name

    @classmethod
    async def open(cls, url: str | Path, holder: str) -> "Desk":
        """Open or create it.

        Args:
            url: path of a SQLite file, or the `postgresql://…` of the job store.
            holder: node id of this sender.

        Raises:
            TetherError: STORE_UNAVAILABLE, STORE_UNUSABLE.
        """
        if not is_postgres(url):
            return cls(await SqliteWorks.open(Path(url), load("sqlite", "billing")), holder)
        with explained():
            from tether.store.work_postgres import PostgresWorks  # noqa: PLC0415  its driver is an extra

            return cls(await PostgresWorks.open(str(url), load("postgres", "billing")), holder)

    async def hold(self, now_ms: int, lease_ms: int) -> bool:
        """Take or renew the lease; tell whether this sender has it.

        Args:
            now_ms: milliseconds since the Unix epoch.
            lease_ms: how long it stands.

        Raises:
            TetherError: STORE_UNAVAILABLE.
        """

        def work() -> Work[bool]:
            yield _TAKE, (self._name, self._holder, now_ms + lease_ms, now_ms)
            found = yield _HOLDER, (self._name,)
            return bool(found) and found[0][0] == self._holder

        return await self._database.write(work)

    async def release(self) -> None:
        """Give the lease back, where this sender has it."""

        def work() -> Work[None]:
            yield "DELETE FROM billing_leases WHERE name = ? AND holder = ?", (self._name, self._holder)

        await self._database.write(work)

    async def waiting(self) -> Batch | None:
        """Return the batch that is on its way, or None."""
        return await self._database.read(self._waiting)

    async def put(self, batch: Batch, now_ms: int) -> Batch:
        """Write a batch down; returns the one that is on its way then, which is another's where one was.

        Raises:
            TetherError: STORE_UNAVAILABLE, also where the lease was lost.
        """
        numbers = ",".join(map(str, batch.numbers))

        def work() -> Work[Batch | None]:
            yield _CUT, (batch.key, numbers, batch.body, self._name, self._holder, now_ms)
            return (yield from self._waiting())

        written = await self._database.write(work)
        if written is None:
            raise TetherError(Reason.STORE_UNAVAILABLE, "Another orchestrator sends usage now.")
        return written

    async def taken(self, key: str) -> None:
        """Forget a batch that was taken; the same again does nothing."""

        def work() -> Work[None]:
            yield "DELETE FROM billing_batches WHERE name = ? AND key = ?", (self._name, key)

        await self._database.write(work)

    async def close(self) -> None:
        """Let go; the same again does nothing."""
        await self._database.close()

    def _waiting(self) -> Work[Batch | None]:
        found = yield _WAITING, (self._name,)
        return Batch(found[0][0], tuple(map(int, found[0][1].split(","))), found[0][2]) if found else None
