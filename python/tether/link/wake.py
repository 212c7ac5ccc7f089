"""One waiter's bell: as light as an asyncio primitive gets, for the token path.

`asyncio.Event` keeps a deque of waiters and loops on them; a link's writer and a stream's reader each have exactly one
waiter, so one future does.
"""

import asyncio


class Wake:
    """A bell with one listener; rings that nobody waits for are remembered, once."""

    __slots__ = ("_rung", "_waiter")

    def __init__(self) -> None:
        self._rung = False
        self._waiter: asyncio.Future[None] | None = None

    @property
    def waiting(self) -> bool:
        """Whether somebody waits and nothing rang."""
        return self._waiter is not None and not self._waiter.done()

    def ring(self) -> None:
        """Let the listener go on, now or when it comes."""
        waiter = self._waiter
        if waiter is None:
            self._rung = True
        elif not waiter.done():
            waiter.set_result(None)

    async def wait(self) -> None:
        """Return at the next ring, or at once when one was missed; one caller at a time."""
        if self._rung:
            self._rung = False
            return
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None
