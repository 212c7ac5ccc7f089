"""How many a second are served while somebody waits: counts and time both fade, so the newest seconds count most.

Time in which nobody waits is left out, because then the rate says what was asked for and not what could be done.
Source: exponentially weighted moving averages, as in the load average of Unix.
"""

import math

_MEMORY_S = 5.0  # time after which two thirds are forgotten: some jobs of a busy model


class Rate:
    """A rate of events.

    Args:
        memory_s: time after which two thirds of what was seen are forgotten.
    """

    def __init__(self, memory_s: float = _MEMORY_S) -> None:
        self._memory_s = memory_s
        self._events = 0.0
        self._spent_s = 0.0
        self._at_s: float | None = None

    def begin(self, now_s: float) -> None:
        """Somebody waits from now on."""
        if self._at_s is None:
            self._at_s = now_s

    def end(self) -> None:
        """Nobody waits any more."""
        self._at_s = None

    def event(self, now_s: float) -> None:
        """One was served; it counts only while somebody waits."""
        if self._at_s is None:
            return
        gap_s = max(0.0, now_s - self._at_s)
        kept = math.exp(-gap_s / self._memory_s)
        self._events = self._events * kept + 1.0
        self._spent_s = self._spent_s * kept + gap_s
        self._at_s = now_s

    def per_s(self, now_s: float) -> float:
        """Events per second; 0 while nothing is known."""
        waiting_s = max(0.0, now_s - self._at_s) if self._at_s is not None else 0.0
        spent_s = self._spent_s + waiting_s
        return self._events / spent_s if self._events >= 1.0 and spent_s > 0 else 0.0
