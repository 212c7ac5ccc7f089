"""A storer and a view without sockets, in virtual time."""

import pytest

from tether.identity import Role
from tether.overlay.budget import Rate
from tether.overlay.found import ChangeKind
from tether.overlay.highest import Highest
from tether.overlay.message import VALUE_BYTES_MAX
from tether.overlay.refusal import Refusal
from tether.overlay.storer import CREDENTIALS_IN_REPLY_MAX, Moment, Storer
from tether.overlay.view import View
from tether.testing.overlay import NOW_S, Mesh, make_record, presence

TOPIC = "tether/presence/local"
A, B = ("127.0.0.1", 1), ("127.0.0.1", 2)


def at(seconds):
    return Moment(int((NOW_S + seconds) * 1_000), float(seconds))


@pytest.fixture(scope="module")
def mesh(tmp_path_factory):
    return Mesh(tmp_path_factory.mktemp("mesh"), now_s=NOW_S)


@pytest.fixture(scope="module")
def worker(mesh):
    return mesh.identity("worker", Role.WORKER)


@pytest.fixture
def storer(mesh, worker):
    return Storer(mesh.admission(worker), Highest())


def record(identity, sequence=1, now_s=NOW_S, **changes):
    return make_record(identity, TOPIC, presence(identity), sequence=sequence, now_s=now_s, **changes)


def test_store_keeps_and_fetch_tells_with_age(storer, worker):
    raw = record(worker)
    stored = storer.store(worker.public_key, [TOPIC, raw], at(0))
    assert stored.changed
    assert storer.fetch([TOPIC, []], at(4)) == [[[raw, 4_000]], False]


def test_same_bytes_again_change_nothing_and_are_no_refusal(storer, worker):
    raw = record(worker)
    storer.store(worker.public_key, [TOPIC, raw], at(0))
    again = storer.store(worker.public_key, [TOPIC, raw], at(1))
    assert (again.refusal, again.record) == (None, None)


def test_renewal_is_kept_but_no_change(storer, worker):
    storer.store(worker.public_key, [TOPIC, record(worker, 1)], at(0))
    renewed = storer.store(worker.public_key, [TOPIC, record(worker, 2)], at(5))
    assert renewed.record is not None
    assert not renewed.changed


def test_store_refuses_by_reason(storer, worker, mesh):
    stranger = mesh.identity("stranger")
    forged = bytearray(record(worker))
    forged[-1] ^= 1
    key = worker.public_key
    for arguments, writer, refusal in (
        ([], key, Refusal.MALFORMED),
        ([TOPIC], key, Refusal.MALFORMED),
        ([TOPIC, "text"], key, Refusal.MALFORMED),
        ([b"bytes", record(worker)], key, Refusal.MALFORMED),
        (["tether/presence/mars", record(worker)], key, Refusal.TOPIC),
        ([TOPIC, record(worker)], stranger.public_key, Refusal.RELAYED),
        ([TOPIC, record(stranger)], stranger.public_key, Refusal.CREDENTIAL),
        ([TOPIC, bytes(forged)], key, Refusal.FORGED),
        ([TOPIC, b"x" * 1_001], key, Refusal.OVERSIZED),
    ):
        assert storer.store(writer, arguments, at(0)).refusal is refusal
    assert len(storer.shelf) == 0


def test_store_has_a_budget_per_writer(mesh, worker):
    storer = Storer(mesh.admission(worker), Highest(), Rate(per_s=1, burst=3))
    outcomes = [storer.store(worker.public_key, [TOPIC, record(worker, n)], at(0)).refusal for n in range(1, 6)]
    assert outcomes == [None, None, None, Refusal.BUDGET, Refusal.BUDGET]
    assert storer.store(worker.public_key, [TOPIC, record(worker, 9)], at(1)).refusal is None


def test_forged_record_does_not_use_up_the_nonce_or_order_of_the_true_one(storer, worker):
    true = record(worker, 3)
    forged = bytearray(true)
    forged[-1] ^= 1
    assert storer.store(worker.public_key, [TOPIC, bytes(forged)], at(0)).refusal is Refusal.FORGED
    assert storer.store(worker.public_key, [TOPIC, true], at(0)).refusal is None


@pytest.mark.parametrize("arguments", [[], [1, 2], [TOPIC, None], [TOPIC, [1]], [TOPIC, [b"k", 7]], [TOPIC, [], 1]])
def test_fetch_with_wrong_arguments_is_refused(storer, arguments):
    assert storer.fetch(arguments, at(0)) is Refusal.MALFORMED


def test_fetch_of_a_wrong_topic_is_refused(storer):
    assert storer.fetch(["tether/all", []], at(0)) is Refusal.TOPIC


def test_credentials_are_given_by_hash_and_unknown_ones_left_out(storer, worker):
    assert storer.credentials([[worker.credential_hash, bytes(32), 7]]) == [worker.credential]
    assert storer.credentials([[bytes(32)] * (CREDENTIALS_IN_REPLY_MAX + 1)]) is Refusal.MALFORMED
    assert storer.credentials([]) is Refusal.MALFORMED
    assert CREDENTIALS_IN_REPLY_MAX * 605 < VALUE_BYTES_MAX


def test_watchers_are_told_for_the_length_of_their_lease(storer):
    assert storer.watch(A, [TOPIC, 10_000], at(0)) is True
    assert storer.watch(B, [TOPIC, 5_000], at(0)) is True
    assert sorted(storer.watchers(TOPIC, 4.0)) == [A, B]
    assert storer.watchers(TOPIC, 5.0) == [A]
    storer.watch(A, [TOPIC, 0], at(6))
    assert storer.watchers(TOPIC, 6.0) == []


@pytest.mark.parametrize("arguments", [[], [TOPIC], [TOPIC, -1], [TOPIC, 60_001], [TOPIC, "1"], [7, 1]])
def test_watch_with_wrong_arguments_is_refused(storer, arguments):
    assert storer.watch(A, arguments, at(0)) is Refusal.MALFORMED


def test_leases_that_are_over_leave_nothing_behind(storer):
    for number in range(100):
        storer.watch(("127.0.0.1", number), [f"tether/presence/r{number}", 1_000], at(0))
    storer.expire(2.0)
    assert storer._watched == {}


def told(view, raws, seconds=0, age_ms=0):
    """Let a view hear of records; the changes and the refusals."""
    sifted = view.sift(TOPIC, [(raw, age_ms) for raw in raws], at(seconds))
    shifts, refused = view.take(sifted, at(seconds))
    return [shift.kind for shift in shifts], refused


def test_view_believes_what_it_verified_once(mesh, worker):
    view = View(mesh.admission(worker))
    raw = record(worker)
    assert told(view, [raw, raw]) == ([ChangeKind.UP], [])
    assert told(view, [raw]) == ([], [])


def test_view_names_the_bad_record_of_many(mesh):
    nodes = [mesh.identity(f"n{number}") for number in range(8)]
    raws = [bytearray(record(node)) for node in nodes]
    raws[3][-1] ^= 1
    view = View(mesh.admission(*nodes))
    shifts, refused = told(view, [bytes(raw) for raw in raws])
    assert shifts == [ChangeKind.UP] * 7
    assert refused == [Refusal.FORGED]
    assert nodes[3].public_key not in {kept.record.body.node_key for kept in view.shelf.read(TOPIC, 0.0)}


def test_view_asks_for_missing_credentials_and_refuses_without(mesh, worker):
    view = View(mesh.admission())
    sifted = view.sift(TOPIC, [(record(worker), 0)], at(0))
    assert view.missing(sifted, at(0)) == [worker.credential_hash]
    assert view.take(sifted, at(0)) == ([], [Refusal.CREDENTIAL])


def test_view_gives_a_told_age_its_due(mesh, worker):
    view = View(mesh.admission(worker))
    told(view, [record(worker)], seconds=0, age_ms=14_000)
    assert view.shelf.expire(0.9) == []
    assert len(view.shelf.expire(1.0)) == 1


def test_view_hears_a_withdrawal(mesh, worker):
    view = View(mesh.admission(worker))
    told(view, [record(worker)])
    assert told(view, [make_record(worker, TOPIC, None, sequence=2)]) == ([ChangeKind.GONE], [])
