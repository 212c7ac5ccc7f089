"""Breakers read as a diary: fine, failing, open, one probe, closed or open for longer."""

import pytest

from tether.placement.breaker import Breaker, Breakers, BreakerSettings, Circuit

SETTINGS = BreakerSettings()


def end(breaker: Breaker, count: int, now_s: float, *, failed: bool = False, s_per_token: float = 0.01) -> None:
    for _ in range(count):
        breaker.ended(failed=failed, s_per_token=s_per_token, now_s=now_s)


def opened() -> Breaker:
    breaker = Breaker(SETTINGS, 0.0)
    end(breaker, 20, 0.0, failed=True)
    assert breaker.circuit(0.0) is Circuit.OPEN
    return breaker


def test_few_failures_say_nothing() -> None:
    breaker = Breaker(SETTINGS, 0.0)
    end(breaker, 19, 0.0, failed=True)
    assert breaker.circuit(0.0) is Circuit.CLOSED


def test_half_of_the_window_failing_opens() -> None:
    breaker = Breaker(SETTINGS, 0.0)
    end(breaker, 10, 0.0)
    end(breaker, 9, 0.0, failed=True)
    assert breaker.health(0.0) == 1.0
    end(breaker, 1, 0.0, failed=True)
    assert breaker.health(0.0) == 0.0


def test_slow_jobs_open_it_too() -> None:
    breaker = Breaker(SETTINGS, 0.0)
    end(breaker, 20, 0.0, s_per_token=6.0)
    assert breaker.circuit(0.0) is Circuit.OPEN


def test_failures_of_long_ago_are_forgotten() -> None:
    breaker = Breaker(SETTINGS, 0.0)
    end(breaker, 19, 0.0, failed=True)
    end(breaker, 1, 11.0, failed=True)
    assert breaker.circuit(11.0) is Circuit.CLOSED


def test_failures_of_the_half_window_before_count() -> None:
    breaker = Breaker(SETTINGS, 0.0)
    end(breaker, 19, 4.9, failed=True)
    end(breaker, 1, 5.1, failed=True)
    assert breaker.circuit(5.1) is Circuit.OPEN


def test_pause_is_followed_by_a_single_probe() -> None:
    breaker = opened()
    assert breaker.circuit(0.9) is Circuit.OPEN
    assert breaker.circuit(1.0) is Circuit.HALF_OPEN
    breaker.sent(1.0)
    assert breaker.health(1.1) == 0.0


def test_probe_that_succeeds_closes() -> None:
    breaker = opened()
    breaker.sent(1.0)
    end(breaker, 1, 1.5)
    assert breaker.circuit(1.5) is Circuit.CLOSED


def test_probe_that_fails_doubles_the_pause() -> None:
    breaker = opened()
    breaker.sent(1.0)
    end(breaker, 1, 1.5, failed=True)
    assert breaker.circuit(3.4) is Circuit.OPEN
    assert breaker.circuit(3.5) is Circuit.HALF_OPEN


def test_probe_that_never_ends_is_followed_by_another() -> None:
    breaker = opened()
    breaker.sent(1.0)
    assert breaker.circuit(30.9) is Circuit.OPEN
    assert breaker.circuit(31.0) is Circuit.HALF_OPEN


def test_breakers_tell_only_what_is_not_closed() -> None:
    breakers = Breakers(SETTINGS)
    changes = [breakers.ended("m", "eu", failed=True, s_per_token=0.0, now_s=0.0) for _ in range(20)]
    assert changes == [None] * 19 + [Circuit.OPEN]
    assert breakers.unhealthy("m", 0.0) == {"eu": 0.0}
    assert breakers.unhealthy("m", 1.0) == {"eu": 1.0}
    assert breakers.unhealthy("other", 0.0) == {}
    breakers.sent("m", "eu", 1.0)
    assert breakers.unhealthy("m", 1.0) == {"eu": 0.0}
    assert breakers.ended("m", "eu", failed=False, s_per_token=0.0, now_s=1.5) is Circuit.CLOSED
    assert breakers.unhealthy("m", 1.5) == {}


@pytest.mark.parametrize("region", ["eu", "us"])
def test_breakers_of_other_regions_stay_closed(region: str) -> None:
    breakers = Breakers(SETTINGS)
    for _ in range(20):
        breakers.ended("m", region, failed=True, s_per_token=0.0, now_s=0.0)
    assert set(breakers.unhealthy("m", 0.0)) == {region}
