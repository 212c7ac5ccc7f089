"""A retry budget: retries may add a fifth to the offered load and no more, so that a fault is not answered by a storm.

Each request that is offered earns a part of a retry, each retry spends a whole one, and what was earned long ago is
forgotten. A floor lets quiet callers retry at all; it is not added to what a busy one earns.
Source: Finagle's RetryBudget; "Exponential Backoff and Jitter", AWS Architecture Blog, 2015 (full jitter).
"""

import math
from collections import OrderedDict
from collections.abc import Hashable

_KEYS_MAX = 4_096  # tenants or peers in use at a time; one that is forgotten starts with one retry
_EXPONENT_MAX = 32  # beyond it any base is over its cap


class RetryBudget:
    """Budgets by key.

    Args:
        ratio: retries per offered request, 0 to 1.
        floor_per_s: what a key earns however little it offers, retries per second; times `memory_s` over 1.
        memory_s: time after which two thirds of what was not spent are forgotten.
        keys_max: most keys; the one used longest ago is forgotten.
    """

    def __init__(
        self,
        ratio: float = 0.2,  # as Linkerd and Envoy: a fifth more is what a loaded service still bears
        floor_per_s: float = 0.2,  # one in seven seconds: a person is retried, a script is not
        memory_s: float = 10.0,  # as Finagle: longer than the first seconds of a fault, shorter than a quiet hour
        keys_max: int = _KEYS_MAX,
    ) -> None:
        self._ratio = ratio
        self._floor_per_s = floor_per_s
        self._memory_s = memory_s
        self._keys_max = keys_max
        self._by_key: OrderedDict[Hashable, list[float]] = OrderedDict()  # [retries left, last seen, last offer]

    def __len__(self) -> int:
        return len(self._by_key)

    def offer(self, key: Hashable, now_s: float) -> None:
        """A first attempt of a request goes out.

        Args:
            key: whose budget.
            now_s: monotonic time.
        """
        entry = self._at(key, now_s)
        entry[0] += max(0.0, self._ratio - self._floor_per_s * max(0.0, now_s - entry[2]))
        entry[2] = max(entry[2], now_s)

    def retry(self, key: Hashable, now_s: float) -> bool:
        """Whether a retry may go out; if so it is spent. Continuations of a running job do not ask."""
        entry = self._at(key, now_s)
        if entry[0] < 1.0:
            return False
        entry[0] -= 1.0
        return True

    def left(self, key: Hashable, now_s: float) -> float:
        """Retries that are left."""
        return self._at(key, now_s)[0]

    def _at(self, key: Hashable, now_s: float) -> list[float]:
        entry = self._by_key.get(key)
        if entry is None:
            return self._add(key, now_s)
        self._by_key.move_to_end(key)
        gap_s = now_s - entry[1]
        if gap_s > 0:
            # what decays and what flows in over the gap, solved exactly: the balance tends to floor_per_s * memory_s
            kept, rest = math.exp(-gap_s / self._memory_s), self._floor_per_s * self._memory_s
            entry[0] = rest + (entry[0] - rest) * kept
            entry[1] = now_s
        return entry

    def _add(self, key: Hashable, now_s: float) -> list[float]:
        if len(self._by_key) >= self._keys_max:
            self._by_key.popitem(last=False)
        entry = self._by_key[key] = [1.0, now_s, now_s]
        return entry


def backoff_s(attempt: int, chance: float, *, base_s: float = 0.05, cap_s: float = 5.0) -> float:
    """How long to wait before a retry: anything up to a span that doubles with each attempt, so that callers spread.

    Args:
        attempt: retries before this one, from 0.
        chance: drawn evenly from 0 to 1.
        base_s: span before the first retry.
        cap_s: longest span.

    Returns:
        Seconds.
    """
    return chance * min(cap_s, base_s * 2.0 ** min(max(attempt, 0), _EXPONENT_MAX))
