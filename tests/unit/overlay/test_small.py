"""The small pure parts: replay window, budgets, dead addresses, highest orders, contacts, messages, files."""

import random

import pytest

from tether.overlay import memory, message
from tether.overlay.budget import Budget, Rate
from tether.overlay.contact import Contact, dht_id, read_contact
from tether.overlay.dead import DeadAddresses
from tether.overlay.highest import Highest, key_of
from tether.overlay.memory import ContactFile, OrderFile
from tether.overlay.refusal import Refusal
from tether.overlay.replay import WINDOW, ReplayWindow
from tether.overlay.setting import Settings

A, B = ("127.0.0.1", 1), ("127.0.0.1", 2)


def test_window_accepts_each_counter_once_in_any_order():
    counters = list(range(1, 500))
    random.Random(3).shuffle(counters)
    window = ReplayWindow()
    assert all(window.accept(counter) for counter in counters)
    assert not any(window.accept(counter) for counter in counters)


def test_window_refuses_what_is_too_old_to_tell_and_zero():
    window = ReplayWindow()
    assert window.accept(WINDOW + 1)
    assert window.accept(2)
    assert not window.accept(1)
    assert not window.accept(0)
    assert window.accept(2**63)
    assert not window.accept(WINDOW + 2)


def test_budget_limits_each_source_and_all_together():
    budget = Budget(Rate(per_s=1, burst=2), Rate(per_s=3, burst=3))
    assert [budget.take("a", 0.0) for _ in range(3)] == [True, True, False]
    assert [budget.take("b", 0.0) for _ in range(2)] == [True, False]
    assert budget.take("a", 1.0)
    assert budget.take("b", 1.0)
    assert not budget.take("a", 0.5)


def test_dead_address_is_left_alone_longer_each_time_until_heard():
    dead = DeadAddresses(Settings(dead_first_s=1.0, dead_max_s=3.0))
    spans = []
    now_s = 0.0
    for _ in range(4):
        dead.silent(A, now_s)
        start = now_s
        while dead.is_dead(A, now_s):
            now_s += 0.25
        spans.append(now_s - start)
    assert spans == [1.0, 2.0, 3.0, 3.0]
    assert not dead.is_dead(B, 0.0)
    dead.silent(A, now_s)
    dead.heard(A)
    assert not dead.is_dead(A, now_s)
    dead.left(A)
    assert dead.is_dead(A, now_s + 1e6)
    dead.heard(A)
    assert not dead.is_dead(A, now_s)


def test_highest_only_rises_and_tells_what_rose():
    highest = Highest()
    key = key_of("t", b"n", "presence")
    highest.lift(key, (1, 5))
    highest.lift(key, (1, 4))
    assert highest.get(key) == (1, 5)
    assert highest.take_raised() == [(key, 1, 5)]
    assert highest.take_raised() == []


def test_highest_is_bounded_and_forgets_the_oldest():
    highest = Highest(keys_max=2)
    for name in (b"a", b"b", b"a", b"c"):
        highest.lift(name, (1, highest.get(name)[1] + 1))
    assert (highest.get(b"a"), highest.get(b"b"), highest.get(b"c")) == ((1, 2), (0, 0), (1, 1))
    assert sorted(highest.take_raised()) == [(b"a", 1, 2), (b"c", 1, 1)]


def test_contact_stands_where_its_key_says():
    contact = Contact(bytes(32), A)
    assert contact.id == dht_id(bytes(32))
    assert read_contact(contact.wire()).address == A


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        [b"k" * 31, "127.0.0.1", 1],
        [b"k" * 32, "example.org", 1],
        [b"k" * 32, "", 1],
        [b"k" * 32, "127.0.0.1", 0],
        [b"k" * 32, "127.0.0.1", 65_536],
        [b"k" * 32, "127.0.0.1", True],
        [b"k" * 32, b"127.0.0.1", 1],
        [b"k" * 32, "8.8.8.8", 1],
        [b"k" * 32, "::1", 1],
        [b"k" * 32, "1.2.3", 1],
        [b"k" * 32, "127.0.0.01", 1],
        [b"k" * 32, "1" * 46, 1],
    ],
)
def test_contact_that_is_malformed_is_none(value):
    assert read_contact(value) is None


def test_message_reads_back():
    plain = message.pack(message.REQUEST, b"i" * 20, ["store", ["topic", b"raw"]])
    assert message.unpack(plain) == message.Message(message.REQUEST, b"i" * 20, "store", ["topic", b"raw"])
    assert message.unpack(message.pack(message.ANSWER, b"i" * 20, True)).value is True


@pytest.mark.parametrize(
    "tail",
    [b"", b"\xc1", b"\x93", b"\xdd\xff\xff\xff\xff", b"\x91" * 5_000, b"\x92\x01\x90", b"\x81\x90\x01", b"\xa1\xff"],
)
def test_message_that_is_malformed_is_refused(tail):
    assert message.unpack(b"\0" + b"i" * 20 + tail) is Refusal.MALFORMED


def test_message_of_an_unknown_type_or_too_short_is_refused():
    assert message.unpack(message.pack(7, b"i" * 20, ["ping", []])) is Refusal.MALFORMED
    assert message.unpack(b"\0") is Refusal.MALFORMED


def test_message_that_does_not_fit_is_the_senders_error():
    with pytest.raises(ValueError, match="does not fit"):
        message.pack(message.REQUEST, b"i" * 20, ["store", [b"x" * 9_000]])


def test_contacts_are_remembered_and_an_empty_table_forgets_none(tmp_path):
    file = ContactFile(tmp_path)
    assert file.load() == []
    file.save([Contact(bytes(32), A), Contact(b"k" * 32, B)])
    file.save([])
    assert sorted(ContactFile(tmp_path).load()) == [A, B]
    assert ContactFile(None).load() == []


@pytest.mark.parametrize("text", ["", "{", "[]", '[["x"]]', '[["n", "evil.example", 1]]', "7", "\x80\x04."])
def test_damaged_contacts_are_forgotten(tmp_path, text):
    (tmp_path / "contacts.json").write_text(text)
    assert ContactFile(tmp_path).load() == []


def test_orders_are_kept_over_restarts(tmp_path):
    file = OrderFile(tmp_path)
    file.save([(b"a" * 16, 1, 2), (b"b" * 16, 1, 1)])
    file.save([(b"a" * 16, 2, 1)])
    kept = [(b"b" * 16, 1, 0), (b"a" * 16, 2, 0)]  # one less: the highest itself may come once more
    assert OrderFile(tmp_path).load() == kept
    assert OrderFile(tmp_path).load() == kept


def test_orders_that_are_damaged_or_torn_cost_only_themselves(tmp_path):
    file = OrderFile(tmp_path)
    file.save([(bytes([n]) * 16, 1, n + 1) for n in range(4)])
    path = tmp_path / "orders.bin"
    data = bytearray(path.read_bytes())
    data[40] ^= 1
    path.write_bytes(bytes(data[:-1]))
    assert [key[0] for key, _, _ in OrderFile(tmp_path).load()] == [0, 2]
    path.write_bytes(b"nothing of ours" * 100)
    assert OrderFile(tmp_path).load() == []


def test_orders_take_bounded_room(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "ORDERS_BYTES_MAX", 1_000)
    file = OrderFile(tmp_path)
    for number in range(1, 200):
        file.save([(b"a" * 16, 1, number), (b"b" * 16, 1, number)])
        assert (tmp_path / "orders.bin").stat().st_size <= 1_000 + 2 * memory.ROW_BYTES
    assert file.load() == [(b"a" * 16, 1, 198), (b"b" * 16, 1, 198)]


def test_nothing_is_kept_without_a_folder():
    file = OrderFile(None)
    file.save([(b"a" * 16, 1, 1)])
    assert file.load() == []
