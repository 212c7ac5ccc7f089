"""When to send next: each period, at once while more waits, and later and later while nobody takes it.

Waits after failures are drawn evenly from nothing to a bound that doubles, so that senders that failed together do not
come back together.
Source: Brooker, "Exponential Backoff and Jitter", AWS, 2015 (full jitter).
"""

import math
from dataclasses import dataclass, replace

RETRY_S_MIN = 1.0  # an endpoint that restarts is back in seconds
RETRY_S_MAX = 300.0  # an outage of a night costs a hundred attempts
TOLD_S_MAX = 3_600.0  # the longest that a receiver's Retry-After is believed
_DOUBLINGS_MAX = 16  # past this the bound holds anyway


@dataclass(frozen=True, slots=True)
class Pace:
    """What is known of the last attempts.

    Attributes:
        period_s: time between two batches where all goes well, seconds.
        failures: attempts that failed, one after the other.
    """

    period_s: float
    failures: int = 0

    def went_well(self) -> "Pace":
        """After an attempt that was taken."""
        return replace(self, failures=0)

    def failed(self) -> "Pace":
        """After one that was not."""
        return replace(self, failures=self.failures + 1)

    def wait_s(self, chance: float, *, more: bool = False, told_s: float | None = None) -> float:
        """Seconds until the next attempt.

        Args:
            chance: 0 to 1, drawn for this call.
            more: whether rows wait beyond those that were taken.
            told_s: what the receiver asked for after a failure, seconds.
        """
        if not self.failures:
            return 0.0 if more else self.period_s
        bound_s = min(RETRY_S_MAX, math.ldexp(RETRY_S_MIN, min(self.failures, _DOUBLINGS_MAX)))
        return max(bound_s * chance, min(told_s or 0.0, TOLD_S_MAX))
