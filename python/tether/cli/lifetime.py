"""Runs an app with something to do once it is ready: serve on, or end after it."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable

from tether.app import App, serve


async def hold(app: App, grace_s: float, greet: Callable[[], Awaitable[None]], *, once: bool) -> int:
    """Start `app`, await `greet()`, then serve until a signal; with `once` drain after the greeting.

    Returns:
        Exit code: 0 after a drain, that of the greeting's error where it failed.

    Raises:
        TetherError: what the greeting raised, once the app is closed.
    """
    greetings: list[asyncio.Task[None]] = []

    def ready() -> None:
        greetings.append(asyncio.ensure_future(greet()))
        greetings[0].add_done_callback(stop)

    def stop(task: asyncio.Task[None]) -> None:
        if once or (not task.cancelled() and task.exception() is not None):
            os.kill(os.getpid(), signal.SIGTERM)

    code = await serve(app, grace_s, ready)
    for task in greetings:
        if not task.done():
            task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        if not task.cancelled() and (error := task.exception()) is not None:
            raise error
    return code
