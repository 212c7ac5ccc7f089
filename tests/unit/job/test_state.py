"""States: ends are for good, but for an abandoned job and a dead one; the drawing in the docs shows this table."""

from pathlib import Path

import pytest

from tether.job.state import CHANGES, State, drawing, is_open, may

PICTURES = Path(__file__).parents[3] / "docs/pictures"


@pytest.mark.parametrize("state", [State.DONE, State.FAILED, State.CANCELLED])
def test_end_is_for_good(state: State) -> None:
    assert not any(may(state, other) for other in State)
    assert not is_open(state)


def test_dead_job_may_only_run_again() -> None:
    assert [other for other in State if may(State.DEAD, other)] == [State.RESERVED]


def test_abandoned_job_may_run_again_or_be_committed_by_a_late_receipt() -> None:
    assert [other for other in State if may(State.ABANDONED, other)] == [State.RESERVED, State.DONE]


def test_reserved_job_may_end_in_any_way_or_be_attempted_again() -> None:
    assert all(may(State.RESERVED, state) for state in State)
    assert is_open(State.RESERVED)


def test_drawing_in_the_docs_is_the_table() -> None:
    assert (PICTURES / "job-states.dot").read_text(encoding="utf-8") == drawing(), "run `make pictures`"


def test_picture_in_the_docs_has_every_state_and_change() -> None:
    picture = (PICTURES / "job-states.svg").read_text(encoding="utf-8").replace("&#45;", "-")
    for old, new in CHANGES:
        assert f"<title>{old.name}-&gt;{new.name}</title>" in picture, "run `make pictures`"
