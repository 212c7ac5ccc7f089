"""Outcomes: the first one written holds."""

import pytest

from tether.job.outcome import ANY_EPOCH, Verdict, decide
from tether.job.state import State


@pytest.mark.parametrize("asked", [State.DONE, State.FAILED, State.CANCELLED, State.ABANDONED])
def test_first_outcome_is_written(asked: State) -> None:
    assert decide(State.RESERVED, 2, asked, 2) is Verdict.WRITE
    assert decide(State.RESERVED, 2, asked, ANY_EPOCH) is Verdict.WRITE


@pytest.mark.parametrize("state", [State.DONE, State.FAILED, State.CANCELLED, State.DEAD])
def test_later_outcome_changes_nothing(state: State) -> None:
    assert decide(state, 1, State.DONE, 1) is Verdict.HOLDS


def test_receipt_of_an_abandoned_attempt_still_commits_its_answer() -> None:
    assert decide(State.ABANDONED, 2, State.DONE, 2) is Verdict.LATE
    assert decide(State.ABANDONED, 2, State.DONE, 1) is Verdict.HOLDS
    assert decide(State.ABANDONED, 2, State.DONE, ANY_EPOCH) is Verdict.HOLDS
    assert decide(State.ABANDONED, 2, State.FAILED, 2) is Verdict.HOLDS
    assert decide(State.RESERVED, 3, State.DONE, 2) is Verdict.STALE  # it runs again since


def test_outcome_of_an_older_attempt_is_stale() -> None:
    assert decide(State.RESERVED, 2, State.DONE, 1) is Verdict.STALE


def test_outcome_of_no_attempt_is_unknown() -> None:
    assert decide(State.RESERVED, 1, State.DONE, 2) is Verdict.UNKNOWN
    assert decide(State.RESERVED, 1, State.RESERVED, 1) is Verdict.UNKNOWN


def test_raced_job_is_ended_by_its_driver_alone() -> None:
    for epoch in (1, 2):
        assert decide(State.RESERVED, 2, State.DONE, epoch, raced_epoch=1, driver=False) is Verdict.RACED
        assert decide(State.RESERVED, 2, State.DONE, epoch, raced_epoch=1, driver=True) is Verdict.WRITE


def test_raced_job_may_be_cancelled_by_anyone_and_older_attempts_stay_stale() -> None:
    assert decide(State.RESERVED, 3, State.CANCELLED, ANY_EPOCH, raced_epoch=2, driver=False) is Verdict.WRITE
    assert decide(State.RESERVED, 3, State.DONE, 1, raced_epoch=2, driver=True) is Verdict.STALE


def test_answer_of_the_raced_attempt_of_an_abandoned_job_is_late() -> None:
    for epoch, verdict in ((2, Verdict.LATE), (1, Verdict.LATE), (3, Verdict.UNKNOWN), (ANY_EPOCH, Verdict.HOLDS)):
        assert decide(State.ABANDONED, 2, State.DONE, epoch, raced_epoch=1) is verdict
    assert decide(State.ABANDONED, 2, State.DONE, 1) is Verdict.HOLDS
    assert decide(State.ABANDONED, 2, State.DONE, ANY_EPOCH) is Verdict.HOLDS
