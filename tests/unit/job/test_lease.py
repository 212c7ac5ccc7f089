"""Leases: judged by one's own clock, and never right after an outage."""

from tether.job.lease import Leases

GATEWAY = b"g" * 16


def test_session_that_beats_stands_and_one_that_stops_lapses() -> None:
    leases = Leases(5.0, 100.0)
    leases.seen(GATEWAY, 1, 101.0)
    leases.seen(GATEWAY, 2, 105.0)
    assert not leases.lapsed(GATEWAY, 109.9)
    assert leases.lapsed(GATEWAY, 110.0)


def test_row_that_does_not_change_is_no_beat() -> None:
    leases = Leases(5.0, 100.0)
    for now_s in (101.0, 103.0, 105.0):
        leases.seen(GATEWAY, 1, now_s)
    assert leases.lapsed(GATEWAY, 106.0)


def test_session_that_was_heard_stands() -> None:
    leases = Leases(5.0, 100.0)
    leases.seen(GATEWAY, 1, 101.0)
    leases.heard(GATEWAY, 105.0)
    assert not leases.lapsed(GATEWAY, 109.0)


def test_unknown_session_lapses_a_lease_after_the_start() -> None:
    leases = Leases(5.0, 100.0)
    assert not leases.lapsed(GATEWAY, 104.9)
    assert leases.lapsed(GATEWAY, 105.0)


def test_nobody_lapses_until_a_lease_after_an_outage() -> None:
    leases = Leases(5.0, 100.0)
    leases.seen(GATEWAY, 1, 101.0)
    leases.outage(120.0)
    assert not leases.lapsed(GATEWAY, 124.0)
    assert leases.lapsed(GATEWAY, 125.0)


def test_session_that_left_has_lapsed() -> None:
    leases = Leases(5.0, 100.0)
    leases.seen(GATEWAY, 1, 101.0)
    leases.left(GATEWAY)
    assert leases.lapsed(GATEWAY, 101.0)


def test_forget_drops_what_lapsed_long_ago() -> None:
    leases = Leases(5.0, 100.0)
    leases.seen(GATEWAY, 1, 101.0)
    assert leases.forget(150.0) == []
    assert leases.forget(151.0) == [GATEWAY]
    assert len(leases) == 0


def test_lease_of_a_session_that_was_never_heard_begins_when_it_is_met() -> None:
    leases = Leases(5.0, 0.0)
    assert leases.lapsed(b"x", 60.0)
    leases.meet(b"x", 60.0)
    leases.meet(b"x", 64.0)
    assert leases.standing(64.9) == [b"x"]
    assert leases.standing(65.0) == []
