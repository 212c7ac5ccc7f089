"""Spreading: who draws from how many, and that what is worse is not drawn."""

from collections import Counter
from dataclasses import dataclass
from typing import cast

from tether._native import Candidate
from tether.placement.spread import NEAR, counted, looked_at, pick


@dataclass
class Found:
    worker_id: str
    score: float


def candidates(*scores: float) -> list[Candidate]:
    return cast("list[Candidate]", [Found(f"w{number}", score) for number, score in enumerate(scores)])


def test_orchestrator_alone_takes_the_best() -> None:
    assert looked_at(1) == 1
    assert pick(candidates(3.0), "any").worker_id == "w0"


def test_several_look_at_more_within_what_the_index_gives() -> None:
    assert [looked_at(peers) for peers in (2, 4, 100)] == [8, 16, 64]


def test_jobs_spread_over_those_about_as_good_and_prefer_the_better() -> None:
    found = candidates(10.0, 9.9, 9.8, 9.7)
    drawn = Counter(pick(found, f"me job-{number}").worker_id for number in range(6_000))
    assert drawn.keys() == {"w0", "w1", "w2"}
    assert 2_700 < drawn["w0"] < 3_300
    assert 1_700 < drawn["w1"] < 2_300
    assert 800 < drawn["w2"] < 1_200


def test_worker_that_is_much_worse_is_never_drawn() -> None:
    found = candidates(10.0, 10.0 - NEAR - 0.01, 1.0)
    assert {pick(found, f"job-{number}").worker_id for number in range(100)} == {"w0"}


def test_draw_depends_on_job_and_orchestrator_alone() -> None:
    found = candidates(*([5.0] * 16))
    draws = [pick(found, f"{me} {job}").worker_id for me in ("a", "b") for job in range(50)]
    assert draws == [pick(found, f"{me} {job}").worker_id for me in ("a", "b") for job in range(50)]
    assert draws[:50] != draws[50:]


def test_placement_counts_as_many_as_there_are_peers_where_workers_are_not_few() -> None:
    assert counted(1, 1_000) == 1
    assert counted(4, 0) == 1
    assert counted(4, 15) == 2
    assert counted(4, 1_000) == 4
