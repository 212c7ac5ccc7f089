"""QuotaGuard: this worker's own bounds on tenants, whatever tickets say.

Orchestrators hold quotas; the guard only keeps one tenant, or one mistaken orchestrator, from taking a whole worker.
"""

from collections import Counter

from tether.errors import Reason, TetherError

RETRY_S = 0.5  # a slot frees in about half a second under load (a guess; bench/scheduling.py)


class QuotaGuard:
    """Counts attempts in hand.

    Args:
        jobs_max: most attempts in hand, waiting ones among them.
        tenant_jobs_max: most of one tenant; 0 is no bound of its own.
    """

    def __init__(self, jobs_max: int, tenant_jobs_max: int = 0) -> None:
        self._jobs_max = jobs_max
        self._tenant_max = tenant_jobs_max or jobs_max
        self._held: Counter[str] = Counter()

    def __repr__(self) -> str:
        return f"QuotaGuard({self._held.total()} of {self._jobs_max} in hand)"

    @property
    def held(self) -> int:
        """Attempts in hand."""
        return self._held.total()

    def take(self, tenant: str) -> None:
        """Take room for one attempt; TetherError OVERLOADED without room."""
        if self._held.total() >= self._jobs_max:
            raise TetherError(Reason.OVERLOADED, "The worker has no room.", retry_after_s=RETRY_S)
        if self._held[tenant] >= self._tenant_max:
            raise TetherError(Reason.OVERLOADED, "The worker has no room for this tenant.", retry_after_s=RETRY_S)
        self._held[tenant] += 1

    def give(self, tenant: str) -> None:
        """Give room back."""
        self._held[tenant] -= 1
        if self._held[tenant] <= 0:
            del self._held[tenant]
