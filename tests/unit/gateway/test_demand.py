"""What tenants ask of a gateway, and its part of their limits."""

from tether.v1.placement_pb2 import Share
from tether_gateway.demand import DEMANDS_MAX, Demands, Minutes


def test_demands_are_told_to_each_listener_once() -> None:
    demands = Demands()
    assert demands.take(1) == demands.take(2) == []
    for _ in range(3):
        demands.note("busy")
    demands.note("quiet")
    assert [(one.tenant_id, one.requests) for one in demands.take(1)] == [("busy", 3), ("quiet", 1)]
    demands.note("quiet")
    assert [(one.tenant_id, one.requests) for one in demands.take(1)] == [("quiet", 1)]
    assert [(one.tenant_id, one.requests) for one in demands.take(2)] == [("busy", 3), ("quiet", 2)]


def test_demands_are_bounded_to_the_most_asked_for() -> None:
    demands = Demands()
    demands.take(1)
    for number in range(DEMANDS_MAX + 50):
        demands.note(f"t{number}")
        if number % 2:
            demands.note(f"t{number}")
    told = demands.take(1)
    assert len(told) == DEMANDS_MAX
    assert told[0].requests == 2


def test_share_narrows_the_minute_and_never_widens_it() -> None:
    minutes = Minutes()
    assert sum(minutes.take("t", 10, 0.0) == 0.0 for _ in range(20)) == 10
    minutes.share([Share(tenant_id="u", requests_per_minute=4), Share(tenant_id="v", requests_per_minute=1e9)])
    assert sum(minutes.take("u", 10, 0.0) == 0.0 for _ in range(20)) == 4
    assert sum(minutes.take("v", 10, 0.0) == 0.0 for _ in range(20)) == 10


def test_share_of_nothing_still_lets_one_through_and_tells_when() -> None:
    minutes = Minutes()
    minutes.share([Share(tenant_id="t", requests_per_minute=0)])
    assert minutes.take("t", 600, 0.0) == 0.0
    assert 0.0 < minutes.take("t", 600, 0.0) <= 60.0
