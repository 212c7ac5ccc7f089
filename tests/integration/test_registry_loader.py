"""ModelLoader against a real registry: nothing unverified reaches an engine, whatever happened to disk or source."""

import asyncio
import shutil
import time
from pathlib import Path

import pytest

from tether.artifact.manifest import Limits
from tether.errors import Reason, TetherError
from tether.identity import Identity, Role
from tether.node import region
from tether.node.find import Peers
from tether.node.node import Node
from tether.registry.catalogue import Catalogue
from tether.registry.follower import SnapshotFollower
from tether.testing.tiny_model import write_tiny_decoder
from tether.v1 import registry_pb2 as pb
from tether_registry.app import build
from tether_registry.config import Config
from tether_worker.loader import ModelLoader, State

WEIGHTS = "weights.int8.bin"


class World:
    """A registry with one model, and a worker's node."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.folder = write_tiny_decoder(state.parent / "demo", name="tether-demo")
        region.prepare(state, "local", {"registry": "registry", "worker-1": "worker"})
        self.registry = build(Config(state=state / "registry", demo_model=self.folder))

    async def start(self) -> None:
        await self.registry.start()
        overlay = self.registry.endpoints()["registry-overlay"]
        self.node = node = await Node.open(Config(state=self.state / "worker-1", bootstrap=(overlay,)), Role.WORKER)
        self.peers = Peers(node.overlay, "local", Role.REGISTRY)
        self.catalogue = Catalogue(node.trust, node.identity.network_id)
        self.follower = SnapshotFollower(self.peers, node.channels, self.catalogue, node.node_id)
        await self.follower.start()
        assert await self.follower.ready(5.0)

    async def close(self) -> None:
        await self.follower.close()
        self.peers.close()
        await self.node.close()
        await self.registry.close()

    @property
    def model(self) -> pb.Model:
        return self.catalogue.model("tether-demo")

    async def loader(self, **options) -> ModelLoader:
        made = ModelLoader(self.state / "models", self.node.trust, self.peers, self.node.channels, **options)
        await made.open()
        return made

    @property
    def blobs(self) -> Path:
        return self.state / "registry" / "artifacts" / "blobs" / "sha256"


@pytest.fixture
async def world(tmp_path):
    made = World(tmp_path / "state")
    await made.start()
    yield made
    await made.close()


def same(one: Path, other: Path) -> bool:
    return all((one / path.name).read_bytes() == path.read_bytes() for path in other.iterdir())


async def reason_of(call) -> Reason:
    with pytest.raises(TetherError) as caught:
        await call
    return caught.value.reason


async def test_loader_brings_a_verified_folder(world):
    loader = await world.loader()
    told = []
    folder = await loader.load(world.model, lambda *args: told.append(args))
    assert same(folder, world.folder)
    assert loader.state(world.model.digest) is State.ON_DISK
    assert (WEIGHTS, (world.folder / WEIGHTS).stat().st_size) in {(path, done) for path, done, _ in told}


async def test_loader_calls_for_the_same_version_share_a_fetch(world):
    loader = await world.loader()
    told = []
    folders = await asyncio.gather(*(loader.load(world.model, lambda *args: told.append(args)) for _ in range(5)))
    assert len(set(folders)) == 1
    assert len(told) == len(list(world.folder.iterdir()))


async def test_loader_needs_no_registry_for_what_it_has(world):
    await (await world.loader()).load(world.model)
    model = world.model
    await world.registry.close()
    loader = await world.loader()
    assert loader.state(model.digest) is State.ON_DISK
    assert same(await loader.load(model), world.folder)


SPOILS = [
    lambda path: path.write_bytes(b"X" + path.read_bytes()[1:]),
    lambda path: path.write_bytes(path.read_bytes()[:-1]),
    lambda path: path.write_bytes(path.read_bytes() + b"x"),
    lambda path: path.unlink(),
]


@pytest.mark.parametrize("spoil", SPOILS)
async def test_loader_fetches_again_what_was_damaged_on_the_disk(world, spoil):
    folder = await (await world.loader()).load(world.model)
    (folder / WEIGHTS).chmod(0o644)
    spoil(folder / WEIGHTS)
    assert same(await (await world.loader()).load(world.model), world.folder)


async def test_loader_replaces_a_manifest_that_was_changed(world):
    folder = await (await world.loader()).load(world.model)
    (folder / "manifest.bin").write_bytes(b"\x0a\x03abc")
    assert same(await (await world.loader()).load(world.model), world.folder)


async def test_loader_sweeps_what_no_manifest_lists(world):
    folder = await (await world.loader()).load(world.model)
    (folder / "evil.pt").write_bytes(b"x")
    (folder / "config.json").chmod(0o644)
    (folder / "link.json").symlink_to("/etc/passwd")
    await (await world.loader()).load(world.model)
    assert {path.name for path in folder.iterdir()} == {path.name for path in world.folder.iterdir()} | {"manifest.bin"}


async def test_loader_refuses_what_the_registry_damaged(world):
    for path in world.blobs.rglob("*"):
        if path.is_file() and path.stat().st_size == (world.folder / WEIGHTS).stat().st_size:
            path.write_bytes(b"Y" + path.read_bytes()[1:])
    loader = await world.loader()
    assert await reason_of(loader.load(world.model)) is Reason.ARTIFACT_CORRUPT
    assert loader.state(world.model.digest) is State.FAILED
    assert not (world.state / "models" / world.model.digest.hex() / WEIGHTS).exists()


async def test_loader_refuses_a_registry_without_the_blobs(world):
    shutil.rmtree(world.blobs)
    assert await reason_of((await world.loader()).load(world.model)) is Reason.BLOB_UNKNOWN


async def test_loader_refuses_a_manifest_that_the_snapshot_does_not_name(world):
    model = pb.Model()
    model.CopyFrom(world.model)
    model.digest = b"o" * 32
    assert await reason_of((await world.loader()).load(model)) is Reason.ARTIFACT_UNTRUSTED


async def test_loader_refuses_a_manifest_that_a_worker_signed(world, tmp_path):
    import hashlib

    from tether.artifact.manifest import sign
    from tether.registry.push import list_folder

    other = write_tiny_decoder(tmp_path / "other", seed=9)
    body = list_folder(other, "tether-demo", "1.0", world.node.identity, Limits())
    raw = sign(body, world.node.identity)
    forged = pb.Model(
        name="tether-demo:1.0",
        model_id="tether-demo",
        version="1.0",
        manifest=raw,
        digest=hashlib.sha256(pb.Manifest.FromString(raw).body).digest(),
    )
    assert await reason_of((await world.loader()).load(forged)) is Reason.ARTIFACT_UNTRUSTED


async def test_loader_over_its_budget_refuses(world):
    assert await reason_of((await world.loader(bytes_max=1_000)).load(world.model)) is Reason.STORE_UNAVAILABLE


async def test_loader_makes_room_by_age(world):
    from tether.registry import push as pushing
    from tether.rpc.channel import open_channel

    operator = Identity.load(world.state / "operator")
    channel = open_channel(world.registry.endpoints()["registry"])
    registry_id = world.peers.all()[0].node_id
    from tether.identity.token import to_header

    proof = (("authorization", to_header(operator.token(registry_id, time.time_ns() // 1_000_000))),)
    second = write_tiny_decoder(world.state.parent / "second", seed=9, name="second")
    other = await pushing.push(second, "second", "1.0", channel=channel, metadata=proof, identity=operator)
    await channel.close()
    loader = await world.loader(bytes_max=int(1.5 * world.model.total_bytes))
    first = await loader.load(world.model)
    assert await reason_of(loader.load(other)) is Reason.STORE_UNAVAILABLE
    loader.release(world.model.digest)
    assert same(await loader.load(other), second)
    assert not first.exists()
    assert loader.state(world.model.digest) is State.ABSENT


async def test_loader_closed_in_a_fetch_ends(world):
    loader = await world.loader()
    task = asyncio.create_task(loader.load(world.model))
    await asyncio.sleep(0)
    await loader.close()
    with pytest.raises(asyncio.CancelledError):
        await task
