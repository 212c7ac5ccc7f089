"""The registry as its readers and operators meet it: real sockets, real identities, real files."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest

from tether.artifact.remote import RemoteSource
from tether.errors import Reason, TetherError
from tether.identity import Identity, Role, Trust
from tether.identity.token import to_header
from tether.node import region
from tether.node.find import Peers
from tether.node.node import Node
from tether.registry import push as pushing
from tether.registry.catalogue import Catalogue
from tether.registry.follower import SnapshotFollower
from tether.rpc.channel import open_channel
from tether.rpc.status import from_rpc_error
from tether.testing.tiny_model import write_tiny_decoder
from tether.v1 import registry_pb2 as pb
from tether.v1.registry_pb2_grpc import AccessServiceStub, ArtifactServiceStub, RegistryServiceStub
from tether_registry.app import RegistryApp, build
from tether_registry.config import Config

ROLES = {"registry": "registry", "gateway": "gateway", "worker-1": "worker"}


@dataclass
class World:
    """A registry and those who call it."""

    state: Path
    app: RegistryApp
    channel: grpc.aio.Channel

    def proof(self, who: str = "operator") -> tuple[tuple[str, str], ...]:
        identity = Identity.load(self.state / who)
        audience = Identity.load(self.state / "registry").node_id
        return (("authorization", to_header(identity.token(audience, time.time_ns() // 1_000_000))),)

    async def push(self, folder: Path, model_id: str = "tiny", version: str = "1.0", **options) -> pb.Model:
        identity = Identity.load(self.state / "operator")
        return await pushing.push(
            folder, model_id, version, channel=self.channel, metadata=self.proof(), identity=identity, **options
        )


@pytest.fixture
def state(tmp_path: Path) -> Path:
    region.prepare(tmp_path / "state", "local", ROLES)
    return tmp_path / "state"


@pytest.fixture
async def world(state: Path) -> AsyncIterator[World]:
    app = build(
        Config(state=state / "registry", demo_model=write_tiny_decoder(state.parent / "demo", name="tether-demo"))
    )
    await app.start()
    channel = open_channel(app.endpoints()["registry"])
    yield World(state, app, channel)
    await channel.close()
    await app.close()


async def reason_of(call) -> Reason:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return from_rpc_error(caught.value).reason


async def until(condition, timeout_s: float = 5.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110  any condition, a deadline around it
            await asyncio.sleep(0.01)


async def test_registry_begins_with_the_demo(world):
    registry, access = RegistryServiceStub(world.channel), AccessServiceStub(world.channel)
    listed = await registry.ListModels(pb.ListModelsRequest(), metadata=world.proof())
    assert [one.name for one in listed.models] == ["tether-demo:1.0"]
    tenants = await access.ListTenants(pb.ListTenantsRequest(), metadata=world.proof())
    assert [one.name for one in tenants.tenants] == ["demo"]


async def test_registry_starts_again_with_what_it_had(world):
    access = AccessServiceStub(world.channel)
    made = await access.CreateKey(pb.CreateKeyRequest(tenant_id="demo"), metadata=world.proof())
    await world.app.close()
    again = build(Config(state=world.state / "registry", demo_model=world.state.parent / "demo"))
    await again.start()
    channel = open_channel(again.endpoints()["registry"])
    keys = await AccessServiceStub(channel).ListKeys(pb.ListKeysRequest(), metadata=world.proof())
    assert [one.name for one in keys.keys] == [made.key.name]
    await channel.close()
    await again.close()


async def test_push_publishes_what_can_be_fetched_and_verified(world, tmp_path):
    folder = write_tiny_decoder(tmp_path / "tiny", seed=2)
    told = []
    model = await world.push(folder, progress=lambda *args: told.append(args))
    assert (model.name, model.format, model.context_tokens, model.tier) == ("tiny:1.0", "onnx-decoder", 512, "standard")
    assert list(model.capabilities) == ["chat", "choices", "logprobs", "response-format", "text"]
    assert {path for path, _, _ in told} == {"config.json", "model.onnx", "tokenizer.json", "weights.int8.bin"}
    source = RemoteSource(world.channel, world.proof("worker-1"), "the registry")
    body = pb.ManifestBody.FromString(pb.Manifest.FromString(model.manifest).body)
    for one in body.files:
        data = b"".join([part async for part in source.read(one.sha256)])
        assert data == (folder / one.path).read_bytes()


async def test_push_again_is_no_change(world, tmp_path):
    folder = write_tiny_decoder(tmp_path / "tiny", seed=2)
    first = await world.push(folder)
    assert await world.push(folder) == first


async def test_push_of_other_content_under_the_same_version_is_refused(world, tmp_path):
    await world.push(write_tiny_decoder(tmp_path / "a", seed=2))
    with pytest.raises(TetherError) as caught:
        await world.push(write_tiny_decoder(tmp_path / "b", seed=3))
    assert caught.value.reason is Reason.NAME_TAKEN


BROKEN = [
    ("config.json", b'{"format": "gguf"}', Reason.UNSUPPORTED),
    ("config.json", b"no json", Reason.INVALID_FIELD),
    ("model.onnx", None, Reason.INVALID_FIELD),
    ("weights.pt", b"x", Reason.UNSUPPORTED),
    ("bad name.json", b"{}", Reason.INVALID_FIELD),
]


@pytest.mark.parametrize(("path", "content", "reason"), BROKEN)
async def test_push_of_what_cannot_be_served_is_refused_before_anything_is_sent(world, tmp_path, path, content, reason):
    folder = write_tiny_decoder(tmp_path / "tiny")
    (folder / path).unlink(missing_ok=True)
    if content is not None:
        (folder / path).write_bytes(content)
    with pytest.raises(TetherError) as caught:
        await world.push(folder)
    assert caught.value.reason is reason
    registry = RegistryServiceStub(world.channel)
    assert len((await registry.ListModels(pb.ListModelsRequest(), metadata=world.proof())).models) == 1


async def test_publish_without_blobs_is_refused(world, tmp_path):
    from tether.artifact.manifest import Limits, sign

    identity = Identity.load(world.state / "operator")
    folder = write_tiny_decoder(tmp_path / "tiny", seed=5)
    body = pushing.list_folder(folder, "tiny", "1.0", identity, Limits())
    request = pb.PublishModelRequest(manifest=sign(body, identity))
    registry = RegistryServiceStub(world.channel)
    assert await reason_of(registry.PublishModel(request, metadata=world.proof())) is Reason.BLOB_UNKNOWN


async def test_publish_signed_by_a_worker_is_refused(world, tmp_path):
    from tether.artifact.manifest import Limits, sign

    worker = Identity.load(world.state / "worker-1")
    body = pushing.list_folder(write_tiny_decoder(tmp_path / "tiny"), "tiny", "1.0", worker, Limits())
    request = pb.PublishModelRequest(manifest=sign(body, worker))
    registry = RegistryServiceStub(world.channel)
    assert await reason_of(registry.PublishModel(request, metadata=world.proof())) is Reason.ARTIFACT_UNTRUSTED


async def test_blob_that_is_not_its_name_is_refused(world):
    source = RemoteSource(world.channel, world.proof(), "the registry")

    async def lie():
        yield b"something else"

    with pytest.raises(TetherError) as caught:
        await source.write(bytes(32), 14, lie())
    assert caught.value.reason is Reason.ARTIFACT_CORRUPT


async def test_blob_that_is_unknown_is_said(world):
    artifacts = ArtifactServiceStub(world.channel)
    call = artifacts.ReadBlob(pb.ReadBlobRequest(sha256=bytes(32)), metadata=world.proof())
    assert await reason_of(call.read()) is Reason.BLOB_UNKNOWN


async def test_model_that_is_unknown_is_said_with_the_nearest(world):
    registry = RegistryServiceStub(world.channel)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await registry.GetModel(pb.GetModelRequest(model_id="tehter-demo"), metadata=world.proof())
    error = from_rpc_error(caught.value)
    assert (error.reason, error.metadata["nearest"]) == (Reason.MODEL_UNKNOWN, "tether-demo")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await registry.GetModel(pb.GetModelRequest(model_id="tether-demo", version="9.9"), metadata=world.proof())
    assert from_rpc_error(caught.value).reason is Reason.VERSION_UNKNOWN


async def test_pages_list_every_tenant_once(world):
    access = AccessServiceStub(world.channel)
    for number in range(5):
        await access.CreateTenant(pb.CreateTenantRequest(tenant_id=f"t{number}"), metadata=world.proof())
    found, token = [], ""
    while True:
        page = await access.ListTenants(pb.ListTenantsRequest(page_size=2, page_token=token), metadata=world.proof())
        found += [one.name for one in page.tenants]
        token = page.next_page_token
        if not token:
            break
    assert found == ["demo", "t0", "t1", "t2", "t3", "t4"]


@pytest.mark.parametrize(
    "request_",
    [
        pb.ListTenantsRequest(page_size=1_001),
        pb.ListTenantsRequest(page_token="!"),
        pb.ListTenantsRequest(page_token="/w=="),
    ],
)
async def test_pages_refuse_what_is_no_page(world, request_):
    access = AccessServiceStub(world.channel)
    assert await reason_of(access.ListTenants(request_, metadata=world.proof())) is Reason.INVALID_FIELD


async def test_access_is_for_operators(world):
    access = AccessServiceStub(world.channel)
    request = pb.CreateKeyRequest(tenant_id="demo")
    assert await reason_of(access.CreateKey(request, metadata=world.proof("gateway"))) is Reason.ROLE_FORBIDDEN
    assert await reason_of(access.CreateKey(request)) is Reason.NODE_TOKEN_INVALID
    request = pb.CreateKeyRequest(tenant_id="gone")
    assert await reason_of(access.CreateKey(request, metadata=world.proof())) is Reason.ACCESS_UNKNOWN


async def test_snapshot_holds_keys_for_gateways_alone(world):
    access, registry = AccessServiceStub(world.channel), RegistryServiceStub(world.channel)
    await access.CreateKey(pb.CreateKeyRequest(tenant_id="demo"), metadata=world.proof())
    counts = {}
    for who in ("gateway", "worker-1"):
        call = registry.WatchSnapshot(pb.WatchSnapshotRequest(), metadata=world.proof(who))
        response = await call.read()
        Trust.load(world.state / who).signed(
            "tether/snapshot/v1", response.snapshot, response.signature, response.credential, Role.REGISTRY, time.time()
        )
        counts[who] = len(pb.Snapshot.FromString(response.snapshot).keys)
        call.cancel()
    assert counts == {"gateway": 1, "worker-1": 0}


async def test_watch_tells_signs_of_life_then_what_changes(world):
    registry, access = RegistryServiceStub(world.channel), AccessServiceStub(world.channel)
    call = registry.WatchSnapshot(pb.WatchSnapshotRequest(), metadata=world.proof("gateway"))
    first = await call.read()
    quiet = await asyncio.wait_for(call.read(), 3)
    assert (quiet.snapshot, quiet.revision) == (b"", first.revision)
    await access.CreateTenant(pb.CreateTenantRequest(tenant_id="new"), metadata=world.proof())
    changed = await asyncio.wait_for(call.read(), 3)
    assert changed.revision == first.revision + 1
    assert "new" in [one.name for one in pb.Snapshot.FromString(changed.snapshot).tenants]
    call.cancel()


async def test_revoked_key_reaches_a_gateway_within_a_second(world, state):
    access = AccessServiceStub(world.channel)
    made = await access.CreateKey(pb.CreateKeyRequest(tenant_id="demo"), metadata=world.proof())
    config = Config(state=state / "gateway", bootstrap=(world.app.endpoints()["registry-overlay"],))
    node = await Node.open(config, Role.GATEWAY)
    catalogue = Catalogue(node.trust, node.identity.network_id, state / "gateway")
    peers = Peers(node.overlay, "local", Role.REGISTRY)
    follower = SnapshotFollower(peers, node.channels, catalogue, node.node_id)
    await follower.start()
    try:
        assert await follower.ready(5.0)
        await until(lambda: made.key.name in catalogue._index.keys)
        assert catalogue.authenticate(made.token, time.time()).name == "demo"
        begun_s = time.monotonic()
        await access.RevokeKey(pb.RevokeKeyRequest(key_id=made.key.name), metadata=world.proof())
        await until(lambda: catalogue._index.keys[made.key.name].revoked)
        assert time.monotonic() - begun_s < 1.0
        with pytest.raises(TetherError) as caught:
            catalogue.authenticate(made.token, time.time())
        assert caught.value.reason is Reason.KEY_INVALID
        again = Catalogue(node.trust, node.identity.network_id, state / "gateway")
        await until(lambda: again.load(time.time()) and again.revision == catalogue.revision)
    finally:
        await follower.close()
        peers.close()
        await node.close()


async def test_registry_on_a_folder_in_use_is_refused(world):
    second = build(Config(state=world.state / "registry"))
    with pytest.raises(TetherError) as caught:
        await second.start()
    assert caught.value.reason is Reason.STATE_UNUSABLE


async def test_registry_drains_while_it_is_watched(world):
    registry = RegistryServiceStub(world.channel)
    call = registry.WatchSnapshot(pb.WatchSnapshotRequest(), metadata=world.proof("gateway"))
    await call.read()
    begun_s = time.monotonic()
    await world.app.drain(5.0)
    assert time.monotonic() - begun_s < 2.0
    call.cancel()
