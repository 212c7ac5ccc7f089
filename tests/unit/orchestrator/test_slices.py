"""Slices: drawn beforehand, anew at half their life, smaller where little is left, and given back."""

from collections.abc import Sequence
from typing import Any, cast

from tether.errors import Reason, TetherError
from tether.job.price import FREE, Price
from tether.job.quota import UNLIMITED, Limits
from tether.store.jobs import Lease, Leased, Refused
from tether_orchestrator.slices import Slices

LIFE_S = 100.0


class Store:
    """Grants up to what is left."""

    def __init__(self, left: int = 10_000) -> None:
        self.left = left
        self.held: dict[bytes, Lease] = {}
        self.given_back: list[bytes] = []

    async def lease_quota(self, batch: Sequence[Lease]) -> list[Leased | Refused]:
        [lease] = batch
        if lease.tokens > self.left:
            return [Refused(TetherError(Reason.QUOTA_EXCEEDED, "no more"))]
        self.left -= lease.tokens
        self.held[lease.lease] = lease
        return [Leased(lease, open=True, written=True)]

    async def settle_lease(self, leases: Sequence[bytes]) -> list[Leased | Refused]:
        for lease in leases:
            self.left += self.held.pop(lease).tokens
        self.given_back += leases
        return []

    async def leases(self, node: str) -> Sequence[Lease]:
        return [lease for lease in self.held.values() if node in ("", lease.node)]


class Quotas:
    """The same limits for all."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits

    def limits(self, tenant: str) -> Limits:
        return self._limits


class World:
    """Slices on a clock that the test moves."""

    def __init__(self, left: int = 10_000, limits: Limits = UNLIMITED) -> None:
        self.now_s = 0.0
        self.store = Store(left)
        self.quotas = Quotas(limits)
        self.slices = self.of("me")

    def of(self, node: str) -> Slices:
        store, quotas = cast("Any", self.store), cast("Any", self.quotas)
        return Slices(store, quotas, node, tokens=1_000, life_s=LIFE_S, now_s=lambda: self.now_s)


async def test_slice_is_drawn_for_a_tenant_that_wants_one_and_not_before() -> None:
    world = World()
    await world.slices.renew()
    assert world.slices.take("acme", 1, 0) is None
    world.slices.want("acme", FREE)
    await world.slices.renew()
    assert world.slices.take("acme", 1_000, 0)
    assert world.slices.take("acme", 1, 0) is None
    assert world.slices.take("other", 1, 0) is None


async def test_slice_is_drawn_anew_at_half_its_life_and_the_old_one_goes_when_no_job_needs_it() -> None:
    world = World()
    world.slices.want("acme", FREE)
    await world.slices.renew()
    old = world.slices.take("acme", 100, 0)
    world.now_s = LIFE_S / 2 - 1
    await world.slices.renew()
    assert len(world.store.held) == 1
    world.now_s = LIFE_S / 2
    await world.slices.renew()
    assert len(world.store.held) == 2
    assert old is not None
    world.slices.give_back(old, 90, 0)
    await world.slices.renew()
    assert world.store.given_back == [old.lease]
    assert world.slices.take("acme", 1_000, 0)


async def test_slice_that_could_not_be_renewed_ends_with_its_life() -> None:
    world = World()
    world.slices.want("acme", FREE)
    await world.slices.renew()
    world.now_s = LIFE_S
    assert world.slices.take("acme", 1, 0) is None


async def test_slice_is_smaller_where_little_is_left_of_the_quota() -> None:
    world = World(left=300)
    world.slices.want("acme", FREE)
    await world.slices.renew()
    assert world.slices.take("acme", 250, 0)
    empty = World(left=0)
    empty.slices.want("acme", FREE)
    await empty.slices.renew()
    assert len(empty.slices) == 0


async def test_silent_tenant_loses_its_slice_and_the_end_gives_all_back() -> None:
    world = World()
    for tenant in ("acme", "other"):
        world.slices.want(tenant, FREE)
    await world.slices.renew()
    world.now_s = 7 * LIFE_S
    world.slices.want("other", FREE)
    await world.slices.renew()
    assert len(world.slices) == 1
    await world.slices.close()
    assert (len(world.slices), world.store.held, world.store.left) == (0, {}, 10_000)


async def test_leases_of_a_former_life_are_given_back_but_for_those_that_jobs_wait_in() -> None:
    world = World()
    world.slices.want("acme", FREE)
    await world.slices.renew()
    [used] = world.store.held
    next_life = World()
    next_life.store.held = dict(world.store.held) | {b"x" * 16: Lease(b"x" * 16, "acme", "me", 5, 0, 0)}
    await next_life.slices.clear(frozenset({used}))
    assert next_life.store.given_back == [b"x" * 16]


async def test_another_orchestrator_holds_a_slice_beside_the_one_that_was_asked_and_not_longer() -> None:
    world = World()
    other = world.of("other")
    world.slices.want("acme", Price(3, 20, 40))
    await world.slices.renew()
    await other.renew()
    taken = other.take("acme", 1_000, 40)
    assert taken is not None
    other.give_back(taken, 1_000, 40)
    for _ in range(20):  # lives in which nobody asks for anything: neither keeps the other's alive
        world.now_s += LIFE_S / 2
        await world.slices.renew()
        await other.renew()
    assert not world.store.held


async def test_orchestrator_that_followed_is_followed_once_it_is_asked_itself() -> None:
    world = World()
    other, third = world.of("other"), world.of("third")
    world.slices.want("acme", FREE)
    await world.slices.renew()
    await other.renew()
    await world.slices.close()  # as when it dies, and its lease is given back
    other.want("acme", FREE)
    world.now_s = LIFE_S / 2
    await other.renew()
    await third.renew()
    assert third.take("acme", 1_000, 0)


async def test_slice_that_an_outage_used_up_is_drawn_anew_once_the_store_is_back() -> None:
    world = World()
    world.slices.want("acme", FREE)
    await world.slices.renew()
    used = world.slices.take("acme", 600, 0)
    assert used is not None
    assert world.slices.take("acme", 600, 0) is None
    await world.slices.renew()
    assert world.slices.take("acme", 600, 0)


async def test_what_an_ended_job_did_not_use_serves_others_before_it_is_imported() -> None:
    world = World()
    world.slices.want("acme", FREE)
    await world.slices.renew()
    used = world.slices.take("acme", 1_000, 0)
    assert used is not None
    world.slices.free(used, 900, 0)
    assert world.slices.take("acme", 900, 0)
    assert used.jobs == 2


async def test_quota_that_has_nothing_left_is_not_asked_at_each_round() -> None:
    world = World(left=0)
    world.slices.want("acme", FREE)
    await world.slices.renew()
    world.store.left = 10_000
    world.now_s = 1.0
    await world.slices.renew()
    assert world.slices.take("acme", 1, 0) is None
    world.now_s = 6.0
    await world.slices.renew()
    assert world.slices.take("acme", 1, 0)


async def test_slice_leaves_most_of_a_day_s_limit_to_jobs_that_need_no_slice() -> None:
    world = World(limits=Limits(tokens_per_day=1_600))
    world.slices.want("acme", FREE)
    await world.slices.renew()
    assert [lease.tokens for lease in world.store.held.values()] == [100]
