"""Token buckets per source, in bounded memory: what keeps one sender from using up the checks of all."""

from collections.abc import Hashable
from dataclasses import dataclass

from tether.identity.lru import Lru

SOURCES_MAX = 8_192  # twice the peers that a node may meet in a minute; 100 bytes each


@dataclass(frozen=True, slots=True)
class Rate:
    """How much is allowed.

    Attributes:
        per_s: tokens per second.
        burst: most tokens at once.
    """

    per_s: float
    burst: float


class Budget:
    """One bucket per source and one for all.

    Args:
        each: rate of one source.
        all_together: rate of all sources.
    """

    def __init__(self, each: Rate, all_together: Rate) -> None:
        self._each = each
        self._all = all_together
        self._total = (all_together.burst, 0.0)
        self._sources: Lru[Hashable, tuple[float, float]] = Lru(SOURCES_MAX)

    def take(self, source: Hashable, now_s: float) -> bool:
        """Whether `source` may do one more thing now; if so it is counted."""
        own = _filled(self._sources.get(source) or (self._each.burst, now_s), self._each, now_s)
        total = _filled(self._total, self._all, now_s)
        allowed = own >= 1 and total >= 1
        self._sources.put(source, (own - allowed, now_s))
        self._total = (total - allowed, now_s)
        return allowed


def _filled(bucket: tuple[float, float], rate: Rate, now_s: float) -> float:
    tokens, at_s = bucket
    return min(rate.burst, tokens + max(0.0, now_s - at_s) * rate.per_s)
