"""Demands of gateways, and their shares of each tenant's limit.

Every gateway beats at every orchestrator, so each of them sees all demands and splits alike. A share only keeps
refusals cheap and fair between gateways; the limit itself is held by the store.
Source: docs/design/seams.md ("Quotas"); `tether.job.share`.
"""

from collections.abc import Callable, Iterable

from tether.job.share import shares
from tether.v1.placement_pb2 import Demand, Share

_TENANTS_MAX = 256  # of one gateway's beat, as placement.proto says
_NEWEST = 0.5  # weight of the newest beat: a burst of two seconds moves a share by three quarters
_GONE_PER_MINUTE = 0.5  # a demand that has sunk below this is none
_BEAT_S_MIN = 0.1  # beats that come in a bunch say nothing of a rate


class Demands:
    """What tenants ask of gateways.

    Args:
        limit: requests per minute of a tenant; 0 for no limit.
        now_s: monotonic clock.
    """

    def __init__(self, limit: Callable[[str], int], now_s: Callable[[], float]) -> None:
        self._limit = limit
        self._now_s = now_s
        self._rates: dict[str, dict[str, float]] = {}
        self._heard_s: dict[str, float] = {}

    def heard(self, session: bytes, demands: Iterable[Demand]) -> list[Share]:
        """A gateway beat; returns its shares of the limits that it is asked to hold.

        Args:
            session: of the gateway.
            demands: requests since its beat before, by tenant.
        """
        gateway, now_s = session.hex(), self._now_s()
        passed_s = max(_BEAT_S_MIN, now_s - self._heard_s.get(gateway, now_s - 1.0))
        self._heard_s[gateway] = now_s
        fresh = {one.tenant_id: one.requests * 60.0 / passed_s for one in list(demands)[:_TENANTS_MAX]}
        for tenant in fresh.keys() | self._tenants(gateway):
            self._learn(tenant, gateway, fresh.get(tenant, 0.0))
        return [
            Share(tenant_id=tenant, requests_per_minute=shares(limit, self._rates[tenant])[gateway])
            for tenant in self._tenants(gateway)
            if (limit := self._limit(tenant))
        ]

    def gone(self, session: bytes) -> None:
        """A gateway is gone: what it had goes to the others."""
        gateway = session.hex()
        self._heard_s.pop(gateway, None)
        for tenant in self._tenants(gateway):
            self._forget(tenant, gateway)

    def _tenants(self, gateway: str) -> list[str]:
        return [tenant for tenant, rates in self._rates.items() if gateway in rates]

    def _learn(self, tenant: str, gateway: str, per_minute: float) -> None:
        rates = self._rates.setdefault(tenant, {})
        known = rates.get(gateway)
        rates[gateway] = per_minute if known is None else known + _NEWEST * (per_minute - known)
        if rates[gateway] < _GONE_PER_MINUTE:
            self._forget(tenant, gateway)

    def _forget(self, tenant: str, gateway: str) -> None:
        rates = self._rates[tenant]
        del rates[gateway]
        if not rates:
            del self._rates[tenant]
