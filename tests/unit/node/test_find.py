import asyncio

import pytest

from tether.errors import Reason, TetherError
from tether.identity import Role
from tether.node.find import Peers, presence_of, ranked, topic_of
from tether.overlay import Change, ChangeKind, Found
from tether.v1 import identity_pb2


class FakeOverlay:
    def __init__(self):
        self.topic = ""
        self.closed = False

    def watch(self, topic, on_change):
        self.topic, self.tell = topic, on_change
        return self

    def close(self):
        self.closed = True


def change(kind, node, role=Role.GATEWAY, address="127.0.0.1:1", life=1):
    body = identity_pb2.RecordBody(incarnation=life)
    said = presence_of(role, node, [address] if address else [])
    if isinstance(said, identity_pb2.Presence):
        body.presence.CopyFrom(said)
    else:
        body.control.CopyFrom(said)
    return Change(kind, Found(node, body, 0.0))


@pytest.fixture
def clock():
    return [0.0]


@pytest.fixture
def overlay():
    return FakeOverlay()


@pytest.fixture
def peers(overlay, clock):
    return Peers(overlay, "local", Role.GATEWAY, lambda: clock[0])


def test_topic_is_control_for_the_control_plane_and_presence_for_the_rest():
    assert topic_of(Role.REGISTRY, "local") == topic_of(Role.ORCHESTRATOR, "local") == "tether/control/local"
    assert topic_of(Role.WORKER, "local") == topic_of(Role.BRIDGE, "local") == "tether/presence/local"


def test_peers_come_move_and_go(overlay, peers):
    heard = []
    peers.listen(lambda: heard.append(len(peers.all())))
    overlay.tell(change(ChangeKind.UP, "a"))
    overlay.tell(change(ChangeKind.UPDATED, "a", address="127.0.0.1:2", life=2))
    assert [(p.node_id, p.address, p.incarnation) for p in peers.all()] == [("a", "127.0.0.1:2", 2)]
    overlay.tell(change(ChangeKind.GONE, "a", life=2))
    assert heard == [1, 1, 0]
    peers.close()
    assert overlay.closed


def test_peers_pass_by_other_roles_and_nodes_without_address(overlay, peers):
    overlay.tell(change(ChangeKind.UP, "w", role=Role.WORKER))
    overlay.tell(change(ChangeKind.UP, "x", address=""))
    assert peers.all() == []


def test_control_peers_carry_the_store_id(overlay):
    peers = Peers(overlay, "local", Role.ORCHESTRATOR)
    body = identity_pb2.RecordBody(incarnation=3)
    body.control.CopyFrom(presence_of(Role.ORCHESTRATOR, "o", ["127.0.0.1:1"], bytes(16)))
    overlay.tell(Change(ChangeKind.UP, Found("o", body, 0.0)))
    assert peers.all()[0].store_id == bytes(16)


def test_rendezvous_moves_only_the_keys_of_the_peer_that_went(overlay, peers):
    for node in "abcde":
        overlay.tell(change(ChangeKind.UP, node))
    keys = [str(i) for i in range(500)]
    before = {key: peers.best(key).node_id for key in keys}
    assert set(before.values()) == set("abcde")
    overlay.tell(change(ChangeKind.GONE, "c"))
    moved = [key for key in keys if peers.best(key).node_id != before[key]]
    assert set(moved) == {key for key in keys if before[key] == "c"}


def test_failed_peer_is_passed_over_for_a_moment(overlay, peers, clock):
    for node in "ab":
        overlay.tell(change(ChangeKind.UP, node))
    first = peers.best("k")
    second = peers.next("k", first)
    assert second.node_id != first.node_id
    assert peers.best("k") == second
    clock[0] = 1.0
    assert peers.best("k") == first


def test_only_peer_that_failed_is_still_the_best_and_no_next(overlay, peers):
    overlay.tell(change(ChangeKind.UP, "a"))
    only = peers.best("k")
    assert peers.next("k", only) is None
    assert peers.best("k") == only


def test_next_is_another_one_also_where_all_failed_lately(overlay, peers):
    for node in "ab":
        overlay.tell(change(ChangeKind.UP, node))
    first = peers.best("k")
    second = peers.next("k", first)
    peers.fail(second)
    assert peers.best("k") == first
    assert peers.next("k", first) == second
    assert peers.other("k", (first.node_id, second.node_id)) is None


async def test_one_waits_for_the_first_peer(overlay, peers):
    waiting = asyncio.create_task(peers.one("k"))
    await asyncio.sleep(0)
    overlay.tell(change(ChangeKind.UP, "a"))
    assert (await waiting).node_id == "a"


@pytest.mark.parametrize(
    ("role", "reason"),
    [
        (Role.ORCHESTRATOR, Reason.NO_ORCHESTRATOR),
        (Role.WORKER, Reason.NO_WORKER),
        (Role.REGISTRY, Reason.UNREACHABLE),
    ],
)
async def test_one_without_any_peer_is_refused_in_time(overlay, role, reason):
    with pytest.raises(TetherError) as error:
        await Peers(overlay, "local", role).one("k", timeout_s=0.01)
    assert error.value.reason is reason


def test_ranking_is_the_same_for_everyone(overlay, peers):
    for node in "abc":
        overlay.tell(change(ChangeKind.UP, node))
    assert ranked(reversed(peers.all()), "k") == ranked(peers.all(), "k")
