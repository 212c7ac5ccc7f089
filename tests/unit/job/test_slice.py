"""Slices: never more than was drawn, never after its time."""

import random

from tether.job.price import FREE, Price
from tether.job.quota import UNLIMITED, Limits
from tether.job.slice import Slice, give_back, is_own, is_stale, mark, size, take


def drawn(tokens: int = 100, micros: int = 50, until_s: float = 10.0) -> Slice:
    return Slice(b"l" * 16, "acme", tokens, micros, until_s)


def test_slice_grants_what_fits_and_no_more() -> None:
    one = drawn()
    assert take(one, 60, 10, 0.0)
    assert not take(one, 60, 10, 0.0)
    assert not take(one, 10, 41, 0.0)
    assert take(one, 40, 40, 0.0)
    assert (one.tokens, one.micros, one.jobs) == (0, 0, 2)


def test_slice_grants_nothing_after_its_time() -> None:
    assert take(drawn(), 1, 0, 9.9)
    assert not take(drawn(), 1, 0, 10.0)


def test_what_was_not_used_may_be_taken_again() -> None:
    one = drawn()
    take(one, 100, 50, 0.0)
    give_back(one, 70, 20)
    assert (one.tokens, one.micros, one.jobs) == (70, 20, 0)


def test_slice_is_drawn_anew_at_half_its_life() -> None:
    assert not is_stale(drawn(until_s=10.0), 4.9, 10.0)
    assert is_stale(drawn(until_s=10.0), 5.0, 10.0)


def test_slice_never_grants_more_than_was_drawn_whatever_the_order() -> None:
    rng, one, out = random.Random(3), drawn(1_000, 1_000), []
    for _ in range(2_000):
        if out and rng.random() < 0.5:
            tokens, used = out.pop(rng.randrange(len(out)))
            give_back(one, tokens - used, 0)
        else:
            tokens = rng.randint(1, 200)
            if take(one, tokens, 0, 0.0):
                out.append((tokens, rng.randint(0, tokens // 50)))
        assert one.tokens >= 0
        assert one.tokens + sum(tokens for tokens, _ in out) <= 1_000
        assert one.jobs == len(out)


def test_slice_that_is_used_up_is_drawn_anew() -> None:
    one = drawn()
    one.granted = 100
    take(one, 50, 0, 0.0)
    assert not is_stale(one, 0.0, 10.0)
    take(one, 1, 0, 0.0)
    assert is_stale(one, 0.0, 10.0)


def test_size_is_a_small_part_of_what_limits_allow() -> None:
    price = Price(1, 1_000, 2_000)
    assert size(1_000, UNLIMITED, price, 60.0) == 1_000
    assert size(1_000, Limits(tokens_per_day=1_600), price, 60.0) == 100
    assert size(1_000, Limits(tokens_per_minute=100), price, 120.0) == 200
    assert size(1_000, Limits(spend_per_day_micros=3_200), price, 60.0) == 100
    assert size(1_000, Limits(spend_per_day_micros=3_200), FREE, 60.0) == 1_000


def test_mark_says_whose_wish_a_lease_is() -> None:
    for lease in (bytes(16), b"\xff" * 16):
        assert is_own(mark(lease, own=True))
        assert not is_own(mark(lease, own=False))
        assert mark(lease, own=True)[:-1] == lease[:-1]
