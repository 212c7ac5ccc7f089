"""Poison: two early deaths isolate a job, a third one alone buries it; bad luck and slow deaths do not."""

import pytest

from tether.job.hold import Position
from tether.job.poison import GAINED_MIN, Cause, Fate, fate, gained, is_point
from tether.job.repeat import ATTEMPTS_MAX
from tether.v1.placement_pb2 import PlaceCause


def at(tokens: int) -> Position:
    return Position(3, tokens, tokens * 4)


@pytest.mark.parametrize("cause", [Cause.WORKER_LOST, Cause.FAILED])
def test_early_death_counts_and_a_late_one_does_not(cause: Cause) -> None:
    assert is_point(cause, at(100), at(100 + GAINED_MIN - 1))
    assert not is_point(cause, at(100), at(100 + GAINED_MIN))


@pytest.mark.parametrize("cause", sorted(set(Cause) - {Cause.WORKER_LOST, Cause.FAILED}))
def test_end_that_is_nobodys_death_does_not_count(cause: Cause) -> None:
    assert not is_point(cause, at(0), at(0))


def test_gain_of_an_answer_without_tokens_is_its_bytes() -> None:
    assert gained(Position(0, 0, 10), Position(0, 0, 90)) == 80
    assert gained(at(9), at(5)) == 0


def test_third_early_death_is_the_job_only_if_it_ran_alone() -> None:
    assert fate(0, 1, alone=False) is Fate.RUN
    assert fate(1, 1, alone=False) is Fate.RUN
    assert fate(2, 2, alone=False) is Fate.ALONE
    assert fate(3, 3, alone=False) is Fate.ALONE
    assert fate(3, 3, alone=True) is Fate.POISON


def test_lucky_job_ends_after_the_last_attempt() -> None:
    assert fate(0, ATTEMPTS_MAX - 1, alone=False) is Fate.RUN
    assert fate(0, ATTEMPTS_MAX, alone=False) is Fate.EXHAUSTED
    assert fate(2, ATTEMPTS_MAX, alone=True) is Fate.EXHAUSTED


def test_causes_are_those_of_the_contract() -> None:
    assert {f"PLACE_CAUSE_{cause.name}": int(cause) for cause in Cause} == dict(PlaceCause.items())
