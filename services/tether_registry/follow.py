"""Follows a store that other registries write too: asks for its revision, and posts what is new.

Asking four times a second costs one row each; it needs no standing connection and misses nothing, since revisions
become visible in order. While the store is away the board keeps showing what it has.
"""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from tether.errors import TetherError
from tether_registry import metrics
from tether_registry.board import Board

_log = structlog.get_logger("tether.registry")


class StoreFollower:
    """Follows until closed.

    Args:
        revision: returns the store's revision.
        board: refreshed when it is another.
        period_s: time between two questions, seconds.
    """

    def __init__(self, revision: Callable[[], Awaitable[int]], board: Board, period_s: float) -> None:
        self._revision = revision
        self._board = board
        self._period_s = period_s
        self._task: asyncio.Task[None] | None = None
        self._up = True

    def start(self) -> None:
        """Begin; returns at once."""
        self._task = asyncio.create_task(self._run(), name="store-follower")

    async def close(self) -> None:
        """Stop; the same again does nothing."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._period_s)
            try:
                if await self._revision() != self._board.revision:
                    await self._board.refresh()
            except TetherError as error:
                self._tell(up=False, why=error.message)
            else:
                self._tell(up=True, why="")

    def _tell(self, *, up: bool, why: str) -> None:
        """Say once that the store went or came back."""
        if up != self._up:
            metrics.STORE_UP.set(int(up))
            if up:
                _log.info("store is back")
            else:
                _log.warning("store is away; what is known is served", why=why)
        self._up = up
