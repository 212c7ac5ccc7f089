"""Runs an app with something to do once it is ready: serve on, or end after it."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from tether.app import App, serve

_log = structlog.get_logger("tether.cli")


async def hold(app: App, grace_s: float, greet: Callable[[], Awaitable[None]], *, once: bool) -> int:
    """Start `app`, await `greet()`, then serve until a signal; with `once` drain after the greeting.

    Returns:
        Exit code: 0 after a drain.

    Raises:
        TetherError: what the greeting raised before a signal came, once the app is closed.
    """
    until = asyncio.Event()
    greeting = _Greeting(greet, until, once=once)
    code = await serve(app, grace_s, greeting.start, until=until)
    await greeting.close()
    return code


class _Greeting:
    """The greeting as a task beside the app, which may end it.

    Args:
        greet: what to do.
        until: set when the app is to end.
        once: end the app after the greeting.
    """

    def __init__(self, greet: Callable[[], Awaitable[None]], until: asyncio.Event, *, once: bool) -> None:
        self._greet = greet
        self._until = until
        self._once = once
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin."""
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Give up, where it still runs.

        Raises:
            TetherError: what it raised.
        """
        if self._task is None:
            return
        if not self._task.done():
            self._task.cancel()
        [result] = await asyncio.gather(self._task, return_exceptions=True)
        if isinstance(result, Exception):
            raise result

    async def _run(self) -> None:
        try:
            await self._greet()
        except Exception as error:
            if not self._until.is_set():
                self._until.set()
                raise
            _log.info("greeting ended early", error=str(error))  # whoever stops a region ends its first answer too
        if self._once:
            self._until.set()
