"""The shelf: room is promised once, what is pinned stays, the oldest goes first."""

import random

import pytest

from tether.errors import Reason, TetherError
from tether_worker.loader.shelf import Shelf, State

A, B, C, D = (bytes([n]) * 32 for n in range(4))


def filled():
    shelf = Shelf(100)
    for at_s, digest in enumerate((A, B, C)):
        shelf.take(digest, 30, at_s)
        shelf.stored(digest)
        shelf.unpin(digest, at_s)
    return shelf


def test_shelf_tells_how_near_a_version_is():
    shelf = Shelf(100)
    assert shelf.state(A) is State.ABSENT
    assert shelf.take(A, 30, 0.0) == []
    assert shelf.state(A) is State.FETCHING
    shelf.stored(A)
    assert shelf.state(A) is State.ON_DISK


def test_shelf_oldest_goes_first():
    assert filled().take(D, 30, 9.0) == [A]
    assert filled().take(D, 60, 9.0) == [A, B]


def test_shelf_use_makes_young():
    shelf = filled()
    shelf.pin(A, 5.0)
    shelf.unpin(A, 6.0)
    assert shelf.take(D, 30, 9.0) == [B]


def test_shelf_pinned_stays():
    shelf = filled()
    shelf.pin(A, 5.0)
    assert shelf.take(D, 30, 9.0) == [B]
    assert shelf.state(A) is State.ON_DISK


def test_shelf_without_room_refuses_and_keeps_all():
    shelf = filled()
    for digest in (A, B, C):
        shelf.pin(digest, 5.0)
    with pytest.raises(TetherError) as caught:
        shelf.take(D, 30, 9.0)
    assert (caught.value.reason, caught.value.metadata) == (Reason.STORE_UNAVAILABLE, {"bytes_missing": "20"})
    assert [shelf.state(one) for one in (A, B, C, D)] == [State.ON_DISK] * 3 + [State.ABSENT]


def test_shelf_version_larger_than_the_disk_evicts_nothing():
    shelf = filled()
    with pytest.raises(TetherError):
        shelf.take(D, 101, 9.0)
    assert shelf.used_bytes == 90


def test_shelf_failed_fetch_gives_its_room_back():
    shelf = Shelf(100)
    shelf.take(A, 90, 0.0)
    shelf.failed(A)
    assert (shelf.state(A), shelf.used_bytes) == (State.FAILED, 0)
    assert shelf.take(B, 90, 1.0) == []
    shelf.failed(B)
    shelf.take(A, 90, 2.0)
    assert shelf.state(A) is State.FETCHING


def test_shelf_failed_check_of_a_version_in_use_keeps_its_room():
    shelf = filled()
    shelf.pin(A, 3.0)
    shelf.take(A, 30, 4.0)
    shelf.failed(A)
    assert (shelf.state(A), shelf.used_bytes) == (State.ON_DISK, 90)


def test_shelf_never_promises_more_than_it_has():
    rng = random.Random(11)
    shelf, pinned = Shelf(1_000), []
    for at_s in range(2_000):
        digest = bytes([rng.randrange(20)]) * 32
        if pinned and rng.random() < 0.5:
            shelf.unpin(pinned.pop(rng.randrange(len(pinned))), at_s)
            continue
        try:
            going = shelf.take(digest, 50 + 10 * digest[0], at_s)
        except TetherError:
            continue
        assert not set(going) & set(pinned)
        shelf.stored(digest)
        pinned.append(digest)
        assert shelf.used_bytes <= 1_000
