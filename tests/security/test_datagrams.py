"""Hostile datagrams over real UDP: dropped and counted by reason, never raised, never in honest traffic's way."""

import asyncio
import random
import socket

import pytest

from tether.overlay import Settings
from tether.overlay.contact import dht_id
from tether.overlay.session import DATAGRAM_BYTES_MAX, SEALED_OVERHEAD
from tether.testing.overlay import Mesh, make_record, presence, until

TOPIC = "tether/presence/local"
SEED = 20_261_121


@pytest.fixture
async def mesh(tmp_path):
    made = Mesh(tmp_path)
    yield made
    await made.close()


@pytest.fixture
async def pair(mesh):
    first = await mesh.node("first")
    return first, await mesh.node("second", bootstrap=[first.address])


@pytest.fixture
def stranger():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.setblocking(False)
        yield sock


def where(node):
    host, _, port = node.address.rpartition(":")
    return host, int(port)


def contact_of(node, other):
    return node._protocol.router.contact(dht_id(other._me.public_key))


def refused(node, reason):
    return node.stats["refused"].get(reason, 0)


async def honest(pair):
    """Honest traffic still works, and nothing met a fault of ours."""
    first, second = pair
    assert await second._protocol.ask(contact_of(second, first), "ping", []) == (True, True)
    assert refused(first, "fault") == refused(second, "fault") == 0


def recorded(node, send):
    """What a node sends while `send` runs, by its own socket."""
    sent = []
    original = node._protocol._send
    node._protocol._send = lambda datagram, address: (sent.append(datagram), original(datagram, address))
    send()
    node._protocol._send = original
    return sent


@pytest.mark.parametrize(
    "datagram", [b"", b"\0", b"\x00" * 21, b"\x00" * 400, b"GET / HTTP/1.1\r\n\r\n" * 4, b"\xff" * 90]
)
async def test_malformed_datagram_is_dropped(pair, stranger, datagram):
    stranger.sendto(datagram, where(pair[0]))
    await until(lambda: refused(pair[0], "malformed") == 1)
    await honest(pair)


@pytest.mark.parametrize("size", [DATAGRAM_BYTES_MAX + 1, 60_000])
async def test_oversized_datagram_is_dropped(pair, stranger, size):
    stranger.sendto(b"\x01\x03" + bytes(size - 2), where(pair[0]))
    await until(lambda: refused(pair[0], "oversized") == 1)
    await honest(pair)


async def test_datagram_of_the_bare_package_is_dropped(pair, stranger):
    """A node of the package as it comes can neither store nor look up nor enter the table."""
    import umsgpack

    for call in (
        ["ping", [b"i" * 20]],
        ["store", [b"i" * 20, b"k" * 20, b"v"]],
        ["find_value", [b"i" * 20, b"k" * 20]],
    ):
        stranger.sendto(b"\x00" + b"m" * 20 + umsgpack.packb(call), where(pair[0]))
    await until(lambda: refused(pair[0], "malformed") == 3)
    assert pair[0].stats["contacts"] == 1
    await honest(pair)


async def test_replayed_datagram_is_dropped(pair):
    first, second = pair
    address = where(first)
    sent = recorded(second, lambda: second._protocol.notify(address, "watch", [TOPIC, 1_000]))
    for _ in range(3):
        second._protocol.transport.sendto(sent[0], address)
    await until(lambda: refused(first, "replayed") == 3)
    await honest(pair)


async def test_forged_datagram_is_dropped(pair):
    first, second = pair
    address = where(first)
    sent = recorded(second, lambda: second._protocol.notify(address, "watch", [TOPIC, 1_000]))[0]
    for place in (-1, SEALED_OVERHEAD, 20):
        forged = bytearray(sent)
        forged[place] ^= 1
        second._protocol.transport.sendto(bytes(forged), address)
    await until(lambda: refused(first, "forged") == 3)
    await honest(pair)


async def test_datagram_stolen_by_another_address_is_answered_by_nothing_but_a_notice(pair, stranger):
    first, second = pair
    sent = recorded(second, lambda: second._protocol.notify(where(first), "store", [TOPIC, b"x"]))[0]
    stranger.sendto(sent, where(first))
    loop = asyncio.get_running_loop()
    notice = await asyncio.wait_for(loop.sock_recv(stranger, 2_048), 2)
    assert len(notice) < len(sent)
    for _ in range(50):
        stranger.sendto(sent, where(first))
    await until(lambda: refused(first, "session") > 20)
    await honest(pair)


async def test_node_of_a_foreign_network_is_dropped(pair, tmp_path):
    first, _ = pair
    spy = await Mesh(tmp_path / "foreign").node("spy", bootstrap=[first.address])
    try:
        await until(lambda: refused(first, "foreign-network"))
        assert spy.stats["contacts"] == 0
        assert first.stats["contacts"] == 1
    finally:
        await spy.close()
    await honest(pair)


async def test_node_with_an_expired_credential_enters_no_table(pair, mesh):
    from tether.identity import Role, network

    first, _ = pair
    network.issue(mesh.folder / "network", mesh.folder / "old", [Role.WORKER], (), "old", 60, now_s=1_000_000)
    old = await mesh.node("old", bootstrap=[first.address])
    await until(lambda: refused(first, "credential"))
    assert old.stats["contacts"] == 0
    await honest(pair)


@pytest.mark.parametrize(
    ("reason", "topic", "flaw"),
    [
        ("expired", TOPIC, {"issued_at_ms": 1}),
        ("topic", "tether/presence/other", {}),
        ("topic", "../../etc/passwd", {}),
        ("foreign-network", TOPIC, {"network_id": bytes(32)}),
        ("lifetime", TOPIC, {"lifetime_ms": 3_600_000}),
        ("credential", TOPIC, {"credential_hash": bytes(32)}),
        ("relayed", TOPIC, {"relay": True}),
        ("forged", TOPIC, {"forge": True}),
        ("oversized", TOPIC, {"large": True}),
    ],
)
async def test_flawed_record_in_an_honest_session_is_refused_and_counted(pair, mesh, reason, topic, flaw):
    first, second = pair
    flaw = dict(flaw)
    writer = mesh.identity("third") if flaw.pop("relay", False) else second._me
    forge, large = flaw.pop("forge", False), flaw.pop("large", False)
    now_s = second._clock.wall_ms() / 1_000
    raw = bytearray(make_record(writer, TOPIC, presence(writer), now_s=now_s, **flaw))
    raw[-1] ^= forge
    raw = bytes(raw) + b"x" * (1_000 if large else 0)
    answer = await second._protocol.ask(contact_of(second, first), "store", [topic, raw])
    assert answer == (True, reason)
    assert refused(first, reason) == 1
    assert first.stats["records"] == 0
    await honest(pair)


async def test_stale_record_is_refused_and_counted(pair):
    first, second = pair
    old = make_record(second._me, TOPIC, presence(second._me), now_s=second._clock.wall_ms() / 1_000)
    announcement = await second.announce(TOPIC, presence(second._me))
    announcement.update(presence(second._me, address="127.0.0.1:9"))
    await until(lambda: announcement.raw and announcement._publisher._sequences[TOPIC] == 2)
    assert (await second._protocol.ask(contact_of(second, first), "store", [TOPIC, old]))[1] == "stale"
    assert refused(first, "stale") == 1


async def test_record_that_was_replaced_is_refused_as_replayed(pair):
    first, second = pair
    announcement = await second.announce(TOPIC, presence(second._me))
    old = announcement.raw
    announcement.update(presence(second._me, address="127.0.0.1:9"))
    (kept,) = first._storer.shelf.read(TOPIC, first._clock.now_s())
    await until(lambda: first._storer.shelf.read(TOPIC, first._clock.now_s())[0].record.raw != old)
    assert (await second._protocol.ask(contact_of(second, first), "store", [TOPIC, old]))[1] == "replayed"
    assert kept.record.raw == old


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("store", [1, 2]),
        ("fetch", ["x" * 8_000, []]),
        ("fetch", [TOPIC, [b"k" * 32, "kind", 3]]),
        ("watch", [TOPIC, 2**63]),
        ("credentials", [[b"x"] * 100]),
        ("find_node", [b"short"]),
        ("push", [TOPIC, b"raw", "age", b""]),
        ("leave me", []),
    ],
)
async def test_wrong_arguments_of_a_credentialed_peer_are_dropped(pair, method, arguments):
    first, second = pair
    second._protocol.notify(where(first), method, arguments)
    await until(lambda: sum(first.stats["refused"].values()) == 1)
    await honest(pair)


async def test_push_of_a_forged_record_reaches_no_watcher(mesh):
    settings = Settings(poll_s=60)
    first = await mesh.node("first", settings=settings)
    second = await mesh.node("second", bootstrap=[first.address], settings=settings)
    heard = []
    first.watch(TOPIC, heard.append)
    third = mesh.identity("third")
    raw = bytearray(make_record(third, TOPIC, presence(third), now_s=second._clock.wall_ms() / 1_000))
    true = bytes(raw)
    raw[-1] ^= 1
    second._protocol.notify(where(first), "push", [TOPIC, bytes(raw), 0, third.credential])
    await until(lambda: refused(first, "forged") == 1)
    assert heard == []
    second._protocol.notify(where(first), "push", [TOPIC, true, 0, third.credential])
    await until(lambda: len(heard) == 1)


async def test_noise_and_mutations_raise_nothing_and_keep_nothing(pair):
    """Random bytes and mutated honest datagrams, straight into the protocol."""
    rng = random.Random(SEED)
    first, second = pair
    sent = recorded(second, lambda: second._protocol.notify(where(first), "watch", [TOPIC, 1_000]))[0]
    hello = second._protocol.sessions.hello(("127.0.0.1", 1), second._clock.wall_ms()).datagram
    before = first.stats
    for number in range(5_000):
        seed = rng.choice([sent, hello, rng.randbytes(rng.randrange(2_000))])
        mutated = bytearray(seed)
        for _ in range(rng.randrange(1, 4)):
            if mutated:
                mutated[rng.randrange(len(mutated))] = rng.randrange(256)
        source = ("127.0.0.1", 20_000 + number % 3_000)
        first._protocol.datagram_received(bytes(mutated[: rng.randrange(len(mutated) + 1)]), source)
    after = first.stats
    assert after["refused"].get("fault", 0) == 0, f"seed {SEED}"
    assert (after["contacts"], after["records"]) == (before["contacts"], before["records"])
    await honest(pair)
