"""Background tasks of one owner: bounded, logged when they fail, and all over when it closes."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import structlog

from tether.errors import TetherError
from tether_orchestrator.metrics import UPKEEP_FAILED

_log = structlog.get_logger("tether.orchestrator")


class Tasks:
    """Tasks that run beside their owner.

    Args:
        tasks_max: most at a time.
    """

    def __init__(self, tasks_max: int) -> None:
        self._tasks_max = tasks_max
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    @property
    def full(self) -> bool:
        """Whether no more may be started."""
        return len(self._tasks) >= self._tasks_max

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work`; a failure of it is logged."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    async def close(self) -> None:
        """Cancel and await all."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (fault := task.exception()) is not None:
            _log.error("task_failed", exc_info=fault)


async def every(period_s: float, name: str, work: Callable[[], Awaitable[None]]) -> None:
    """Do `work` again and again; a round that fails is counted and followed by the next.

    Of rounds that fail in a row the 1st, 2nd, 4th, … is logged, so that a long outage does not fill the log.

    Args:
        period_s: pause between rounds.
        name: of the task, in log and metric.
        work: one round.
    """
    failures = 0
    while True:
        await asyncio.sleep(period_s)
        try:
            await work()
        except TetherError as error:
            failures += 1
            UPKEEP_FAILED.labels(name).inc()
            if failures.bit_count() == 1:
                reason, words = error.reason.name, error.message
                _log.warning("upkeep_failed", task=name, reason=reason, error=words, in_a_row=failures)
        else:
            failures = 0
