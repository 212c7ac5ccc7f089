"""The worker's engine in virtual time: its own turns, taken by the loop where a thread would take them."""

import asyncio
from typing import Any

import tether_worker.report
import tether_worker.supply
from tether_worker.engine.execution import ExecutionEngine, _Commands

TURN_S = 0.01  # once for each paced token
MEMORY_BYTES = (64 << 30, 48 << 30)  # of every host, all and free: workers tell both


class VirtualEngine(ExecutionEngine):
    """An `ExecutionEngine` without a thread."""

    def __init__(self, runtime: Any, on_step: Any, **settings: Any) -> None:
        super().__init__(runtime, on_step, **settings)
        self._due: Any = None
        self._shut = False

    def start(self) -> None:
        """Take turns on the loop."""
        self._loop = asyncio.get_running_loop()
        self._idle.set()

    def submit(self, job: Any, **how: Any) -> Any:
        """As always, and wake up."""
        submission = super().submit(job, **how)
        self._soon(0.0)
        return submission

    def cancel(self, key: Any) -> None:
        """As always, and wake up."""
        super().cancel(key)
        self._soon(0.0)

    async def close(self) -> None:
        """End all jobs."""
        self._shut = True
        self.runtime.close()

    def _take(self) -> Any:
        """What was asked; nobody waits for it here."""
        commands, self._commands = self._commands, _Commands()
        return commands

    def _soon(self, delay_s: float) -> None:
        if self._due is None and not self._shut and self._loop is not None:
            self._due = self._loop.call_later(delay_s, self._tick)

    def _tick(self) -> None:
        self._due = None
        if self._live and not self._shut:
            self._turn()
            self._soon(TURN_S)


tether_worker.supply.ExecutionEngine = VirtualEngine
tether_worker.report.memory_bytes = lambda *_: MEMORY_BYTES
