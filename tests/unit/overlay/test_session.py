"""Sessions without sockets: who gets one, and what becomes of tampered, repeated and foreign datagrams."""

import pytest

from tether.identity import Role
from tether.overlay.refusal import Refusal
from tether.overlay.session import DATAGRAM_BYTES_MAX, HELLO_BYTES_MIN, Handshake
from tether.overlay.sessions import Answer, Began, Lost, Opened, Sessions
from tether.testing.overlay import NOW_S, Mesh, TurnedClock

A, B = ("127.0.0.1", 1), ("127.0.0.1", 2)
NOW_MS = NOW_S * 1_000


@pytest.fixture(scope="module")
def mesh(tmp_path_factory):
    return Mesh(tmp_path_factory.mktemp("mesh"), now_s=NOW_S)


def sessions(mesh, name, seed, *, ttl_s=3_600.0):
    identity = mesh.identity(name, Role.WORKER, ttl_s=ttl_s)
    return Sessions(Handshake(identity, mesh.admission()), TurnedClock(seed=seed).clock())


@pytest.fixture
def pair(mesh):
    return sessions(mesh, "a", 1), sessions(mesh, "b", 2)


def greet(a, b, now_ms=NOW_MS):
    """A hello of `a` and its welcome of `b`."""
    offer = a.hello(B, now_ms)
    answer = b.handle(offer.datagram, A, now_ms, 0.0)
    assert isinstance(answer, Answer)
    began = a.handle(answer.datagram, B, now_ms, 0.0)
    assert isinstance(began, Began)
    return offer, answer, began.session


def test_sealed_messages_go_both_ways_and_name_the_peer(mesh, pair):
    a, b = pair
    _, _, session = greet(a, b)
    opened = b.handle(session.seal(b"hi"), A, NOW_MS, 0.0)
    assert isinstance(opened, Opened)
    assert (opened.plain, opened.session.peer.label) == (b"hi", "a")
    back = a.handle(opened.session.seal(b"ho"), B, NOW_MS, 0.0)
    assert (back.plain, back.session.peer.label) == (b"ho", "b")


def test_plain_text_does_not_travel(pair):
    _, _, session = greet(*pair)
    assert b"secret words" not in session.seal(b"secret words")


def test_welcome_is_never_larger_than_its_hello(pair):
    offer, answer, _ = greet(*pair)
    assert len(answer.datagram) <= len(offer.datagram)
    assert len(offer.datagram) >= HELLO_BYTES_MIN


def test_repeated_hello_welcome_and_message_count_once(pair):
    a, b = pair
    offer, answer, session = greet(a, b)
    sealed = session.seal(b"hi")
    assert isinstance(b.handle(sealed, A, NOW_MS, 0.0), Opened)
    assert b.handle(sealed, A, NOW_MS, 0.0) is Refusal.REPLAYED
    assert b.handle(offer.datagram, A, NOW_MS, 0.0) is Refusal.REPLAYED
    assert a.handle(answer.datagram, B, NOW_MS, 0.0) is Refusal.REPLAYED


def test_message_recorded_before_a_restart_opens_nothing_after_it(mesh, pair):
    a, b = pair
    _, _, session = greet(a, b)
    sealed = session.seal(b"hi")
    fresh = sessions(mesh, "b", 3)
    assert isinstance(fresh.handle(sealed, A, NOW_MS, 0.0), Answer)
    assert len(fresh) == 0


def test_every_flipped_byte_of_hello_welcome_and_message_is_refused(mesh, pair):
    a, b = pair
    offer, answer, session = greet(a, b)
    sealed = session.seal(b"hi")
    for place in range(len(sealed)):
        assert not isinstance(b.handle(_flip(sealed, place), A, NOW_MS, 0.0), Opened)
    signed_part = len(offer.datagram.rstrip(b"\0"))
    for place in range(0, signed_part, 3):
        fresh = sessions(mesh, "b", 3)
        assert not isinstance(fresh.handle(_flip(offer.datagram, place), A, NOW_MS, 0.0), Answer)
    for place in range(0, len(answer.datagram), 3):
        fresh_a, fresh_b = sessions(mesh, "a", 4), sessions(mesh, "b", 5)
        welcome = fresh_b.handle(fresh_a.hello(B, NOW_MS).datagram, A, NOW_MS, 0.0).datagram
        assert not isinstance(fresh_a.handle(_flip(welcome, place), B, NOW_MS, 0.0), Began)


def test_changed_padding_of_a_hello_gives_a_session_that_opens_nothing(mesh):
    a, b = sessions(mesh, "a", 4), sessions(mesh, "b", 5)
    welcome = b.handle(_flip(a.hello(B, NOW_MS).datagram, -1), A, NOW_MS, 0.0)
    assert isinstance(welcome, Answer)
    assert a.handle(welcome.datagram, B, NOW_MS, 0.0) is Refusal.FORGED


def _flip(datagram, place):
    broken = bytearray(datagram)
    broken[place] ^= 1
    return bytes(broken)


def test_hello_of_another_network_or_a_stranger_gets_nothing(mesh, pair, tmp_path):
    _, b = pair
    foreign = sessions(Mesh(tmp_path, now_s=NOW_S), "spy", 6)
    hello = foreign.hello(B, NOW_MS).datagram
    assert b.handle(hello, A, NOW_MS, 0.0) is Refusal.FOREIGN
    tag = sessions(mesh, "a", 7).hello(B, NOW_MS).datagram[2:10]
    assert b.handle(hello[:2] + tag + hello[10:], A, NOW_MS, 0.0) is Refusal.CREDENTIAL


def test_hello_signed_by_another_key_than_its_credential_is_forged(mesh, pair):
    _, b = pair
    identity = mesh.identity("a")
    thief = mesh.identity("thief")
    thief.credential, thief.credential_hash = identity.credential, identity.credential_hash
    stolen = Sessions(Handshake(thief, mesh.admission()), TurnedClock(seed=8).clock())
    assert b.handle(stolen.hello(B, NOW_MS).datagram, A, NOW_MS, 0.0) is Refusal.FORGED


def test_hello_out_of_its_time_is_refused(pair):
    a, b = pair
    for skew_ms in (-30_001, 30_001):
        assert b.handle(a.hello(B, NOW_MS + skew_ms).datagram, A, NOW_MS, 0.0) is Refusal.EXPIRED


def test_hello_to_oneself_is_refused(mesh):
    a = sessions(mesh, "a", 1)
    assert sessions(mesh, "a", 2).handle(a.hello(B, NOW_MS).datagram, A, NOW_MS, 0.0) is Refusal.FORGED


def test_hellos_of_one_source_have_a_budget(pair):
    a, b = pair
    meanings = [b.handle(a.hello(B, NOW_MS).datagram, A, NOW_MS, 0.0) for _ in range(20)]
    assert sum(isinstance(meaning, Answer) for meaning in meanings) == 16
    assert meanings[-1] is Refusal.BUDGET
    assert isinstance(b.handle(a.hello(B, NOW_MS).datagram, ("127.0.0.1", 9), NOW_MS, 0.0), Answer)


def test_secrets_stand_in_no_repr(mesh):
    offer = sessions(mesh, "a", 1).hello(B, NOW_MS)
    assert repr(offer.secret) not in repr(offer)
    assert "secret" not in repr(offer)


def test_small_order_key_is_refused(mesh):
    from tether.overlay.session import _keys

    assert _keys(bytes(range(32)), bytes(32), b"transcript") is None


@pytest.mark.parametrize(
    ("datagram", "refusal"),
    [
        (b"", Refusal.MALFORMED),
        (b"\x01", Refusal.MALFORMED),
        (bytes(40), Refusal.MALFORMED),
        (b"\x02\x03" + bytes(40), Refusal.MALFORMED),
        (b"\x01\x09" + bytes(40), Refusal.MALFORMED),
        (b"\x01\x03" + b"?" * 40, Refusal.FOREIGN),
        (bytes(DATAGRAM_BYTES_MAX + 1), Refusal.OVERSIZED),
    ],
)
def test_datagram_without_form_is_refused(pair, datagram, refusal):
    assert pair[0].handle(datagram, B, NOW_MS, 0.0) is refusal


def test_short_and_truncated_datagrams_of_each_kind_are_refused(pair):
    a, b = pair
    offer, answer, session = greet(a, b)
    for datagram in (offer.datagram, answer.datagram, session.seal(b"x")):
        for size in range(len(datagram)):
            meaning = b.handle(datagram[:size], A, NOW_MS, 0.0)
            assert not isinstance(meaning, Opened | Began | Lost), size


def test_message_in_an_unknown_session_is_answered_within_a_budget(mesh, pair):
    a, b = pair
    _, _, session = greet(a, b)
    fresh = sessions(mesh, "b", 9)
    meanings = [fresh.handle(session.seal(b"x"), A, NOW_MS, 0.0) for _ in range(20)]
    assert sum(isinstance(meaning, Answer) for meaning in meanings) == 8
    assert meanings[-1] is Refusal.SESSION


def test_peer_that_forgot_a_session_makes_the_other_greet_it_anew(mesh, pair):
    a, b = pair
    _, _, session = greet(a, b)
    notice = sessions(mesh, "b", 9).handle(session.seal(b"x"), A, NOW_MS, 0.0).datagram
    assert a.handle(notice, ("127.0.0.1", 3), NOW_MS, 0.0) is Refusal.SESSION
    assert isinstance(a.handle(notice, B, NOW_MS, 0.0), Lost)
    assert a.at(B) is None


def test_session_ends_with_the_credential_of_its_peer(mesh):
    a, b = sessions(mesh, "brief", 1, ttl_s=60), sessions(mesh, "b", 2)
    _, _, session = greet(a, b)
    assert isinstance(b.handle(session.seal(b"x"), A, NOW_MS + 90_000, 0.0), Opened)
    assert b.handle(session.seal(b"x"), A, NOW_MS + 91_000, 0.0) is Refusal.CREDENTIAL


def test_session_is_bound_to_its_address(pair):
    a, b = pair
    _, _, session = greet(a, b)
    assert isinstance(b.handle(session.seal(b"x"), ("127.0.0.1", 3), NOW_MS, 0.0), Answer)
