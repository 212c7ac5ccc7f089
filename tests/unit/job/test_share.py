"""Shares: max-min fair, and together never more than the limit."""

import itertools
import random

import pytest

from tether.job.share import shares


def test_small_demand_is_met_and_the_rest_is_split() -> None:
    assert shares(100, {"a": 10, "b": 500, "c": 500}) == {"a": 10, "b": 45, "c": 45}


def test_what_nobody_asks_for_is_split_evenly() -> None:
    assert shares(100, {"a": 10, "b": 30}) == {"a": 40, "b": 60}
    assert shares(100, {"a": 0, "b": 0}) == {"a": 50, "b": 50}


def test_no_gateway_gets_nothing_and_one_gets_all() -> None:
    assert shares(100, {}) == {}
    assert shares(100, {"a": 3}) == {"a": 100}
    assert shares(0, {"a": 3, "b": 4}) == {"a": 0, "b": 0}


def test_shares_add_up_and_nobody_who_wants_more_gets_less_than_another() -> None:
    rng = random.Random(7)
    for _ in range(500):
        demands = {str(at): rng.uniform(0, 100) for at in range(rng.randint(1, 9))}
        limit = rng.uniform(0, 300)
        parts = shares(limit, demands)
        assert sum(parts.values()) == pytest.approx(limit)
        by_demand = sorted(demands, key=lambda gateway: demands[gateway])
        assert all(parts[low] <= parts[high] + 1e-9 for low, high in itertools.pairwise(by_demand))
