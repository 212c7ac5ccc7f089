"""What tenants with a limit ask of this gateway, and which part of their limit it may let through.

Orchestrators split a tenant's limit between gateways by demand; so a gateway counts what was asked, refused or not, and
tells each orchestrator with its beat. The store decides in any case: a share only keeps refusals cheap.
Source: docs/design/seams.md ("Quotas").
"""

from collections import Counter
from collections.abc import Iterable

from tether import _native
from tether.v1 import placement_pb2

DEMANDS_MAX = 256  # as placement.proto says
TENANTS_MAX = 65_536  # as many as have a bucket


class Demands:
    """Requests by tenant since each listener last asked."""

    def __init__(self) -> None:
        self._counts: dict[int, Counter[str]] = {}

    def note(self, tenant: str) -> None:
        """A tenant with a limit asked for something."""
        for counts in self._counts.values():
            if len(counts) < TENANTS_MAX or tenant in counts:
                counts[tenant] += 1

    def take(self, listener: int) -> list[placement_pb2.Demand]:
        """What was asked since `listener` asked before, the most asked for first; nothing at its first time."""
        counts, self._counts[listener] = self._counts.get(listener, Counter()), Counter()
        most = counts.most_common(DEMANDS_MAX)
        return [placement_pb2.Demand(tenant_id=tenant, requests=min(count, 2**32 - 1)) for tenant, count in most]

    def forget(self, listener: int) -> None:
        """A listener is gone."""
        self._counts.pop(listener, None)


class Minutes:
    """Buckets of requests per minute, each as wide as the tenant's limit, or as this gateway's share of it."""

    def __init__(self) -> None:
        self._buckets = _native.Buckets(1.0, 1.0, TENANTS_MAX)
        self._rates: dict[str, tuple[int, float]] = {}
        self._shares: dict[str, float] = {}

    def share(self, shares: Iterable[placement_pb2.Share]) -> None:
        """An orchestrator tells parts of limits."""
        for share in shares:
            if share.tenant_id in self._shares or len(self._shares) < TENANTS_MAX:
                self._shares[share.tenant_id] = max(0.0, share.requests_per_minute)

    def take(self, tenant: str, limit: int, now_s: float) -> float:
        """Take one request; returns 0, or the seconds to wait.

        Args:
            tenant: who asks.
            limit: requests per minute of the whole network, over 0.
            now_s: monotonic seconds.
        """
        part = min(float(limit), self._shares.get(tenant, float(limit)))
        if self._rates.get(tenant) != (limit, part):
            self._buckets.set(tenant, max(part, 1.0) / 60.0, max(part, 1.0))
            self._rates[tenant] = (limit, part)
        return self._buckets.take(tenant, 1.0, now_s)
