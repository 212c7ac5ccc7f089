"""Repeats: join what runs, get what ended, run again only what was abandoned."""

from dataclasses import replace

import pytest

from tether.job.repeat import ATTEMPTS_MAX, Answer, Standing, on_attempt, on_reserve
from tether.job.state import State

RUNNING = Standing(State.RESERVED, 2, 2, True, b"hash", b"digest", b"session")
ABANDONED = replace(RUNNING, state=State.ABANDONED)


def test_reserve_of_another_request_conflicts() -> None:
    assert on_reserve(RUNNING, b"other", b"digest") is Answer.CONFLICT


@pytest.mark.parametrize("state", [State.RESERVED, State.DONE, State.FAILED, State.CANCELLED])
def test_reserve_of_what_runs_or_ended_gets_it(state: State) -> None:
    assert on_reserve(replace(RUNNING, state=state), b"hash", b"digest") is Answer.EXISTING


def test_reserve_of_an_abandoned_job_runs_when_it_is_keyed_and_the_same() -> None:
    assert on_reserve(ABANDONED, b"hash", b"digest") is Answer.RUN
    assert on_reserve(replace(ABANDONED, keyed=False), b"hash", b"digest") is Answer.EXISTING
    assert on_reserve(ABANDONED, b"hash", b"newer") is Answer.EXISTING


def test_resume_runs_an_abandoned_job_again_whoever_named_it() -> None:
    unkeyed = replace(ABANDONED, keyed=False)
    assert on_reserve(unkeyed, b"hash", b"digest", resumed=True) is Answer.RUN
    assert on_reserve(unkeyed, b"other", b"digest", resumed=True) is Answer.CONFLICT
    cancelled = replace(unkeyed, state=State.CANCELLED)
    assert on_reserve(cancelled, b"hash", b"digest", resumed=True) is Answer.EXISTING


def test_reserve_past_the_last_attempt_is_exhausted() -> None:
    assert on_reserve(replace(ABANDONED, attempts=ATTEMPTS_MAX), b"hash", b"digest") is Answer.EXHAUSTED


def test_attempt_compares_session_and_epoch() -> None:
    assert on_attempt(RUNNING, b"hash", b"session", 2) is Answer.RUN
    assert on_attempt(RUNNING, b"hash", b"other", 2) is Answer.EXISTING
    assert on_attempt(RUNNING, b"hash", b"session", 1) is Answer.EXISTING
    assert on_attempt(ABANDONED, b"hash", b"session", 2) is Answer.EXISTING
    assert on_attempt(RUNNING, b"other", b"session", 2) is Answer.CONFLICT
