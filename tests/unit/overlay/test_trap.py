"""What the packages underneath do wrong, one test per trap: see `tether.overlay.protocol`."""

import asyncio

import pytest
import uvloop

from tether.overlay import Settings
from tether.overlay.contact import Contact, topic_id
from tether.overlay.crawl import ASKED_MAX, Crawl
from tether.overlay.refusal import Refusal
from tether.testing.overlay import Mesh, make_record, presence, until

TOPIC = "tether/presence/local"
QUICK = Settings(call_s=0.2, resend_s=0.1, dead_first_s=0.1, tick_s=0.02)


@pytest.fixture
async def mesh(tmp_path):
    made = Mesh(tmp_path)
    yield made
    await made.close()


@pytest.fixture
async def pair(mesh):
    first = await mesh.node("first", settings=QUICK)
    return first, await mesh.node("second", bootstrap=[first.address], settings=QUICK)


def contact_of(node, other):
    return node._protocol.router.contact(other._protocol.source_node.id)


async def test_misspelt_method_is_an_error_not_a_call(pair):
    protocol = pair[0]._protocol
    assert not hasattr(protocol, "pnig")
    with pytest.raises(AttributeError):
        protocol.find_vlaue  # noqa: B018


@pytest.mark.parametrize("method", ["find_value", "get", "set", "stun", "__init__", "rpc_ping", ""])
async def test_open_get_and_set_are_not_offered(pair, method):
    first, second = pair
    second._protocol.notify(contact_of(second, first).address, method, [b"k" * 20, b"value"])
    await until(lambda: first.stats["refused"] == {Refusal.CLOSED.value: 1})
    assert first.stats["records"] == 0


async def test_a_peer_cannot_overwrite_the_record_of_another(pair, mesh):
    first, second = pair
    announcement = await first.announce(TOPIC, presence(first._me))
    copy = await second._protocol.ask(contact_of(second, first), "store", [TOPIC, announcement.raw])
    assert copy == (True, "")  # these very bytes are known: nothing changed
    forged = make_record(second._me, TOPIC, presence(first._me), now_s=second._clock.wall_ms() / 1_000)
    assert (await second._protocol.ask(contact_of(second, first), "store", [TOPIC, forged]))[1] == "content"
    third = mesh.identity("third")
    relayed = make_record(third, TOPIC, presence(third), now_s=second._clock.wall_ms() / 1_000)
    assert (await second._protocol.ask(contact_of(second, first), "store", [TOPIC, relayed]))[1] == "relayed"


async def test_announcing_with_only_dead_neighbours_neither_fails_nor_hangs(pair):
    first, second = pair
    second._protocol.transport.abort()
    async with asyncio.timeout(2):
        await first.announce(TOPIC, presence(first._me))
        assert len(await first.lookup(TOPIC)) == 1


async def test_cancelled_call_leaves_nothing_behind(pair):
    first, second = pair
    second._protocol.serve({"slow": lambda *_: Refusal.FAULT})  # never answers
    calls = [asyncio.create_task(first._protocol.ask(contact_of(first, second), "slow", [])) for _ in range(10)]
    await until(lambda: len(first._protocol._calls) == 10)
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    assert first._protocol._calls == {}


async def test_call_that_nobody_answers_ends_in_time_and_is_not_repeated_at_once(pair):
    first, second = pair
    contact = contact_of(first, second)
    second._protocol.transport.abort()
    async with asyncio.timeout(3):
        assert await first._protocol.ask(contact, "ping", []) == (False, None)
    assert contact_of(first, second) is None
    first._protocol.dead.silent(contact.address, first._clock.now_s())
    first._protocol._send = lambda *_: pytest.fail("a dead address is left alone")
    assert await first._protocol.ask(contact, "ping", []) == (False, None)
    del first._protocol._send


@pytest.mark.parametrize(
    "lie",
    [None, 7, "text", b"bytes", {"value": b"x"}, [], [1], [[1]], [[b"x", 1]], [[], True, 3], [[[b"r", "a"]], False],
     [[[b"\xff" * 50, 0]] * 100, True], [[b"k" * 32, "example.org", 1]], [[b"k" * 32, "127.0.0.1", 9]] * 100],
)  # fmt: skip
async def test_peer_that_lies_in_its_answers_breaks_no_lookup(pair, lie):
    first, second = pair
    await first.announce(TOPIC, presence(first._me))
    second._protocol.serve(dict.fromkeys(("find_node", "fetch", "credentials", "watch"), lambda *_: lie))
    heard = []
    async with asyncio.timeout(5):
        assert len(await first.lookup(TOPIC)) == 1
        first.watch(TOPIC, heard.append)
        await until(lambda: heard)
    assert "fault" not in first.stats["refused"]


async def test_crawl_among_liars_that_invent_ever_nearer_nodes_ends(pair):
    first, second = pair
    invented = iter(range(10**9))

    def lie(*_):
        address = second._protocol.source_node.address
        return [Contact(next(invented).to_bytes(32, "big"), address).wire() for _ in range(8)]

    second._protocol.serve({"find_node": lie})
    crawl = Crawl(first._protocol, topic_id(TOPIC), QUICK)
    async with asyncio.timeout(5):
        found = await crawl.contacts()
    assert len(crawl.nearest.contacted) <= ASKED_MAX
    assert {contact.node_key for contact in found} <= {second._me.public_key}


async def test_state_on_disk_is_no_pickle(pair, mesh):
    _, second = pair
    await second.close()
    assert (mesh.folder / "second" / "contacts.json").read_text().startswith('[["')


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_address_that_takes_no_datagram_is_just_silent(tmp_path, run):
    async def scenario():
        mesh = Mesh(tmp_path)
        node = await mesh.node("first", settings=QUICK)
        try:
            hosts = ("::1", "1.2.3", ".", "fe80::1", "255.255.255.255")
            calls = (node._protocol.call((host, 9), None, "ping", []) for host in hosts)
            assert await asyncio.gather(*calls) == [(False, None)] * 5
        finally:
            await mesh.close()

    run(scenario())


async def test_table_holds_only_nodes_that_proved_themselves(pair, tmp_path):
    first, second = pair
    stranger = await Mesh(tmp_path / "foreign").node("spy", bootstrap=[first.address], settings=QUICK)
    try:
        await until(lambda: first.stats["refused"].get("foreign-network"))
        assert [c.node_id for c in first._protocol.router.contacts()] == [second._me.node_id]
        assert stranger.stats["contacts"] == 0
    finally:
        await stranger.close()


async def test_new_neighbour_gets_the_records_that_it_should_keep(pair, mesh):
    first, second = pair
    await second.announce(TOPIC, presence(second._me))
    third = await mesh.node("third", bootstrap=[first.address], settings=QUICK)
    await until(lambda: third.stats["records"] == 1)


async def test_stall_of_this_process_is_not_blamed_on_its_peers(pair):
    import time

    first, second = pair
    call = asyncio.create_task(first._protocol.ask(contact_of(first, second), "ping", []))
    await asyncio.sleep(0)
    time.sleep(0.6)  # noqa: ASYNC251  # three times the length of a call
    assert (await call)[0]
    assert contact_of(first, second) is not None
