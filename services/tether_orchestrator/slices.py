"""Slices of quota in this orchestrator's hands: drawn while the store is there, spent while it is not.

Only tenants whose rules allow work without the store have one, from their first such job on until they have been silent
for some lives of a slice.
Source: docs/design/design.md §5; `tether.job.slice`.
"""

import secrets
import time
from collections.abc import Callable

import structlog

from tether.job.price import Price, most
from tether.job.slice import Slice, give_back, is_stale, take
from tether.store.jobs import JobStore, Lease, Leased
from tether_orchestrator.metrics import SLICES
from tether_orchestrator.quota import Quotas

_ID_BYTES = 16
_SILENT_LIVES = 6  # an hour at the default: a tenant that asks now and then keeps its slice
_TENANTS_MAX = 1_024  # slices held at a time
_SHRINKS = 4  # a quota that has less left gives a half, a quarter, … of a slice
_log = structlog.get_logger("tether.orchestrator")


class Slices:
    """Slices by tenant.

    Args:
        store: grants them.
        quotas: limits of tenants, and prices.
        node: this orchestrator's node id.
        tokens: of a slice.
        life_s: of a slice.
        now_s: monotonic clock.
    """

    def __init__(
        self, store: JobStore, quotas: Quotas, node: str, *, tokens: int, life_s: float, now_s: Callable[[], float]
    ) -> None:
        self._store = store
        self._quotas = quotas
        self._node = node
        self._tokens = tokens
        self._life_s = life_s
        self._now_s = now_s
        self._wanted: dict[str, tuple[float, Price]] = {}
        self._slices: dict[str, Slice] = {}
        self._old: list[Slice] = []

    def __len__(self) -> int:
        return len(self._slices)

    def want(self, tenant: str, price: Price) -> None:
        """A tenant that may run without the store has asked for something.

        Args:
            tenant: who pays.
            price: of what it asked for; the dearest one sizes the spend of its slice.
        """
        known = self._wanted.get(tenant)
        if known is None and len(self._wanted) >= _TENANTS_MAX:
            return
        dearer = known is None or most(price, self._tokens) > most(known[1], self._tokens)
        self._wanted[tenant] = (self._now_s(), price if dearer or known is None else known[1])

    def take(self, tenant: str, tokens: int, micros: int) -> Slice | None:
        """Take a job's hold; None where no slice has room for it."""
        slice_ = self._slices.get(tenant)
        if slice_ is None or not take(slice_, tokens, micros, self._now_s()):
            return None
        return slice_

    def give_back(self, slice_: Slice, tokens: int, micros: int) -> None:
        """A job has ended and is in the store; what it did not use."""
        give_back(slice_, tokens, micros)

    async def clear(self, used: frozenset[bytes]) -> None:
        """Give back what a former life of this node held; TetherError where the store is gone.

        Args:
            used: leases that jobs wait to be imported from.
        """
        mine = [lease.lease for lease in await self._store.leases(self._node)]
        held = {slice_.lease for slice_ in [*self._slices.values(), *self._old]}
        over = [lease for lease in mine if lease not in used and lease not in held]
        if over:
            await self._store.settle_lease(over)

    async def renew(self) -> None:
        """Draw what is wanted or stale, and give back what is over; TetherError where the store is gone."""
        now_s = self._now_s()
        for tenant, (asked_s, price) in list(self._wanted.items()):
            if now_s - asked_s > _SILENT_LIVES * self._life_s:
                del self._wanted[tenant]
                self._retire(tenant)
                continue
            slice_ = self._slices.get(tenant)
            if slice_ is None or is_stale(slice_, now_s, self._life_s):
                await self._draw(tenant, price)
        await self._settle_old()
        SLICES.set(len(self._slices))

    async def close(self) -> None:
        """Give back all that no job needs; TetherError where the store is gone: then the store forgets them in time."""
        for tenant in list(self._slices):
            self._retire(tenant)
        await self._settle_old()

    async def _draw(self, tenant: str, price: Price) -> None:
        """The new slice stands beside the old one for a moment, so that an outage between the two finds one."""
        tokens = self._tokens
        for _ in range(_SHRINKS):
            asked_s = self._now_s()  # before the store hears of it: the slice ends here before its hold does
            until_ms = time.time_ns() // 1_000_000 + int(self._life_s * 2_000)
            limits = self._quotas.limits(tenant)
            lease = Lease(
                secrets.token_bytes(_ID_BYTES), tenant, self._node, tokens, most(price, tokens), until_ms, limits
            )
            [result] = await self._store.lease_quota([lease])
            if isinstance(result, Leased):
                self._retire(tenant)
                held = result.lease
                self._slices[tenant] = Slice(lease.lease, tenant, held.tokens, held.micros, asked_s + self._life_s)
                return
            tokens //= 2
        _log.info("slice_refused", tenant=tenant)

    def _retire(self, tenant: str) -> None:
        slice_ = self._slices.pop(tenant, None)
        if slice_ is not None:
            self._old.append(slice_)

    async def _settle_old(self) -> None:
        over = [slice_ for slice_ in self._old if not slice_.jobs]
        if over:
            await self._store.settle_lease([slice_.lease for slice_ in over])
            self._old = [slice_ for slice_ in self._old if slice_.jobs]
