"""A clock that counts only the time in which this process listened.

Who was stopped, or starved of its core, heard nothing because it did not listen: silence in that time says nothing
about workers and gateways. The clock is ticked by a timer of the event loop and runs on by at most one step between two
ticks.
Source: the "local health" of Lifeguard (Dadgar, Phillips and Currey, 2018).
"""

import time
from collections.abc import Callable

STALL_MS = 1_000  # links live through less
SETTLE_MS = 1_500  # workers whose links broke in a stall are back within; a guess, from what a restart shows
START_MS = 3_000  # workers of an orchestrator's former life dial again within; as long as their waits grow meanwhile
STEP_MS_MAX = 500  # over twice the tick: a loop that is later than this was not listening


def monotonic_ms() -> int:
    """Monotonic clock in milliseconds."""
    return time.monotonic_ns() // 1_000_000


class AttentiveClock:
    """Milliseconds that stand still while the process does.

    Args:
        raw_ms: monotonic clock.
    """

    def __init__(self, raw_ms: Callable[[], int] = monotonic_ms) -> None:
        self._raw_ms = raw_ms
        self._ticked_ms = self._base_ms = raw_ms()
        self._settled_ms = 0

    def began(self) -> None:
        """This process has just started to serve: those who knew its former life are not back yet."""
        self._settled_ms = self._raw_ms() + START_MS

    def tick(self) -> None:
        """The loop runs."""
        raw_ms = self._raw_ms()
        if raw_ms - self._ticked_ms > STALL_MS:
            self._settled_ms = raw_ms + SETTLE_MS
        self._base_ms, self._ticked_ms = self._at(raw_ms), raw_ms

    @property
    def settled(self) -> bool:
        """Whether what this process knows of others is its own: False after a start or stall, or before it sees one."""
        raw_ms = self._raw_ms()
        return raw_ms >= self._settled_ms and raw_ms - self._ticked_ms <= STALL_MS

    def now_ms(self) -> int:
        """Never goes back, and never runs ahead of the raw clock."""
        return self._at(self._raw_ms())

    def _at(self, raw_ms: int) -> int:
        return self._base_ms + min(raw_ms - self._ticked_ms, STEP_MS_MAX)

    def now_s(self) -> float:
        """The same in seconds."""
        return self.now_ms() / 1_000
