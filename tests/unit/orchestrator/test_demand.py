"""Demands: shares follow what gateways are asked for, and add up to the limit."""

import pytest

from tether.v1.placement_pb2 import Demand
from tether_orchestrator.demand import Demands

LIMIT = 600
A, B = b"a" * 16, b"b" * 16


class World:
    """Two gateways that beat once a second."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.demands = Demands(lambda tenant: LIMIT if tenant == "acme" else 0, lambda: self.now_s)

    def second(self, a: int, b: int) -> tuple[float, float]:
        self.now_s += 1.0
        return self.beat(A, a), self.beat(B, b)

    def beat(self, session: bytes, requests: int) -> float:
        shares = self.demands.heard(session, [Demand(tenant_id="acme", requests=requests)])
        return next((share.requests_per_minute for share in shares), 0.0)


def test_shares_of_equal_demands_are_equal_and_add_up() -> None:
    world = World()
    for _ in range(5):
        a, b = world.second(20, 20)
    assert a == pytest.approx(LIMIT / 2)
    assert b == pytest.approx(LIMIT / 2)


def test_share_of_a_small_demand_is_met_and_the_rest_is_the_other_ones() -> None:
    world = World()
    for _ in range(12):
        a, b = world.second(1, 100)
    assert a == pytest.approx(60, rel=0.01)
    assert a + b == pytest.approx(LIMIT, rel=0.01)


def test_share_of_a_gateway_that_is_gone_or_silent_goes_to_the_others() -> None:
    world = World()
    world.second(20, 20)
    world.demands.gone(A)
    assert world.beat(B, 20) == pytest.approx(LIMIT)
    world.second(20, 20)
    for _ in range(30):
        a, b = world.second(0, 20)
    assert (a, b) == (0.0, pytest.approx(LIMIT))


def test_tenants_without_a_limit_have_no_share() -> None:
    world = World()
    assert world.demands.heard(A, [Demand(tenant_id="other", requests=5)]) == []
