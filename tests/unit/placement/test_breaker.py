"""Breakers read as a diary: fine, failing, open, one probe, closed or open for longer."""

import random

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
    end(breaker, 9, 0.0, failed=True)
    end(breaker, 1, 0.0)
    end(breaker, 9, 0.0, failed=True)
    assert breaker.circuit(0.0) is Circuit.CLOSED


def test_failures_in_a_row_open_it_whatever_went_well_before() -> None:
    breaker = Breaker(SETTINGS, 0.0)
    end(breaker, 1_000, 0.0)
    end(breaker, 10, 0.5, failed=True)
    assert breaker.circuit(0.5) is Circuit.OPEN
    assert (breaker.trips, breaker.why) == (1, "10 failures in a row")


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
    end(breaker, 9, 0.0, failed=True)
    end(breaker, 1, 0.0)
    end(breaker, 9, 0.0, failed=True)
    end(breaker, 5, 11.0, failed=True)
    assert breaker.circuit(11.0) is Circuit.CLOSED


def test_failures_of_the_half_window_before_count() -> None:
    breaker = Breaker(SETTINGS, 0.0)
    end(breaker, 8, 4.9, failed=True)
    end(breaker, 3, 4.9)
    end(breaker, 8, 4.9, failed=True)
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
    assert breaker.circuit(2.9) is Circuit.OPEN
    assert breaker.circuit(3.0) is Circuit.HALF_OPEN


def test_breakers_tell_only_what_is_not_closed() -> None:
    breakers = Breakers(SETTINGS)
    changes = [breakers.ended("m", "eu", failed=True, s_per_token=0.0, now_s=0.0) for _ in range(10)]
    assert changes == [None] * 9 + [Circuit.OPEN]
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


@pytest.mark.parametrize("per_s", [12, 50, 500])
def test_breaker_of_what_fails_always_opens_within_a_second_and_closes_soon_after_it_heals(per_s: int) -> None:
    breakers = Breakers(SETTINGS)
    bad_s, healed_s = 100.0, 120.0
    open_s = closed_s = None
    for number in range(130 * per_s):
        now_s = number / per_s
        if breakers.unhealthy("m", now_s).get("eu", 1.0) == 0.0:
            continue
        breakers.sent("m", "eu", now_s)
        changed = breakers.ended("m", "eu", failed=bad_s <= now_s < healed_s, s_per_token=0.01, now_s=now_s)
        open_s = now_s if changed is Circuit.OPEN and open_s is None else open_s
        closed_s = now_s if changed is Circuit.CLOSED else closed_s
        breakers.ended("m", "us", failed=False, s_per_token=0.01, now_s=now_s)
    assert open_s is not None
    assert open_s - bad_s < 1.0
    assert closed_s is not None
    assert 0 < closed_s - healed_s < 5.0
    standing = {one.region: (one.circuit, one.trips) for one in breakers.all(130.0)}
    assert standing == {"eu": (Circuit.CLOSED, 1), "us": (Circuit.CLOSED, 0)}


def test_a_third_of_failures_opens_nothing() -> None:
    breakers, rng = Breakers(SETTINGS), random.Random(5)
    for number in range(20_000):
        breakers.ended("m", "eu", failed=rng.random() < 0.3, s_per_token=0.01, now_s=number / 100)
    [standing] = breakers.all(200.0)
    assert standing.trips == 0
    assert 0.2 < standing.error_rate < 0.4


def test_failures_that_come_sooner_than_answers_open_nothing() -> None:
    breaker = Breaker(SETTINGS, 0.0)
    for _ in range(100):
        breaker.sent(0.0)
    end(breaker, 30, 0.05, failed=True)
    assert breaker.circuit(0.05) is Circuit.CLOSED
    end(breaker, 70, 1.0)
    assert (breaker.circuit(1.0), breaker.trips) == (Circuit.CLOSED, 0)


def test_burst_of_which_everything_fails_opens_before_its_end() -> None:
    breaker = Breaker(SETTINGS, 0.0)
    for _ in range(100):
        breaker.sent(0.0)
    end(breaker, 50, 0.05, failed=True)
    assert breaker.circuit(0.05) is Circuit.OPEN


def test_probe_that_does_not_come_about_leaves_its_place_to_the_next() -> None:
    breaker = opened()
    breaker.sent(1.0)
    assert breaker.circuit(1.1) is Circuit.OPEN
    breaker.unsent(1.1)
    assert breaker.circuit(1.1) is Circuit.HALF_OPEN
    breaker.sent(1.1)
    end(breaker, 1, 1.2)
    assert breaker.circuit(1.2) is Circuit.CLOSED
