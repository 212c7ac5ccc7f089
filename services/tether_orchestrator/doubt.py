"""Doubt: whether a worker without a link is dead.

Its link is gone, so it gets no work. If it answers a datagram it may come back; three unanswered pings end the doubt.
Source: docs/design/streams.md §7; the idea of asking before declaring is SWIM's (Das, Gupta and Motivala, DSN 2002).
"""

import asyncio
from collections.abc import Callable
from typing import Protocol

import structlog

from tether_orchestrator.metrics import LOST
from tether_orchestrator.task import Tasks

_log = structlog.get_logger("tether.orchestrator")
_PINGS = 3  # as streams.md says
_PING_S = 0.3  # three fit into the second in which a killed worker must be gone
_AGAIN_S = 1.0  # between rounds, while it answers but has no link
_ROUNDS_MAX = 15  # then its presence has lapsed as well, and it is gone whatever it answers


class Pinger(Protocol):
    """What asks: the overlay."""

    async def ping(self, node_id: str) -> float | None:
        """Round trip in seconds, or None."""


class Doubt:
    """Workers that lost their link.

    Args:
        pinger: asks them.
        tasks: runs the questions.
        dead: called once with (worker, incarnation) when a worker is dead.
        over: called with (worker, incarnation) when a worker lives on, but not that life of it.
    """

    def __init__(
        self, pinger: Pinger, tasks: Tasks, *, dead: Callable[[str, int], None], over: Callable[[str, int], None]
    ) -> None:
        self._pinger = pinger
        self._tasks = tasks
        self._dead = dead
        self._over = over
        self._asked: dict[str, int] = {}

    def lost(self, worker: str, incarnation: int) -> None:
        """A worker's link ended."""
        known = worker in self._asked
        self._asked[worker] = incarnation
        if self._tasks.full:
            self.gone(worker)
        elif not known:
            self._tasks.start(self._ask(worker))

    def heard(self, worker: str, incarnation: int) -> None:
        """A worker has a link again."""
        before = self._asked.pop(worker, incarnation)
        self.replaced(worker, before, incarnation)

    def replaced(self, worker: str, before: int, after: int) -> None:
        """A worker's newer link took the place of an older one; a restarted worker has lost its jobs."""
        if after > before:
            _log.warning("worker_restarted", worker=worker, incarnation=before)
            self._over(worker, before)

    def gone(self, worker: str) -> None:
        """A worker withdrew its presence: no doubt about it."""
        incarnation = self._asked.pop(worker, None)
        if incarnation is not None:
            self._declare(worker, incarnation)

    async def _ask(self, worker: str) -> None:
        for _round in range(_ROUNDS_MAX):
            if not await self._answers(worker):
                break
            if worker not in self._asked:
                return
            await asyncio.sleep(_AGAIN_S)
        self.gone(worker)

    async def _answers(self, worker: str) -> bool:
        for _ping in range(_PINGS):
            if worker not in self._asked:
                return True
            try:
                async with asyncio.timeout(_PING_S):
                    if await self._pinger.ping(worker) is not None:
                        return True
            except TimeoutError:  # no answer, which is what is being asked
                continue
        return False

    def _declare(self, worker: str, incarnation: int) -> None:
        LOST.inc()
        _log.info("worker_dead", worker=worker, incarnation=incarnation)
        self._dead(worker, incarnation)
