"""Overlay nodes over real UDP on loopback: they find each other, and go on when some of them die, lie or come back."""

import asyncio
import time

import pytest
import uvloop

from tether.errors import Reason, TetherError
from tether.identity import Role
from tether.overlay import ChangeKind, Settings
from tether.overlay.highest import key_of
from tether.testing.overlay import Mesh, make_record, presence, until
from tether.v1 import identity_pb2

TOPIC = "tether/presence/local"
QUICK = Settings(
    call_s=0.3,
    resend_s=0.1,
    poll_s=0.1,
    tick_s=0.02,
    save_s=0.05,
    rejoin_first_s=0.02,
    rejoin_max_s=0.1,
    dead_first_s=0.1,
)


@pytest.fixture
async def mesh(tmp_path):
    made = Mesh(tmp_path)
    yield made
    await made.close()


async def several(mesh, count, settings=QUICK):
    """Nodes that joined by the first of them, all at once."""
    first = await mesh.node("n0", settings=settings)
    others = (mesh.node(f"n{i}", bootstrap=[first.address], settings=settings) for i in range(1, count))
    return [first, *await asyncio.gather(*others)]


def say(node, **changes):
    return node.announce(TOPIC, presence(node._me), **changes)


async def seen_by(node):
    return {found.node_id for found in await node.lookup(TOPIC)}


def ids(nodes):
    return {node._me.node_id for node in nodes}


async def kill(node):
    """End a node as kill -9 does: nothing is withdrawn, nobody is told."""
    for task in list(node._protocol._tasks):
        task.cancel()
    node._protocol.transport.abort()
    await asyncio.sleep(0.01)  # the event loop closes the socket in its next rounds
    node._closed = True


async def test_five_nodes_find_each_other(mesh):
    nodes = await several(mesh, 5)
    assert [node.stats["contacts"] for node in nodes] == [4] * 5
    await asyncio.gather(*(say(node) for node in nodes))
    for node in nodes:
        assert await seen_by(node) == ids(nodes)


async def test_found_record_says_what_was_announced(mesh):
    first, second = await several(mesh, 2)
    await say(first)
    (found,) = await second.lookup(TOPIC)
    assert found.node_id == first._me.node_id
    assert found.body.presence == presence(first._me)
    assert 0 <= found.age_s < 1


async def test_watcher_hears_of_what_comes_changes_and_goes(mesh):
    nodes = await several(mesh, 4)
    changes = []
    watch = nodes[1].watch(TOPIC, lambda change: changes.append((change.kind, change.found.node_id)))
    announcement = await say(nodes[3])
    await until(lambda: (ChangeKind.UP, nodes[3]._me.node_id) in changes)
    announcement.update(presence(nodes[3]._me, address="127.0.0.1:2"))
    await until(lambda: (ChangeKind.UPDATED, nodes[3]._me.node_id) in changes)
    await announcement.withdraw()
    await announcement.withdraw()
    await until(lambda: (ChangeKind.GONE, nodes[3]._me.node_id) in changes)
    assert [kind for kind, _ in changes] == [ChangeKind.UP, ChangeKind.UPDATED, ChangeKind.GONE]
    watch.close()
    watch.close()
    await say(nodes[2])
    assert len(changes) == 3


async def test_second_watch_on_a_topic_hears_all_that_is_there(mesh):
    nodes = await several(mesh, 2)
    await say(nodes[0])
    first, second = [], []
    one = nodes[1].watch(TOPIC, first.append)
    await until(lambda: first)
    two = nodes[1].watch(TOPIC, second.append)
    assert [change.kind for change in second] == [ChangeKind.UP]
    one.close()
    await say(nodes[1])
    await until(lambda: len(second) == 2)
    assert len(first) == 1
    two.close()


async def test_listener_that_raises_ends_neither_watch_nor_node(mesh):
    (node,) = await several(mesh, 1)
    heard = []
    node.watch(TOPIC, lambda _: 1 / 0)
    node.watch(TOPIC, heard.append)
    await say(node)
    assert len(heard) == 1


async def test_presence_of_a_killed_node_is_gone_after_its_lifetime(mesh):
    nodes = await several(mesh, 3)
    gone = []
    nodes[1].watch(TOPIC, lambda change: gone.append(change) if change.kind is ChangeKind.GONE else None)
    announcement = await say(nodes[2], renew_s=0.1, lifetime_s=1.0)
    await until(lambda: announcement._publisher._sequences[TOPIC] > 15)  # longer than its lifetime: renewals keep it
    assert not gone
    assert await seen_by(nodes[1]) == ids(nodes[2:])
    await kill(nodes[2])
    await until(lambda: gone)
    assert await seen_by(nodes[1]) == set()


async def test_records_survive_killed_storers(mesh):
    nodes = await several(mesh, 5)
    await say(nodes[4])
    for node in nodes[:3]:
        await kill(node)
    assert await seen_by(nodes[3]) == ids(nodes[4:])


async def test_announcing_works_when_every_neighbour_is_dead(mesh):
    nodes = await several(mesh, 3)
    await kill(nodes[1])
    await kill(nodes[2])
    await say(nodes[0])
    assert await seen_by(nodes[0]) == ids(nodes[:1])


async def test_node_that_comes_later_is_told_and_tells(mesh):
    nodes = await several(mesh, 3)
    heard = []
    nodes[0].watch(TOPIC, heard.append)
    await say(nodes[1])
    late = await mesh.node("late", bootstrap=[nodes[2].address], settings=QUICK)
    await until(lambda: late.stats["records"] == 1)
    await say(late)
    await until(lambda: len(heard) == 2)


async def test_bootstrap_that_restarts_is_found_again_by_all(mesh):
    nodes = await several(mesh, 3)
    await say(nodes[1])
    port = int(nodes[0].address.rpartition(":")[2])
    await nodes[0].close()
    again = await mesh.node("n0", port=port, settings=QUICK)
    await until(lambda: again.stats["contacts"] == 2)
    await until(lambda: again.stats["records"] == 1)
    assert await seen_by(again) == ids(nodes[1:2])


async def test_killed_bootstrap_in_a_new_life_on_its_port_is_used_again(mesh):
    nodes = await several(mesh, 3)
    await say(nodes[1], renew_s=0.1)
    port = int(nodes[0].address.rpartition(":")[2])
    await kill(nodes[0])
    (mesh.folder / "n0" / "contacts.json").unlink(missing_ok=True)
    again = await mesh.node("n0", port=port, settings=QUICK)
    await until(lambda: again.stats["contacts"] == 2)
    await until(lambda: again.stats["records"] == 1)


async def test_node_alone_rejoins_by_the_contacts_that_it_remembers(mesh):
    nodes = await several(mesh, 3)
    await until((mesh.folder / "n2" / "contacts.json").exists)
    await nodes[2].close()
    again = await mesh.node("n2", settings=QUICK)
    await until(lambda: again.stats["contacts"] == 2)


async def test_bootstrap_that_is_not_there_delays_nothing_and_is_tried_until_it_is(mesh):
    probe = await mesh.node("probe", settings=QUICK)
    address, port = probe.address, int(probe.address.rpartition(":")[2])
    await probe.close()
    early = await mesh.node("early", bootstrap=[address], settings=QUICK)
    await say(early)
    late = await mesh.node("late", port=port, settings=QUICK)
    await until(lambda: late.stats["contacts"] == 1)
    assert await seen_by(late) == ids([early])


async def test_restarted_node_replaces_its_earlier_life(mesh):
    nodes = await several(mesh, 3)
    changes = []
    nodes[0].watch(TOPIC, changes.append)
    await say(nodes[2])
    await kill(nodes[2])
    again = await mesh.node("n2", bootstrap=[nodes[0].address], settings=QUICK)
    await say(again)
    await until(lambda: len(changes) == 2)
    assert [(c.kind, c.found.body.incarnation) for c in changes] == [(ChangeKind.UP, 1), (ChangeKind.UPDATED, 2)]


async def test_storer_remembers_the_highest_order_over_a_restart(mesh):
    nodes = await several(mesh, 2)
    announcement = await say(nodes[1])
    old = announcement.raw
    announcement.update(presence(nodes[1]._me, address="127.0.0.1:2"))
    key = key_of(TOPIC, nodes[1]._me.public_key, "presence")
    await until(lambda: nodes[0]._storer.shelf.highest.get(key) == (1, 2))
    await nodes[0].close()
    again = await mesh.node("n0", bootstrap=[nodes[1].address], settings=QUICK)
    assert again._storer.shelf.highest.get(key) >= (1, 2)
    contact = nodes[1]._protocol.router.contact(again._protocol.source_node.id)
    assert await nodes[1]._protocol.ask(contact, "store", [TOPIC, old]) == (True, "stale")


async def test_ping_answers_for_the_living_only(mesh):
    nodes = await several(mesh, 3)
    assert await nodes[0].ping(nodes[2]._me.node_id) > 0
    await kill(nodes[2])
    assert await nodes[0].ping(nodes[2]._me.node_id) is None
    assert await nodes[0].ping(mesh.identity("nobody").node_id) is None
    with pytest.raises(TetherError):
        await nodes[0].ping("no node id")


async def test_two_hundred_records_come_in_pages(mesh):
    first, second = await several(mesh, 2)
    topics = [f"tether/models/m{i}/1.0/local" for i in range(3)]
    for topic in topics:
        offer = identity_pb2.ModelOffer(worker_id=first._me.node_id, model_id=topic.split("/")[2], version="1.0")
        await first.announce(topic, offer)
    others = [mesh.identity(f"w{i}") for i in range(200)]
    now_s = time.time()
    for other in others:
        raw = make_record(other, TOPIC, presence(other), now_s=now_s)
        first._admission.learn(other.credential, int(now_s * 1_000))
        assert first._storer.store(other.public_key, [TOPIC, raw], first._now()).refusal is None
    assert await seen_by(second) == {other.node_id for other in others}


@pytest.mark.parametrize(
    ("topic", "role", "reason"),
    [
        ("tether/presence/NOWHERE", Role.WORKER, Reason.INVALID_FIELD),
        (TOPIC, Role.GATEWAY, Reason.ROLE_FORBIDDEN),
        ("tether/control/local", Role.WORKER, Reason.INVALID_FIELD),
    ],
)
async def test_what_storers_would_refuse_is_refused_before_it_is_sent(mesh, topic, role, reason):
    (node,) = await several(mesh, 1)
    with pytest.raises(TetherError) as error:
        await node.announce(topic, presence(node._me, role))
    assert error.value.reason is reason


async def test_lookup_and_watch_of_a_wrong_name_are_refused(mesh):
    (node,) = await several(mesh, 1)
    with pytest.raises(TetherError):
        await node.lookup("tether/everything")
    with pytest.raises(TetherError):
        node.watch("tether/everything", print)


async def test_port_in_use_names_port_and_flag(mesh):
    (node,) = await several(mesh, 1)
    port = int(node.address.rpartition(":")[2])
    with pytest.raises(TetherError) as error:
        await mesh.node("other", port=port)
    assert error.value.reason is Reason.PORT_IN_USE
    assert str(port) in error.value.message
    assert "--overlay-port" in error.value.message


async def test_network_of_thirty_finds_every_record(mesh):
    nodes = await several(mesh, 30, Settings())
    await asyncio.gather(*(say(node) for node in nodes))

    async def complete():
        return [await seen_by(node) == ids(nodes) for node in (nodes[0], nodes[13], nodes[29])]

    async with asyncio.timeout(15):  # thirty that start at once may disagree on storers until the next renewal, 5 s
        while not all(await complete()):  # noqa: ASYNC110 - a look-up has no event
            await asyncio.sleep(0.1)


def test_nodes_on_uvloop_do_the_same(tmp_path):
    """Services run on uvloop, whose sockets differ in small ways."""

    async def scenario():
        mesh = Mesh(tmp_path)
        try:
            nodes = await several(mesh, 5)
            heard = []
            nodes[0].watch(TOPIC, heard.append)
            announcements = await asyncio.gather(*(say(node) for node in nodes))
            await until(lambda: len(heard) == 5)
            await kill(nodes[4])
            await announcements[3].withdraw()
            await until(lambda: heard[-1].kind is ChangeKind.GONE)
            assert await seen_by(nodes[1]) == ids([*nodes[:3], nodes[4]])
        finally:
            await mesh.close()

    uvloop.run(scenario())


async def test_node_that_leaves_is_forgotten_at_once_and_not_sought(mesh):
    nodes = await several(mesh, 3)
    await asyncio.gather(*(say(node) for node in nodes))
    gone = nodes[2]._protocol.source_node.address
    await nodes[2].close()
    await until(lambda: [node.stats["contacts"] for node in nodes[:2]] == [1, 1])
    await until(lambda: [node.stats["records"] for node in nodes[:2]] == [2, 2])
    assert all(gone not in node._joiner._lacking() for node in nodes[:2])
