"""Deficit round robin: shares by weight, whatever is asked for."""

from collections import Counter
from dataclasses import dataclass

from tether.placement.fair import RoundRobin


@dataclass(eq=False)
class Job:
    flow: str
    weight: int = 1
    cost: float = 1.0


def drain(ring: RoundRobin[Job], count: int) -> list[str]:
    served = []
    for _ in range(count):
        job = ring.next()
        if job is None:
            break
        ring.served(job)
        served.append(job.flow)
    return served


def filled(*jobs: Job) -> RoundRobin[Job]:
    ring: RoundRobin[Job] = RoundRobin()
    for job in jobs:
        ring.add(job)
    return ring


def test_flows_take_turns_whoever_asks_for_more() -> None:
    ring = filled(*(Job("greedy") for _ in range(9)), Job("a"), Job("b"))
    assert drain(ring, 5) == ["greedy", "a", "b", "greedy", "greedy"]


def test_flows_are_served_by_weight() -> None:
    jobs = [Job(flow, weight) for flow, weight in (("a", 1), ("b", 2), ("c", 5)) for _ in range(500)]
    served = Counter(drain(filled(*jobs), 400))
    assert served == {"a": 50, "b": 100, "c": 250}


def test_large_weights_make_no_long_bursts() -> None:
    jobs = [Job(flow, weight) for flow, weight in (("a", 500), ("b", 1_000)) for _ in range(30)]
    assert drain(filled(*jobs), 6) == ["a", "b", "b", "a", "b", "b"]


def test_dear_jobs_get_fewer_turns() -> None:
    jobs = [Job(flow, 1, cost) for flow, cost in (("dear", 4.0), ("cheap", 1.0)) for _ in range(200)]
    served = Counter(drain(filled(*jobs), 100))
    assert abs(served["cheap"] - 4 * served["dear"]) <= 4


def test_flow_that_runs_empty_saves_nothing_up() -> None:
    ring = filled(Job("a", 10), *(Job("b") for _ in range(40)))
    assert drain(ring, 1) == ["a"]
    for _ in range(20):
        ring.add(Job("a", 10))
    assert drain(ring, 12) == ["b", *["a"] * 10, "b"]


def test_blocked_flow_is_passed_over_and_earns_nothing() -> None:
    ring = filled(*(Job("a") for _ in range(20)), *(Job("b") for _ in range(20)))
    for _ in range(50):
        job = ring.next({"a"})
        assert job is not None
        assert job.flow == "b"
    assert ring.next({"a", "b"}) is None
    assert Counter(drain(ring, 20)) == {"a": 10, "b": 10}


def test_removed_job_is_not_served() -> None:
    job, other = Job("a"), Job("b")
    ring = filled(job, other)
    assert ring.remove(job)
    assert not ring.remove(job)
    assert (len(ring), ring.size("a"), ring.weights) == (1, 0, 1)
    assert drain(ring, 5) == ["b"]
    assert (len(ring), ring.weights, ring.next()) == (0, 0, None)
