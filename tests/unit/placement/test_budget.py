"""Retries stay within a fifth of what is offered."""

import random

import pytest

from tether.placement.budget import RetryBudget, backoff_s


def test_retries_of_a_storm_stay_within_the_ratio():
    budget, sent = RetryBudget(ratio=0.2, floor_per_s=0.1), 0
    for number in range(20_000):
        budget.offer("tenant", number / 100)
        sent += sum(budget.retry("tenant", number / 100) for _ in range(3))
    assert 0.95 * 0.2 * 20_000 < sent <= 0.2 * 20_000 + 1


def test_retry_of_a_quiet_key_is_allowed_at_the_floor():
    budget = RetryBudget(ratio=0.2, floor_per_s=0.2, memory_s=10)
    assert budget.retry("a", 0.0)
    assert not budget.retry("a", 0.1)
    assert budget.retry("a", 10.0)


def test_floor_is_not_added_to_what_a_busy_key_earns():
    budget = RetryBudget(ratio=0.2, floor_per_s=10.0, memory_s=1e9)
    for number in range(1, 1_001):
        budget.offer("a", number / 100)
    assert budget.left("a", 10.0) == pytest.approx(1 + 200, rel=0.01)


def test_savings_of_a_quiet_hour_are_forgotten():
    budget = RetryBudget(ratio=0.2, floor_per_s=0.0)
    for number in range(1_000):
        budget.offer("a", number / 1_000)
    assert budget.left("a", 1.0) > 150
    assert budget.left("a", 61.0) < 1


def test_budget_of_one_key_is_not_spent_by_another():
    budget = RetryBudget()
    assert budget.retry("a", 0.0)
    assert not budget.retry("a", 0.0)
    assert budget.retry("b", 0.0)


def test_clock_that_steps_back_neither_earns_nor_fails():
    budget = RetryBudget()
    budget.offer("a", 100.0)
    before = budget.left("a", 100.0)
    budget.offer("a", 50.0)
    assert budget.left("a", 50.0) == pytest.approx(before + 0.2)


def test_keys_are_bounded_and_the_oldest_goes():
    budget = RetryBudget(keys_max=3)
    for number in range(10):
        budget.offer(number, float(number))
    assert len(budget) == 3


def test_backoff_doubles_up_to_its_cap_and_is_spread_evenly():
    rng = random.Random(1)
    spans = [backoff_s(attempt, 1.0, base_s=0.1, cap_s=1.0) for attempt in range(6)]
    assert spans == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.0, 1.0])
    drawn = [backoff_s(3, rng.random(), base_s=0.1, cap_s=1.0) for _ in range(1_000)]
    assert min(drawn) < 0.02
    assert max(drawn) > 0.78
    assert backoff_s(10_000, 0.5) == pytest.approx(2.5)


def test_default_floor_allows_a_retry_after_a_while():
    budget = RetryBudget()
    assert budget.retry("a", 0.0)
    assert not budget.retry("a", 6.0)
    assert budget.retry("a", 8.0)
