"""Tasks that nobody awaits: kept, logged where they fail, cancelled at the end."""

import asyncio
from collections.abc import Coroutine
from contextvars import Context
from typing import Any

import structlog

_log = structlog.get_logger("tether.gateway")


class Tasks:
    """Tasks of one gateway."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._running)

    def spawn(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """Run `work` beside the caller, and without the names that its log lines are bound to."""
        task = asyncio.create_task(work, context=Context())
        self._running.add(task)
        task.add_done_callback(self._done)
        return task

    async def idle(self) -> None:
        """Return when none runs."""
        while self._running:
            await asyncio.wait(set(self._running))

    async def close(self) -> None:
        """Cancel all."""
        for task in list(self._running):
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._running.discard(task)
        if not task.cancelled() and (fault := task.exception()) is not None:
            _log.error("a task of the gateway failed", exc_info=fault)
