"""Token buckets never grant more than burst and rate, and say how long to wait."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tether._native import Buckets

steps = st.lists(st.tuples(st.sampled_from("ab"), st.floats(0, 3), st.floats(0, 2)), max_size=40)


@given(steps, st.floats(0.1, 5), st.floats(0, 8))
def test_take_equals_a_plain_bucket(drawn: list[tuple[str, float, float]], rate_per_s: float, burst: float) -> None:
    buckets, now_s, plain = Buckets(rate_per_s, burst), 0.0, {}
    for key, amount, pause_s in drawn:
        now_s += pause_s
        level, at_s = plain.get(key, (burst, now_s))
        level = min(burst, level + (now_s - at_s) * rate_per_s)
        wait_s = buckets.take(key, amount, now_s)
        if amount <= level:
            level -= amount
            assert wait_s == 0.0
        elif amount > burst:
            assert wait_s == math.inf
        else:
            assert wait_s == pytest.approx((amount - level) / rate_per_s, abs=1e-9)
            assert wait_s > 0
        plain[key] = (level, now_s)
        assert buckets.level(key, now_s) == pytest.approx(level)


def test_key_forgotten_is_full_again_and_the_number_is_bounded() -> None:
    buckets = Buckets(0.0, 1.0, keys_max=2)
    assert buckets.take("a", 1.0, 0.0) == 0.0
    assert buckets.take("a", 1.0, 0.0) == math.inf
    for key in ("b", "c"):
        buckets.take(key, 1.0, 0.0)
    assert len(buckets) == 2
    assert buckets.take("a", 1.0, 0.0) == 0.0


def test_key_with_its_own_rate_keeps_to_it() -> None:
    buckets = Buckets(1.0, 1.0)
    buckets.set("big", 10.0, 100.0)
    assert buckets.take("big", 100.0, 0.0) == 0.0
    assert buckets.take("big", 20.0, 0.0) == pytest.approx(2.0)
    buckets.refund("big", 5.0)
    assert buckets.level("big", 0.0) == 5.0


def test_clock_that_goes_back_gives_nothing() -> None:
    buckets = Buckets(1.0, 1.0)
    buckets.take("a", 1.0, 10.0)
    assert buckets.take("a", 1.0, 5.0) == pytest.approx(1.0)
    assert buckets.take("a", 1.0, 10.5) == pytest.approx(0.5)


@pytest.mark.parametrize("arguments", [(-1.0, 1.0), (1.0, -1.0), (math.nan, 1.0), (1.0, math.inf), (1.0, 1.0, 0)])
def test_settings_out_of_range_are_an_error(arguments: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="rate_per_s"):
        Buckets(*arguments)


def test_call_out_of_range_is_an_error() -> None:
    buckets = Buckets(1.0, 1.0)
    with pytest.raises(ValueError, match="amount"):
        buckets.take("a", -1.0, 0.0)
    with pytest.raises(ValueError, match="amount"):
        buckets.refund("a", math.nan)
    with pytest.raises(ValueError, match="now_s"):
        buckets.take("a", 1.0, math.inf)
    with pytest.raises(ValueError, match="rate_per_s"):
        buckets.set("a", math.nan, 1.0)
