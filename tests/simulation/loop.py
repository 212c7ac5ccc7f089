"""An event loop in virtual time: a timer is due when all before it is done, however long that took.

Every callback runs in the context of some node. A node that crashed has no callbacks any more: nothing of it is run
again, no clean-up either, as after kill -9. One that is stopped keeps them until it goes on, as after SIGSTOP.
Source: FoundationDB's simulation (Zhou et al., SIGMOD 2021), for the idea; PEP 3156 for the loop.
"""

import asyncio
import contextvars
import heapq
from collections.abc import Callable
from typing import Any

NODE: contextvars.ContextVar[str] = contextvars.ContextVar("node", default="")
WALL_S = 1_800_000_000.0  # seconds since the Unix epoch at virtual time 0


class DeadlockError(RuntimeError):
    """Nothing is due, and nobody is done: something waits for ever."""


def nobody() -> contextvars.Context:
    """A context of no node: wires, and whoever starts processes, outlive nodes."""
    made = contextvars.Context()
    made.run(NODE.set, "nobody")
    return made


def _own(context: contextvars.Context | None) -> contextvars.Context:
    """A callback's context; one that was made empty is the node's that made it."""
    if context is None:
        return contextvars.copy_context()
    if NODE not in context:
        context.run(NODE.set, NODE.get())
    return context


class VirtualLoop(asyncio.base_events.BaseEventLoop):
    """A deterministic loop: same callbacks, same order, same times.

    Attributes:
        dead: lives that have ended, such as `worker-1#2`.
        skew_s: what a node's wall clock is wrong by.
    """

    def __init__(self) -> None:
        super().__init__()
        self._now_s = 0.0
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._made = 0
        self.dead: set[str] = set()
        self._held: dict[str, list[Any]] = {}
        self.skew_s: dict[str, float] = {}
        self.turns = 0

    # what BaseEventLoop asks of a loop

    def time(self) -> float:
        """Virtual seconds since the beginning."""
        return self._now_s

    def _run_once(self) -> None:
        """Let the time pass until something is due, and run it; equal times keep the order they were asked in."""
        self.turns += 1
        ready, timers = self._ready, self._timers
        if not ready:
            while timers and timers[0][2]._cancelled:
                heapq.heappop(timers)
            if not timers:
                raise DeadlockError("nothing is due and nobody is done")
            self._now_s = max(self._now_s, timers[0][0])
        while timers and timers[0][0] <= self._now_s:
            ready.append(heapq.heappop(timers)[2])
        for _ in range(len(ready)):
            handle = ready.popleft()
            if not handle._cancelled:
                handle._run()

    def _write_to_self(self) -> None:
        """Nobody sleeps."""

    def call_soon(self, callback: Callable[..., Any], *args: Any, context: Any = None) -> asyncio.Handle:
        """As every loop; but see the module."""
        own = _own(context)
        return super().call_soon(self._guarded, callback, args, own, context=own)

    def call_at(
        self, when: float, callback: Callable[..., Any], *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        """As every loop; but see the module."""
        own = _own(context)
        timer = asyncio.TimerHandle(when, self._guarded, (callback, args, own), self, own)
        self._made += 1
        heapq.heappush(self._timers, (when, self._made, timer))
        return timer

    def call_soon_threadsafe(self, callback: Callable[..., Any], *args: Any, context: Any = None) -> asyncio.Handle:
        """There are no threads here."""
        return self.call_soon(callback, *args, context=context)

    def _guarded(self, callback: Callable[..., Any], args: tuple[Any, ...], own: contextvars.Context) -> None:
        life = NODE.get()
        if life in self.dead:
            return
        held = self._held.get(life)
        if held is not None:
            held.append((callback, args, own))
            return
        callback(*args)

    # faults

    def kill(self, life: str) -> None:
        """Nothing of this life is run any more."""
        self.dead.add(life)
        self._held.pop(life, None)

    def stop_life(self, life: str, for_s: float) -> None:
        """Hold a life's callbacks back for so many seconds; then they run in their order."""
        if life not in self._held and life not in self.dead:
            self._held[life] = []
            self.call_at(self._now_s + for_s, self._thaw, life, context=nobody())

    def _thaw(self, life: str) -> None:
        for callback, args, own in self._held.pop(life, ()):
            super().call_soon(self._guarded, callback, args, own, context=own)

    # clocks of the node that asks

    def monotonic(self) -> float:
        """Monotonic seconds; any node's."""
        return self._now_s + 1_000.0

    def wall(self) -> float:
        """Seconds since the Unix epoch by the clock of the node that asks."""
        return WALL_S + self._now_s + self.skew_s.get(NODE.get().partition("#")[0], 0.0)
