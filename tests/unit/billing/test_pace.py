"""The pace of sending: each period, at once while more waits, later and later after failures, never without bound."""

from hypothesis import given
from hypothesis import strategies as st

from tether.billing.pace import RETRY_S_MAX, TOLD_S_MAX, Pace


def test_pace_is_the_period_and_nothing_while_more_waits():
    assert Pace(60).wait_s(0.5) == 60
    assert Pace(60).wait_s(0.5, more=True) == 0


def test_pace_after_failures_doubles_to_a_bound():
    pace, bounds = Pace(60), []
    for _ in range(12):
        pace = pace.failed()
        bounds.append(pace.wait_s(1.0))
    assert bounds[:4] == [2, 4, 8, 16]
    assert bounds[-1] == RETRY_S_MAX
    assert pace.went_well().wait_s(1.0) == 60


@given(st.integers(1, 100_000), st.floats(0, 1), st.none() | st.floats(0, 1e9))
def test_pace_after_failures_is_within_bounds_and_not_before_told(failures, chance, told_s):
    wait_s = Pace(60, failures).wait_s(chance, more=True, told_s=told_s)
    assert min(told_s or 0, TOLD_S_MAX) <= wait_s <= max(RETRY_S_MAX, TOLD_S_MAX)
