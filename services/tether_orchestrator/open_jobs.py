"""Jobs that were placed in this life and have not ended: what a drain waits for."""

import asyncio
from collections.abc import Awaitable, Callable

from tether_orchestrator.clock import monotonic_ms

_ASKED_MAX = 256  # of one look: some tens of milliseconds


class OpenJobs:
    """Jobs with their deadlines and the start of their newest attempts."""

    def __init__(self) -> None:
        self._until_ms: dict[bytes, tuple[int, int]] = {}
        self._empty = asyncio.Event()
        self._empty.set()

    def __len__(self) -> int:
        return len(self._until_ms)

    def add(self, job: bytes, deadline_ms: int) -> None:
        """A job was placed."""
        self._until_ms[job] = (deadline_ms, monotonic_ms())
        self._empty.clear()

    def discard(self, job: bytes) -> float:
        """A job ended; returns how long its newest attempt ran, seconds, or 0 where that is not known."""
        found = self._until_ms.pop(job, None)
        if not self._until_ms:
            self._empty.set()
        return (monotonic_ms() - found[1]) / 1_000 if found is not None else 0.0

    def forget(self, now_ms: int) -> None:
        """Drop jobs whose deadline is over: nobody will end them here."""
        for job in [job for job, (until_ms, _start_ms) in self._until_ms.items() if until_ms < now_ms]:
            self.discard(job)

    async def forget_ended(self, ended: Callable[[bytes], Awaitable[bool]]) -> None:
        """Drop jobs that ended elsewhere: drivers and workers commit at any orchestrator.

        Args:
            ended: whether a job has ended.
        """
        for job in list(self._until_ms)[:_ASKED_MAX]:
            if await ended(job):
                self.discard(job)

    async def wait_empty(self) -> None:
        """Return once no job is open."""
        await self._empty.wait()
