"""Quotas: exact limits, holds that come back, and clocks that step."""

import random

import pytest

from tether.errors import Reason
from tether.job import quota
from tether.job.hold import Position
from tether.job.price import FREE, Price, cost, most
from tether.job.quota import UNLIMITED, Account, Due, Limits

NOW_MS = 20_000 * 86_400_000 + 3_600_000


def account(now_ms: int = NOW_MS) -> Account:
    made = Account("t")
    quota.turn(made, now_ms)
    return made


def admitted(of: Account, limits: Limits, tokens: int = 10, micros: int = 0, now_ms: int = NOW_MS) -> bool:
    quota.turn(of, now_ms)
    return quota.admit(of, limits, tokens, micros) is None


def test_no_limit_admits_and_counts() -> None:
    of = account()
    assert admitted(of, UNLIMITED, 100, 7)
    assert (of.open_jobs, of.held_tokens, of.held_micros, of.day_tokens, of.day_micros) == (1, 100, 7, 100, 7)


def test_refusal_changes_nothing() -> None:
    of = account()
    limits = Limits(1, 1_000, 1_000, 1, 1_000)
    assert admitted(of, limits)
    before = repr(of)
    assert not admitted(of, limits)
    assert repr(of) == before


@pytest.mark.parametrize("per_minute", [1, 7, 60, 1_000, 60_000])
def test_rate_grants_a_minute_at_once_and_then_its_rate(per_minute: int) -> None:
    of, limits = account(), Limits(requests_per_minute=per_minute)
    assert sum(admitted(of, limits) for _ in range(per_minute + 5)) == per_minute
    quota.turn(of, NOW_MS)
    refused = quota.admit(of, limits, 10, 0)
    assert refused is not None
    assert refused.reason is Reason.RATE_LIMITED
    wait_ms = round((refused.retry_after_s or 0) * 1_000)
    assert 0 <= wait_ms <= 60_000 / per_minute + 1
    assert admitted(of, limits, now_ms=NOW_MS + wait_ms + 1)


def test_rate_over_a_long_time_is_exact() -> None:
    rng, of, limits = random.Random(3), account(), Limits(requests_per_minute=90)
    now_ms, granted = NOW_MS, 0
    for _ in range(20_000):
        now_ms += rng.randint(0, 200)
        granted += admitted(of, limits, now_ms=now_ms)
    minutes = (now_ms - NOW_MS) / 60_000
    assert 90 * minutes - 1 <= granted <= 90 * (minutes + 1)


def test_job_larger_than_a_minute_waits_until_the_bucket_is_full_and_pays_for_it() -> None:
    of, limits = account(), Limits(tokens_per_minute=100)
    assert admitted(of, limits, 250)
    assert not admitted(of, limits, 1, now_ms=NOW_MS + 80_000)
    assert admitted(of, limits, 1, now_ms=NOW_MS + 91_000)
    assert not admitted(of, limits, 250, now_ms=NOW_MS + 149_000)
    assert admitted(of, limits, 250, now_ms=NOW_MS + 152_000)


def test_settlement_returns_what_was_not_used() -> None:
    of, limits = account(), Limits(tokens_per_minute=100, tokens_per_day=150)
    assert admitted(of, limits, 100, 40)
    assert not admitted(of, limits, 60)
    of.open_jobs -= 1
    quota.settle(of, (100, 40, of.day), Due(10, 20, 12))
    assert (of.held_tokens, of.held_micros, of.settled_input, of.settled_output, of.settled_micros) == (
        0,
        0,
        10,
        20,
        12,
    )
    assert (of.day_tokens, of.day_micros) == (30, 12)
    assert admitted(of, limits, 70)
    assert not admitted(of, limits, 1)


def test_settlement_of_yesterdays_hold_leaves_today_alone() -> None:
    of = account()
    assert admitted(of, Limits(tokens_per_day=100), 100)
    yesterday = of.day
    quota.turn(of, NOW_MS + 86_400_000)
    assert of.day_tokens == 0
    assert admitted(of, Limits(tokens_per_day=100), 60, now_ms=NOW_MS + 86_400_000)
    quota.settle(of, (100, 0, yesterday), Due(1, 1, 0))
    assert of.day_tokens == 60


def test_used_beyond_the_hold_is_paid_in_full() -> None:
    of = account()
    assert admitted(of, Limits(tokens_per_day=1_000), 10)
    quota.settle(of, (10, 0, of.day), Due(10, 50, 0))
    assert of.day_tokens == 60


@pytest.mark.parametrize("back_ms", [1, 1_500, 5_000, 3_600_000, 86_400_000, 366 * 86_400_000])
def test_clock_stepping_back_neither_opens_nor_locks(back_ms: int) -> None:
    of, limits = account(), Limits(requests_per_minute=60, tokens_per_day=10_000)
    for _ in range(60):
        assert admitted(of, limits)
    assert not admitted(of, limits, now_ms=NOW_MS - back_ms)
    assert of.day_tokens == 600
    assert admitted(of, limits, now_ms=NOW_MS - back_ms + 3_200)


def test_clock_that_swings_grants_no_more_than_its_forward_steps() -> None:
    of, limits = account(), Limits(requests_per_minute=60)
    granted = sum(admitted(of, limits, now_ms=NOW_MS + (1_000 if at % 2 else 0)) for at in range(500))
    assert granted <= 61


def test_refusal_over_the_day_waits_for_midnight() -> None:
    of = account()
    refused = quota.admit(of, Limits(spend_per_day_micros=10), 1, 11)
    assert refused is not None
    assert refused.reason is Reason.QUOTA_EXCEEDED
    assert refused.retry_after_s == 23 * 3_600


def test_cost_is_rounded_up_once_however_it_is_cut() -> None:
    price, rng = Price(1, 333, 777), random.Random(1)
    position, paid = Position(), 0
    for _ in range(50):
        position = Position(position.input_tokens + rng.randint(0, 3), position.output_tokens + rng.randint(0, 9))
        paid += cost(price, position) - paid
    assert paid == -(-(position.input_tokens * 333 + position.output_tokens * 777) // 1_000)
    assert most(price, position.tokens) >= paid
    assert cost(FREE, position) == most(FREE, 5) == 0
