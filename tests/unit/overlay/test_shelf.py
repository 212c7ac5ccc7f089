"""Records over virtual time: who replaces whom, and when they are over."""

import pytest

from tether.overlay import shelf as shelves
from tether.overlay.found import ChangeKind
from tether.overlay.highest import Highest
from tether.overlay.record import parse
from tether.overlay.refusal import Refusal
from tether.overlay.shelf import Shelf
from tether.testing.overlay import NOW_S, Mesh, make_record, presence

TOPIC = "tether/presence/local"
MODELS = "tether/models/m/1.0/local"


@pytest.fixture(scope="module")
def mesh(tmp_path_factory):
    return Mesh(tmp_path_factory.mktemp("mesh"), now_s=NOW_S)


@pytest.fixture(scope="module")
def one(mesh):
    return mesh.identity("one")


@pytest.fixture(scope="module")
def two(mesh):
    return mesh.identity("two")


def record(identity, sequence=1, *, topic=TOPIC, gone=False, address="127.0.0.1:1", **fields):
    content = None if gone else presence(identity, address=address)
    return parse(make_record(identity, topic, content, sequence=sequence, **fields))


def put(shelf, given, now_s=0.0, age_s=0.0):
    """What a put says: a refusal's name, or the changes."""
    outcome = shelf.known(given) or shelf.put(given, age_s, now_s)
    return outcome if isinstance(outcome, Refusal) else [shift.kind for shift in outcome]


def test_presence_is_gone_after_its_lifetime(one, two):
    shelf = Shelf()
    assert put(shelf, record(one), now_s=0.0) == [ChangeKind.UP]
    assert put(shelf, record(two), now_s=4.0) == [ChangeKind.UP]
    assert shelf.expire(14.999) == []
    assert [shift.kept.record.body.node_key for shift in shelf.expire(15.0)] == [one.public_key]
    assert shelf.read(TOPIC, 18.9) != []
    assert [shift.kind for shift in shelf.expire(19.0)] == [ChangeKind.GONE]
    assert len(shelf) == 0


def test_renewal_extends_without_a_change(one):
    shelf = Shelf()
    put(shelf, record(one, 1), now_s=0.0)
    assert put(shelf, record(one, 2), now_s=5.0) == [None]
    assert shelf.expire(15.0) == []
    assert len(shelf.expire(20.0)) == 1


def test_new_content_and_new_life_are_changes(one):
    shelf = Shelf()
    put(shelf, record(one, 1))
    assert put(shelf, record(one, 2, address="127.0.0.1:2")) == [ChangeKind.UPDATED]
    assert put(shelf, record(one, 1, address="127.0.0.1:2", incarnation=9)) == [ChangeKind.UPDATED]


def test_older_equal_and_repeated_records_are_refused(one):
    shelf = Shelf()
    first = record(one, 5, incarnation=2)
    put(shelf, first)
    assert shelf.duplicates(first)
    assert put(shelf, first) is Refusal.REPLAYED
    assert put(shelf, record(one, 5, incarnation=2)) is Refusal.STALE
    assert put(shelf, record(one, 4, incarnation=2)) is Refusal.STALE
    assert put(shelf, record(one, 99, incarnation=1)) is Refusal.STALE
    assert put(shelf, record(one, 1, incarnation=3)) == [ChangeKind.UPDATED]


def test_record_that_is_over_does_not_come_back(one):
    shelf = Shelf()
    old = record(one)
    put(shelf, old)
    shelf.expire(15.0)
    assert put(shelf, old, now_s=16.0) is Refusal.REPLAYED
    assert put(shelf, record(one), now_s=16.0) is Refusal.STALE


def test_withdrawal_drops_at_once_and_holds_against_older_records(one, two):
    shelf = Shelf()
    put(shelf, record(one, 1))
    put(shelf, record(two, 1))
    assert put(shelf, record(one, 3, gone=True)) == [ChangeKind.GONE]
    assert put(shelf, record(one, 2)) is Refusal.STALE
    assert put(shelf, record(one, 4)) == [ChangeKind.UP]
    assert len(shelf.read(TOPIC, 0.0)) == 2


def test_age_that_a_storer_tells_shortens_the_rest(one):
    shelf = Shelf()
    put(shelf, record(one), now_s=100.0, age_s=12.0)
    assert shelf.read(TOPIC, 102.9)[0].age_s(102.9) == pytest.approx(14.9)
    assert len(shelf.expire(103.0)) == 1


def test_age_beyond_the_lifetime_or_below_zero_is_cut(one, two):
    shelf = Shelf()
    put(shelf, record(one), now_s=0.0, age_s=1e9)
    put(shelf, record(two), now_s=0.0, age_s=-1e9)
    assert len(shelf.expire(0.0)) == 1
    assert len(shelf.expire(15.0)) == 1


def test_topics_do_not_replace_each_other(one):
    shelf = Shelf()
    put(shelf, record(one, 7))
    assert put(shelf, record(one, 1, topic="tether/presence/mars")) == [ChangeKind.UP]


def test_highest_of_an_earlier_life_of_the_storer_holds(one):
    before = Shelf()
    put(before, record(one, 8))
    after = Shelf(Highest(before.highest.take_raised()))
    assert put(after, record(one, 8)) is Refusal.STALE
    assert put(after, record(one, 9)) == [ChangeKind.UP]


def test_full_shelf_takes_no_new_key_but_renews(one, two, monkeypatch):
    monkeypatch.setattr(shelves, "TOPIC_RECORDS_MAX", 1)
    shelf = Shelf()
    put(shelf, record(one, 1))
    assert put(shelf, record(two, 1)) is Refusal.FULL
    assert put(shelf, record(one, 2)) == [None]
    assert put(shelf, record(one, 3, gone=True)) == [ChangeKind.GONE]
    assert put(shelf, record(two, 2)) == [ChangeKind.UP]


def test_one_node_cannot_fill_the_shelf(one, two, monkeypatch):
    monkeypatch.setattr(shelves, "NODE_RECORDS_MAX", 3)
    shelf = Shelf()
    outcomes = [put(shelf, record(one, topic=f"tether/presence/r{i}")) for i in range(5)]
    assert outcomes.count(Refusal.FULL) == 2
    assert put(shelf, record(two)) == [ChangeKind.UP]


def test_pages_hold_everything_once(mesh):
    shelf = Shelf()
    for number in range(40):
        put(shelf, record(mesh.identity(f"n{number}")))
    seen, after, more, pages = [], None, True, 0
    while more:
        page, more = shelf.page(TOPIC, after, 2_000, 0.0)
        seen += [kept.record.body.node_key for kept in page]
        after, pages = page[-1].record.key, pages + 1
    assert len(seen) == len(set(seen)) == 40
    assert pages > 3
    assert shelf.page("tether/presence/none", None, 2_000, 0.0) == ([], False)
