"""The job store's database in virtual time: the real programs on a real SQLite in memory, with the store's own faults.

A write takes a while; the store can be gone, and it can be gone between a commit and its acknowledgement, which is the
fault that idempotency is for.
"""

import asyncio
import random
import sqlite3
from collections.abc import Callable, Sequence
from typing import Any

from loop import VirtualLoop

from tether.errors import Reason, TetherError
from tether.store import sqlite_run
from tether.store.migrate import load


class Disk:
    """What outlives orchestrators: one database that all of them open.

    Attributes:
        gone: whether it can be reached.
        committed: called after every commit.
        forget: share of writes whose acknowledgement is lost.
    """

    def __init__(self, loop: VirtualLoop, rng: random.Random) -> None:
        self.loop, self.rng = loop, rng
        self.gone = False
        self.forget = 0.0
        self.connection = sqlite3.connect(":memory:", isolation_level=None)
        for migration in load("sqlite", "jobs"):
            for statement in migration.up:
                self.connection.execute(statement)
        self.commits = 0
        self.committed: Callable[[], None] = lambda: None


class SimDatabase:
    """One orchestrator's way to the disk; see `tether.store.jobs_store.Database`."""

    alone = False

    def __init__(self, disk: Disk) -> None:
        self._disk = disk

    async def batch(self, program: Callable[[Sequence[Any]], Any], items: Sequence[Any]) -> list[Any]:
        """Run a program over items."""
        return await self.write(lambda: program(items))

    async def write(self, program: Callable[[], Any]) -> Any:
        """Run a program in a transaction."""
        disk = self._disk
        await asyncio.sleep(disk.rng.uniform(0.0002, 0.003))
        self._reach()
        disk.connection.execute("BEGIN IMMEDIATE")
        try:
            result = self._run(program)
            disk.connection.execute("COMMIT")
        except BaseException:
            disk.connection.execute("ROLLBACK")
            raise
        disk.commits += 1
        disk.committed()
        await asyncio.sleep(disk.rng.uniform(0.0, 0.001))
        if disk.rng.random() < disk.forget:
            raise TetherError(Reason.STORE_UNAVAILABLE, "The store went away before it answered.", retry_after_s=0.1)
        return result

    async def read(self, program: Callable[[], Any]) -> Any:
        """Run a program that does not write."""
        await asyncio.sleep(self._disk.rng.uniform(0.0001, 0.001))
        self._reach()
        return self._run(program)

    browse = read

    def _run(self, program: Callable[[], Any]) -> Any:
        return sqlite_run.run(self._disk.connection, program(), int(self._disk.loop.wall() * 1_000))

    def _reach(self) -> None:
        if self._disk.gone:
            raise TetherError(Reason.STORE_UNAVAILABLE, "The store cannot be reached.", retry_after_s=0.1)

    def enter(self, generation: int) -> None:
        """Nobody fences it here."""

    async def close(self) -> None:
        """The disk stays."""
