"""Slices of quota in this orchestrator's hands: drawn while the store is there, spent while it is not.

Only tenants whose rules allow work without the store have one, from their first such job on until they have been silent
for some lives of a slice. A tenant's jobs all go to one orchestrator while it lives, so each of the others follows it:
it holds a slice of its own beside every one that it finds in the store, and can go on when that one dies.
Source: docs/design/design.md §5; `tether.job.slice`.
"""

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from tether.job.price import Price, most
from tether.job.slice import Slice, free, give_back, is_own, is_stale, mark, size, take
from tether.store.jobs import JobStore, Lease, Leased
from tether_orchestrator.metrics import SLICES
from tether_orchestrator.quota import Quotas

_ID_BYTES = 16
_SILENT_LIVES = 6  # an hour at the default: a tenant that asks now and then keeps its slice
_TENANTS_MAX = 1_024  # slices held at a time
_SHRINKS = 4  # a quota that has less left gives a half, a quarter, … of a slice
_LOOK_S = 1.0  # between two looks at what others hold: one read of a small table
_REFUSED_S = 5.0  # a quota that had nothing left is asked again so much later
_log = structlog.get_logger("tether.orchestrator")


@dataclass(slots=True)
class _Want:
    """A tenant's wish.

    Attributes:
        asked_s: when it was last heard, monotonic.
        price: of the dearest thing asked for.
        own: whether the tenant asked here, and not only another that this one follows.
        not_before_s: when the store may be asked for it again.
    """

    asked_s: float
    price: Price
    own: bool
    not_before_s: float = 0.0


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
        self._wanted: dict[str, _Want] = {}
        self._looked_s = float("-inf")
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
        self._want(tenant, price, own=True)

    def _want(self, tenant: str, price: Price, *, own: bool) -> None:
        known, now_s = self._wanted.get(tenant), self._now_s()
        if known is None:
            if len(self._wanted) < _TENANTS_MAX:
                self._wanted[tenant] = _Want(now_s, price, own)
            return
        if known.own and not own:  # its own wish ends by itself: else two would follow each other for ever
            return
        known.asked_s = now_s
        if not known.own or most(price, self._tokens) > most(known.price, self._tokens):
            known.price = price
        known.own = own

    def take(self, tenant: str, tokens: int, micros: int) -> Slice | None:
        """Take a job's hold; None where no slice has room for it."""
        slice_ = self._slices.get(tenant)
        if slice_ is None or not take(slice_, tokens, micros, self._now_s()):
            return None
        return slice_

    def free(self, slice_: Slice, tokens: int, micros: int) -> None:
        """A job has ended and waits to be imported; what it did not use."""
        free(slice_, tokens, micros)

    def give_back(self, slice_: Slice, tokens: int, micros: int) -> None:
        """A job has ended and is in the store; what it did not use and was not freed."""
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
        if now_s - self._looked_s >= _LOOK_S:
            self._looked_s = now_s
            await self._follow()
        for tenant, want in list(self._wanted.items()):
            if now_s - want.asked_s > (_SILENT_LIVES if want.own else 1) * self._life_s:
                del self._wanted[tenant]
                self._retire(tenant)
                continue
            slice_ = self._slices.get(tenant)
            if (slice_ is None or is_stale(slice_, now_s, self._life_s)) and now_s >= want.not_before_s:
                await self._draw(tenant, want)
        await self._settle_old()
        SLICES.set(len(self._slices))

    async def _follow(self) -> None:
        """Want what others were asked for: their tenants come here when they die."""
        for lease in await self._store.leases(""):
            if lease.node != self._node and is_own(lease.lease) and lease.tokens > 0:
                per_thousand = -(-lease.micros * 1_000 // lease.tokens)  # its price, as far as a lease tells
                self._want(lease.tenant, Price(1, 0, per_thousand), own=False)

    async def close(self) -> None:
        """Give back all that no job needs; TetherError where the store is gone: then the store forgets them in time."""
        for tenant in list(self._slices):
            self._retire(tenant)
        await self._settle_old()

    async def _draw(self, tenant: str, want: _Want) -> None:
        """The new slice stands beside the old one for a moment, so that an outage between the two finds one."""
        limits = self._quotas.limits(tenant)
        tokens = size(self._tokens, limits, want.price, self._life_s)
        for _ in range(_SHRINKS):
            asked_s = self._now_s()  # before the store hears of it: the slice ends here before its hold does
            until_ms = time.time_ns() // 1_000_000 + int(self._life_s * 2_000)
            name, micros = mark(secrets.token_bytes(_ID_BYTES), own=want.own), most(want.price, tokens)
            lease = Lease(name, tenant, self._node, tokens, micros, until_ms, limits)
            [result] = await self._store.lease_quota([lease])
            if isinstance(result, Leased):
                self._retire(tenant)
                held, until_s = result.lease, asked_s + self._life_s
                self._slices[tenant] = Slice(name, tenant, held.tokens, held.micros, until_s, granted=held.tokens)
                return
            tokens //= 2
        want.not_before_s = self._now_s() + _REFUSED_S
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
