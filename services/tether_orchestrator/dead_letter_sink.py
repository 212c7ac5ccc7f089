"""Where dead letters are told of elsewhere: a sink that is fed in the background, and lost rather than waited for.

The store keeps every dead letter; a sink gets a copy when one dies and another when its request is handed over, under
the same name. What a sink does not take is counted and logged: it never holds up a job.
"""

import asyncio
from typing import Protocol

import structlog

from tether.errors import TetherError
from tether.store.jobs import DeadLetter
from tether_orchestrator.metrics import FORWARDED

_WAITING_MAX = 1_024  # a poisoned model for a minute or so; the store has them all
_TRIES = 3
_PAUSE_S = 1.0  # between tries
_log = structlog.get_logger("tether.orchestrator")


class DeadLetterSink(Protocol):
    """Takes dead letters somewhere else."""

    async def send(self, letter: DeadLetter) -> None:
        """Take one, with all that is kept; the same name again replaces it. TetherError UNREACHABLE."""


class Forwarder:
    """Feeds a sink in the background.

    Args:
        sink: takes them; None keeps them here.
    """

    def __init__(self, sink: DeadLetterSink | None) -> None:
        self._sink = sink
        self._waiting: asyncio.Queue[DeadLetter] = asyncio.Queue(_WAITING_MAX)
        self._task: asyncio.Task[None] | None = None

    @property
    def on(self) -> bool:
        """Whether there is a sink."""
        return self._sink is not None

    def put(self, letter: DeadLetter) -> None:
        """Forward one soon; one that does not fit any more is counted and left."""
        if self._sink is None:
            return
        if self._waiting.full():
            FORWARDED.labels("dropped").inc()
            return
        self._waiting.put_nowait(letter)
        if self._task is None:
            self._task = asyncio.create_task(self._run(self._sink))

    async def flushed(self) -> None:
        """Return once nothing waits."""
        await self._waiting.join()

    async def close(self) -> None:
        """Stop; what waits stays in the store alone."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _run(self, sink: DeadLetterSink) -> None:
        while True:
            letter = await self._waiting.get()
            try:
                await self._send(sink, letter)
            finally:
                self._waiting.task_done()

    async def _send(self, sink: DeadLetterSink, letter: DeadLetter) -> None:
        for tried in range(_TRIES):
            try:
                await sink.send(letter)
            except TetherError as error:
                _log.warning("dead_letter_not_forwarded", name=letter.name, tried=tried + 1, error=error.message)
                await asyncio.sleep(_PAUSE_S if tried + 1 < _TRIES else 0)
            else:
                FORWARDED.labels("sent").inc()
                return
        FORWARDED.labels("failed").inc()
