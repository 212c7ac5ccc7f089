"""Hostile records by the thousand: replayed, forged, expired, oversized, cross-topic, foreign; none is accepted."""

import random

import pytest

from tether.identity import Role
from tether.overlay.highest import Highest
from tether.overlay.storer import Moment, Storer
from tether.overlay.view import View
from tether.testing.overlay import NOW_S, Mesh, make_record, presence

TOPIC = "tether/presence/local"
SEED = 20_261_121
COUNT = 3_000


@pytest.fixture(scope="module")
def mesh(tmp_path_factory):
    return Mesh(tmp_path_factory.mktemp("mesh"), now_s=NOW_S)


@pytest.fixture(scope="module")
def foreign(tmp_path_factory):
    return Mesh(tmp_path_factory.mktemp("foreign"), now_s=NOW_S).identity("spy", Role.WORKER)


def flip(rng, raw):
    broken = bytearray(raw)
    broken[rng.randrange(len(broken))] ^= 1 << rng.randrange(8)
    return bytes(broken)


def hostile(rng, worker, foreign, accepted):
    """One record that must not be believed; `accepted` has been stored before."""
    said = presence(worker)
    now_ms = NOW_S * 1_000
    return rng.choice(
        [
            lambda: accepted,
            lambda: flip(rng, make_record(worker, TOPIC, said, sequence=9)),
            lambda: make_record(worker, TOPIC, said, sequence=9, issued_at_ms=now_ms - rng.randrange(45_001, 10**9)),
            lambda: make_record(worker, TOPIC, said, sequence=9, issued_at_ms=now_ms + rng.randrange(30_001, 10**9)),
            lambda: make_record(worker, TOPIC, said, sequence=9, lifetime_ms=rng.randrange(15_001, 2**32)),
            lambda: make_record(worker, "tether/presence/other", said, sequence=9),
            lambda: make_record(foreign, TOPIC, presence(foreign), sequence=9),
            lambda: make_record(foreign, TOPIC, presence(foreign), sequence=9, network_id=worker.network_id),
            lambda: make_record(worker, TOPIC, presence(foreign), sequence=9),
            lambda: make_record(worker, TOPIC, presence(worker, Role.GATEWAY), sequence=9),
            lambda: rng.randbytes(rng.randrange(1_200)),
            lambda: make_record(worker, TOPIC, said, sequence=9)[: rng.randrange(200)],
        ]
    )()


def test_storer_accepts_none_and_stays_small(mesh, foreign):
    rng = random.Random(SEED)
    worker = mesh.identity("worker")
    storer = Storer(mesh.admission(worker), Highest())
    accepted = make_record(worker, TOPIC, presence(worker), sequence=5)
    assert storer.store(worker.public_key, [TOPIC, accepted], Moment(NOW_S * 1_000, 0.0)).record
    for number in range(COUNT):
        raw = hostile(rng, worker, foreign, accepted)
        writer = foreign.public_key if rng.random() < 0.3 else worker.public_key
        stored = storer.store(writer, [TOPIC, raw], Moment(NOW_S * 1_000, number / 100))
        assert stored.record is None, f"seed {SEED}, record {number}"
    assert len(storer.shelf) == 1
    assert len(storer.shelf.highest) == 1


def test_reader_believes_none_whatever_storers_tell(mesh, foreign):
    rng = random.Random(SEED + 1)
    worker = mesh.identity("worker2")
    view = View(mesh.admission(worker))
    accepted = make_record(worker, TOPIC, presence(worker), sequence=5)
    now = Moment(NOW_S * 1_000, 0.0)
    view.take(view.sift(TOPIC, [(accepted, 0)], now), now)
    for start in range(0, COUNT, 100):
        batch = [(hostile(rng, worker, foreign, accepted), rng.randrange(-(10**6), 10**6)) for _ in range(100)]
        shifts, _ = view.take(view.sift(TOPIC, batch, now), now)
        assert shifts == [], f"seed {SEED + 1}, batch {start}"
    assert [kept.record.raw for kept in view.shelf.read(TOPIC, 0.0)] == [accepted]
