"""Policies and prices as operators set them and orchestrators hear of them, on SQLite and on a shared PostgreSQL."""

import asyncio
import time

import grpc
import pytest

from tether.errors import Reason
from tether.identity import Identity, Trust
from tether.identity.token import to_header
from tether.node import region
from tether.registry.catalogue import Catalogue
from tether.registry.follower import SnapshotFollower
from tether.rpc.channel import open_channel
from tether.rpc.status import from_rpc_error
from tether.testing.postgres import PostgresServer, binaries, database_of
from tether.testing.tiny_model import write_tiny_decoder
from tether.v1 import registry_pb2 as pb
from tether.v1.policy_pb2 import Policy, PolicyRule, Price
from tether.v1.registry_pb2_grpc import AccessServiceStub
from tether_registry.app import build
from tether_registry.config import Config

ROLES = {"registry": "registry", "registry-2": "registry", "orchestrator": "orchestrator"}
MODEL = "tether-demo"


class Site:
    """Registries with what calls them, and one catalogue that follows the last of them."""

    def __init__(self, state):
        self.state = state
        self.apps, self.channels = [], []

    async def add(self, name, **settings):
        app = build(Config(state=self.state / name, **settings))
        await app.start()
        self.apps.append(app)
        self.channels.append(open_channel(app.endpoints()["registry"]))

    def access(self, number=0):
        return AccessServiceStub(self.channels[number])

    def proof(self, number=0, who="operator"):
        audience = self.apps[number]._node.node_id
        identity = Identity.load(self.state / who)
        return (("authorization", to_header(identity.token(audience, time.time_ns() // 1_000_000))),)

    async def close(self):
        for channel in self.channels:
            await channel.close()
        for app in self.apps:
            await app.close()


class OnePeer:
    """What the follower needs of peers and channels: always the same registry."""

    def __init__(self, site, number):
        self.site, self.number = site, number
        self.node_id, self.address = site.apps[number]._node.node_id, ""

    async def one(self, key):
        return self

    def fail(self, peer):
        pass

    def to(self, node_id, address):
        return self.site.channels[self.number]

    def metadata(self, node_id):
        return self.site.proof(self.number, "orchestrator")


@pytest.fixture
async def site(tmp_path):
    region.prepare(tmp_path / "state", "local", ROLES)
    made = Site(tmp_path / "state")
    yield made
    await made.close()


@pytest.fixture(scope="module")
def server():
    if binaries() is None:
        pytest.skip("PostgreSQL is not installed")
    with PostgresServer() as running:
        yield running


def demo(tmp_path):
    return write_tiny_decoder(tmp_path / "demo", name=MODEL)


def policy(tenant_id="", **rule):
    return Policy(tenant_id=tenant_id, rules=[PolicyRule(name="rule", **rule)], note="a note")


async def error_of(call):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return from_rpc_error(caught.value)


async def test_policy_is_set_with_author_and_time_and_read_back(site, tmp_path):
    await site.add("registry", demo_model=demo(tmp_path))
    access, proof = site.access(), site.proof()
    sent = policy("demo", path=2)
    sent.author, sent.version = "forged", 9
    made = (await access.SetPolicy(pb.SetPolicyRequest(policy=sent), metadata=proof)).policy
    assert (made.version, made.note, made.author) == (1, "a note", Identity.load(site.state / "operator").node_id)
    assert abs(made.created_at.seconds - time.time()) < 60
    await access.SetPolicy(pb.SetPolicyRequest(policy=policy("demo", path=1), expected_version=1), metadata=proof)
    got = await access.GetPolicy(pb.GetPolicyRequest(tenant_id="demo", version=1), metadata=proof)
    assert got.policy == made
    newest = await access.GetPolicy(pb.GetPolicyRequest(tenant_id="demo"), metadata=proof)
    assert newest.policy.version == 2
    first = await access.ListPolicies(pb.ListPoliciesRequest(versions_of="demo", page_size=1), metadata=proof)
    request = pb.ListPoliciesRequest(versions_of="demo", page_size=1, page_token=first.next_page_token)
    second = await access.ListPolicies(request, metadata=proof)
    assert [one.version for one in (*first.policies, *second.policies)] == [2, 1]
    assert second.next_page_token == ""


async def test_policy_that_is_wrong_is_refused_by_field(site, tmp_path):
    await site.add("registry", demo_model=demo(tmp_path))
    access, proof = site.access(), site.proof()

    async def refusal(wanted, expected=0):
        request = pb.SetPolicyRequest(policy=wanted, expected_version=expected)
        return await error_of(access.SetPolicy(request, metadata=proof))

    assert (await refusal(policy(models=["nope"]))).reason is Reason.MODEL_UNKNOWN
    assert (await refusal(policy(forbid=True))).field == "rules"
    assert (await refusal(policy("gone"))).reason is Reason.ACCESS_UNKNOWN
    assert (await refusal(policy("No Tenant"))).field == "policy.tenant_id"
    assert (await refusal(policy(), 7)).field == "expected_version"
    assert (await refusal(policy(path=77))).reason is Reason.INVALID_FIELD
    unknown = await error_of(access.GetPolicy(pb.GetPolicyRequest(), metadata=proof))
    assert unknown.reason is Reason.ACCESS_UNKNOWN
    token = pb.ListPoliciesRequest(versions_of="*", page_token="eA==")
    assert (await error_of(access.ListPolicies(token, metadata=proof))).field == "page_token"


async def test_policy_of_a_tenant_is_checked_beside_the_one_for_all(site, tmp_path):
    await site.add("registry", demo_model=demo(tmp_path))
    access, proof = site.access(), site.proof()
    await access.SetPolicy(pb.SetPolicyRequest(policy=policy(regions=["eu"])), metadata=proof)
    beside = pb.SetPolicyRequest(policy=policy("demo", regions=["us"]))
    assert (await error_of(access.SetPolicy(beside, metadata=proof))).field == "rules"


async def test_price_is_numbered_and_of_a_published_model(site, tmp_path):
    await site.add("registry", demo_model=demo(tmp_path))
    access, proof = site.access(), site.proof()
    for micros in (5, 6, 6):
        price = Price(model_id=MODEL, input_micros=micros, output_micros=9)
        made = (await access.SetPrice(pb.SetPriceRequest(price=price), metadata=proof)).price
    assert (made.version, made.input_micros) == (2, 6)
    listed = await access.ListPrices(pb.ListPricesRequest(), metadata=proof)
    assert [(one.model_id, one.version) for one in listed.prices] == [(MODEL, 2)]
    history = await access.ListPrices(pb.ListPricesRequest(model_id=MODEL), metadata=proof)
    assert [one.version for one in history.prices] == [2, 1]
    nope = pb.SetPriceRequest(price=Price(model_id="nope"))
    assert (await error_of(access.SetPrice(nope, metadata=proof))).reason is Reason.MODEL_UNKNOWN
    dear = pb.SetPriceRequest(price=Price(model_id=MODEL, output_micros=2**63))
    assert (await error_of(access.SetPrice(dear, metadata=proof))).field == "price.output_micros"


async def test_policies_are_only_for_operators(site, tmp_path):
    await site.add("registry", demo_model=demo(tmp_path))
    refused = await error_of(
        site.access().SetPolicy(pb.SetPolicyRequest(policy=policy()), metadata=site.proof(0, "orchestrator"))
    )
    assert refused.reason is Reason.ROLE_FORBIDDEN


async def test_registries_on_one_database_tell_each_others_changes_within_a_second(site, tmp_path, server):
    with database_of(server) as url:
        await site.add("registry", demo_model=demo(tmp_path), store=url)
        await site.add("registry-2", store=url)
        trust = Trust.load(site.state / "orchestrator")
        identity = Identity.load(site.state / "orchestrator")
        catalogue = Catalogue(trust, identity.network_id)
        peer = OnePeer(site, 1)
        follower = SnapshotFollower(peer, peer, catalogue, identity.node_id)
        await follower.start()
        assert await follower.ready(5)
        heard = asyncio.Event()
        catalogue.on_change(heard.set)
        set_at_s = time.monotonic()
        price = Price(model_id=MODEL, input_micros=5)
        await site.access(0).SetPrice(pb.SetPriceRequest(price=price), metadata=site.proof(0))
        await asyncio.wait_for(heard.wait(), 5)
        assert time.monotonic() - set_at_s < 1.0
        assert catalogue.price(MODEL).input_micros == 5
        await follower.close()
        await site.close()
        site.apps, site.channels = [], []


async def test_registries_on_one_database_each_have_the_demo_s_files(site, tmp_path, server):
    folder = demo(tmp_path)
    with database_of(server) as url:
        await site.add("registry", demo_model=folder, store=url)
        await site.add("registry-2", demo_model=folder, store=url)
        blobs = [
            sorted(path.name for path in (site.state / name / "artifacts").rglob("*") if len(path.name) == 64)
            for name in ("registry", "registry-2")
        ]
        assert blobs[0] == blobs[1] != []
        await site.close()
        site.apps, site.channels = [], []


async def test_registry_serves_on_while_its_database_restarts(site, tmp_path):
    if binaries() is None:
        pytest.skip("PostgreSQL is not installed")
    with PostgresServer() as own, database_of(own) as url:
        await site.add("registry", demo_model=demo(tmp_path), store=url)
        access, proof = site.access(), site.proof()
        catalogue = Catalogue(Trust.load(site.state / "orchestrator"), site.apps[0]._node.identity.network_id)
        peer = OnePeer(site, 0)
        follower = SnapshotFollower(peer, peer, catalogue, "node")
        await follower.start()
        assert await follower.ready(5)
        await asyncio.to_thread(own.kill9)
        price = pb.SetPriceRequest(price=Price(model_id=MODEL, input_micros=5))
        began_s = time.monotonic()
        assert (await error_of(access.SetPrice(price, metadata=proof))).reason is Reason.STORE_UNAVAILABLE
        assert time.monotonic() - began_s < 5
        assert catalogue.age_s(time.time()) < 3
        await asyncio.to_thread(own.start)
        async with asyncio.timeout(20):
            while True:
                try:
                    await access.SetPrice(price, metadata=proof)
                    break
                except grpc.aio.AioRpcError:
                    await asyncio.sleep(0.05)
        async with asyncio.timeout(5):
            while catalogue.price(MODEL) is None:  # noqa: ASYNC110  a deadline is around it
                await asyncio.sleep(0.01)
        await follower.close()
        await site.close()
        site.apps, site.channels = [], []


async def test_registry_on_a_database_that_is_away_says_so(site):
    app = build(Config(state=site.state / "registry", store="postgresql://u:secret@127.0.0.1:1/none"))
    with pytest.raises(Exception, match="cannot be reached") as caught:
        await app.start()
    assert "secret" not in str(caught.value)
    assert "secret" not in repr(app._config)
