"""States: ends are for good, but for an abandoned job."""

import pytest

from tether.job.state import State, is_open, may


@pytest.mark.parametrize("state", [State.DONE, State.FAILED, State.CANCELLED])
def test_end_is_for_good(state: State) -> None:
    assert not any(may(state, other) for other in State)
    assert not is_open(state)


def test_abandoned_job_may_only_run_again() -> None:
    assert [state for state in State if may(State.ABANDONED, state)] == [State.RESERVED]


def test_reserved_job_may_end_in_any_way_or_be_attempted_again() -> None:
    assert all(may(State.RESERVED, state) for state in State)
    assert is_open(State.RESERVED)
