"""The follower: takes what a registry says, leaves one that is silent, goes on where it stopped."""

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass

from tether.errors import Reason, TetherError
from tether.registry.catalogue import Catalogue
from tether.registry.follower import SnapshotFollower
from tether.rpc import server as rpc_server
from tether.rpc.channel import open_channel
from tether.testing.catalogue import NETWORK_ID, TrustAll, model_of, snapshot_of
from tether.v1 import registry_pb2 as pb
from tether.v1.registry_pb2_grpc import RegistryServiceServicer, add_RegistryServiceServicer_to_server


@dataclass(frozen=True)
class Peer:
    node_id: str
    address: str


class Registry(RegistryServiceServicer):
    """Says what a test puts in, and nothing else."""

    def __init__(self):
        self.says = asyncio.Queue()
        self.asked = []

    async def WatchSnapshot(self, request, context):
        self.asked.append(request.revision)
        while (response := await self.says.get()) is not None:
            yield response


class Peers:
    """Registries in a fixed order; one that failed goes to the end."""

    def __init__(self, *peers):
        self.order = list(peers)
        self.failed = []

    async def one(self, key):
        if not self.order:
            raise TetherError(Reason.UNREACHABLE, "none")
        return self.order[0]

    def fail(self, peer):
        self.failed.append(peer.node_id)
        self.order.append(self.order.pop(0))


class Channels:
    def __init__(self):
        self.open = {}

    def to(self, node_id, address):
        if node_id not in self.open:
            self.open[node_id] = open_channel(address)
        return self.open[node_id]

    def metadata(self, node_id):
        return (("authorization", f"for {node_id}"),)


@asynccontextmanager
async def serving(registry):
    server = rpc_server.create()
    add_RegistryServiceServicer_to_server(registry, server)
    address = await rpc_server.bind(server, "127.0.0.1:0")
    await server.start()
    try:
        yield address
    finally:
        await server.stop(0)


@asynccontextmanager
async def following(peers, **options):
    catalogue, channels = Catalogue(TrustAll(), NETWORK_ID), Channels()
    follower = SnapshotFollower(peers, channels, catalogue, "me", **options)
    await follower.start()
    try:
        yield catalogue, follower
    finally:
        await follower.close()
        for channel in channels.open.values():
            await channel.close()


async def until(condition, timeout_s=5.0):
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110  any condition, a deadline around it
            await asyncio.sleep(0.005)


async def test_follower_takes_each_snapshot():
    registry = Registry()
    async with serving(registry) as address, following(Peers(Peer("a", address))) as (catalogue, follower):
        registry.says.put_nowait(snapshot_of(5, models=[model_of("m")]))
        assert await follower.ready(5.0)
        registry.says.put_nowait(snapshot_of(6))
        await until(lambda: catalogue.revision == 6)
    assert registry.asked == [0]


async def test_follower_leaves_a_silent_registry_and_goes_on_elsewhere():
    mute, other = Registry(), Registry()
    mute.says.put_nowait(snapshot_of(5))
    other.says.put_nowait(snapshot_of(6))
    async with serving(mute) as first, serving(other) as second:
        peers = Peers(Peer("mute", first), Peer("other", second))
        async with following(peers, silence_s=0.1) as (catalogue, _):
            await until(lambda: catalogue.revision == 6)
    assert peers.failed[0] == "mute"
    assert other.asked[0] == 5


async def test_follower_outlives_registries_that_are_not_there():
    registry = Registry()
    registry.says.put_nowait(snapshot_of(5))
    async with serving(registry) as address:
        peers = Peers(Peer("gone", "127.0.0.1:1"), Peer("here", address))
        async with following(peers) as (catalogue, _):
            await until(lambda: catalogue.revision == 5)


async def test_follower_refuses_what_does_not_verify_and_asks_another():
    liar, honest = Registry(), Registry()
    liar.says.put_nowait(snapshot_of(9, network_id=b"x" * 32))
    honest.says.put_nowait(snapshot_of(5))
    async with serving(liar) as first, serving(honest) as second:
        peers = Peers(Peer("liar", first), Peer("honest", second))
        async with following(peers) as (catalogue, _):
            await until(lambda: catalogue.revision == 5)
    assert peers.failed == ["liar"]


async def test_follower_signs_of_life_keep_a_watch():
    registry = Registry()
    registry.says.put_nowait(snapshot_of(5))
    async with serving(registry) as address:
        peers = Peers(Peer("a", address))
        async with following(peers, silence_s=0.3) as (catalogue, _):
            for _ in range(8):
                registry.says.put_nowait(pb.WatchSnapshotResponse(revision=5))
                await asyncio.sleep(0.1)
            assert catalogue.revision == 5
    assert registry.asked == [0]


async def test_follower_without_registries_waits_and_closes():
    async with following(Peers()) as (_, follower):
        assert not await follower.ready(0.05)


async def test_follower_closes_twice():
    async with following(Peers()) as (_, follower):
        await follower.close()
