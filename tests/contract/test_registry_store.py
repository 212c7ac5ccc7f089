"""What every registry store owes its callers; each new store joins `url` and passes unchanged."""

import asyncio
import contextlib
import hashlib
import itertools
import random
import sqlite3
import sys

import pytest

from tether.errors import Reason, TetherError
from tether.store.registry import StoreLimits
from tether.store.registry_open import open_registry
from tether.testing.catalogue import key_of, model_of, token
from tether.testing.postgres import PostgresServer, binaries, database_of
from tether.v1 import policy_pb2 as policy_pb
from tether.v1 import registry_pb2 as pb

NETWORK = bytes(range(32))
LIMITS = StoreLimits(
    tenants_max=40,
    keys_max=40,
    models_max=40,
    policy_bytes_max=400,
    policy_versions_max=3,
    prices_max=2,
    price_versions_max=3,
)
QUOTA = pb.Quota(requests_per_minute=5, tokens_per_day=2**63 - 1, spend_per_day_micros=2**63 - 1)
NOW_MS = 1_800_000_000_000


@pytest.fixture(scope="module")
def server():
    if binaries() is None:
        pytest.skip("PostgreSQL is not installed")
    with PostgresServer() as running:
        yield running


@pytest.fixture(params=["sqlite", "postgres"])
def url(request, tmp_path):
    if request.param == "sqlite":
        yield str(tmp_path / "registry.db")
        return
    with database_of(request.getfixturevalue("server")) as address:
        yield address


@pytest.fixture
async def reopen(url):
    opened = []

    async def again():
        while opened:
            await opened.pop().close()
        opened.append(await open_registry(url, LIMITS, lambda: NOW_MS))
        return opened[0]

    yield again
    for store in opened:
        await store.close()


@pytest.fixture
async def store(reopen):
    return await reopen()


def tenant(name="acme", **fields):
    made = pb.Tenant(name=name, **fields)
    made.created_at.FromMilliseconds(NOW_MS)
    return made


def key(number, tenant_id="acme"):
    made = key_of(token(number), tenant_id)
    made.created_at.FromMilliseconds(NOW_MS)
    return made


def policy(rule="r", tenant_id="", **fields):
    made = policy_pb.Policy(tenant_id=tenant_id, rules=[policy_pb.PolicyRule(name=rule, **fields)], note="why")
    made.created_at.FromMilliseconds(NOW_MS)
    return made


def price(model_id="m", input_micros=1, output_micros=2):
    made = policy_pb.Price(model_id=model_id, input_micros=input_micros, output_micros=output_micros)
    made.created_at.FromMilliseconds(NOW_MS)
    return made


async def revision(store):
    number = await store.revision()
    assert number == (await store.snapshot(NETWORK)).revision
    return number


async def reason_of(call):
    with pytest.raises(TetherError) as caught:
        await call
    return caught.value.reason


async def test_store_begins_empty_at_the_time_of_its_making(store):
    assert await store.snapshot(NETWORK) == pb.Snapshot(network_id=NETWORK, revision=NOW_MS)


async def test_store_keeps_everything_over_a_restart(reopen):
    store = await reopen()
    full = tenant(display_name="Acme", quota=QUOTA, suspended=True)
    await store.create_tenant(full)
    timed = key(1)
    timed.label = "laptop"
    timed.expires_at.FromMilliseconds(NOW_MS + 5)
    await store.create_key(timed)
    await store.publish(model_of("m", manifest=b"signed"))
    await store.set_policy(policy(), 0)
    await store.set_price(price())
    before = await store.snapshot(NETWORK)
    after = await (await reopen()).snapshot(NETWORK)
    assert after == before
    assert (list(after.tenants), list(after.keys)) == ([full], [timed])
    assert [(one.name, one.manifest) for one in after.models] == [("m:1.0", b"")]


async def test_store_each_change_raises_the_revision_by_one(store):
    seen = [await revision(store)]
    for change in (
        store.create_tenant(tenant()),
        store.set_quota("acme", pb.Quota(requests_per_minute=1)),
        store.create_key(key(1)),
        store.revoke_key(token(1).key_id),
        store.publish(model_of("m")),
        store.set_policy(policy(), 0),
        store.set_price(price()),
    ):
        await change
        seen.append(await revision(store))
    assert seen == list(range(NOW_MS, NOW_MS + 8))


async def test_store_the_same_again_is_no_change(store):
    await store.create_tenant(tenant())
    await store.create_key(key(1))
    await store.revoke_key(token(1).key_id)
    await store.publish(model_of("m"))
    await store.set_price(price())
    before = await revision(store)
    assert await store.create_tenant(tenant()) == tenant()
    assert (await store.set_price(price())).version == 1
    await store.set_quota("acme", pb.Quota())
    assert (await store.revoke_key(token(1).key_id)).revoked
    assert (await store.publish(model_of("m"))).name == "m:1.0"
    assert await revision(store) == before


async def test_store_name_that_is_taken_is_refused(store):
    await store.create_tenant(tenant())
    await store.publish(model_of("m"))
    await store.create_key(key(1))
    before = await revision(store)
    assert await reason_of(store.create_tenant(tenant(display_name="other"))) is Reason.NAME_TAKEN
    other = model_of("m")
    other.digest = b"o" * 32
    assert await reason_of(store.publish(other)) is Reason.NAME_TAKEN
    assert await reason_of(store.create_key(key(1))) is Reason.NAME_TAKEN
    assert await revision(store) == before


async def test_store_what_is_not_there_is_said(store):
    assert await reason_of(store.create_key(key(1, "gone"))) is Reason.ACCESS_UNKNOWN
    assert await reason_of(store.set_quota("gone", pb.Quota())) is Reason.ACCESS_UNKNOWN
    assert await reason_of(store.revoke_key("0" * 16)) is Reason.ACCESS_UNKNOWN
    assert await store.model("gone", "1.0") is None
    assert await store.versions("gone") == []


async def test_store_shows_hashes_of_secrets_in_snapshots_alone(store):
    await store.create_tenant(tenant())
    made = await store.create_key(key(1))
    revoked = await store.revoke_key(made.name)
    (listed,) = await store.list_keys("", "", 10)
    assert [one.secret_sha256 for one in (made, listed, revoked)] == [b"", b"", b""]
    assert (await store.snapshot(NETWORK)).keys[0].secret_sha256 == key(1).secret_sha256


async def test_store_returns_a_manifest_with_its_version(store):
    await store.publish(model_of("m", manifest=b"signed"))
    found = await store.model("m", "1.0")
    assert found is not None
    assert found.manifest == b"signed"
    assert [one.manifest for one in await store.versions("m")] == [b""]


@pytest.mark.parametrize("page", [1, 3, 100])
async def test_store_pages_list_each_once_in_order(store, page):
    names = [f"t{number:02}" for number in range(7)]
    for name in random.Random(1).sample(names, 7):
        await store.create_tenant(tenant(name))
        await store.create_key(key(names.index(name) + 1, name))
        await store.publish(model_of(name))

    async def walk(list_page):
        found = []
        while batch := await list_page(found[-1] if found else "", page):
            assert len(batch) <= page
            found += [one.name for one in batch]
        return found

    assert await walk(store.list_tenants) == names
    assert await walk(store.list_models) == [f"{name}:1.0" for name in names]
    assert await walk(lambda after, limit: store.list_keys("", after, limit)) == sorted(
        token(number + 1).key_id for number in range(7)
    )
    assert len(await store.list_keys("t03", "", 10)) == 1


async def test_store_is_bounded(store):
    await store.create_tenant(tenant())
    for number in range(40):
        await store.create_key(key(number))
        await store.publish(model_of(f"m{number}"))
    for number in range(39):
        await store.create_tenant(tenant(f"t{number}"))
    assert await reason_of(store.create_tenant(tenant("more"))) is Reason.QUOTA_EXCEEDED
    assert await reason_of(store.create_key(key(41))) is Reason.QUOTA_EXCEEDED
    assert await reason_of(store.publish(model_of("more"))) is Reason.QUOTA_EXCEEDED


async def test_store_snapshots_among_writes_are_whole(store):
    await store.create_tenant(tenant())

    async def pair(number):
        await store.create_key(key(number))
        await store.revoke_key(token(number).key_id)

    async def watch():
        return [await store.snapshot(NETWORK) for _ in range(20)]

    results = await asyncio.gather(*(pair(number) for number in range(20)), watch())
    snapshots = results[-1]
    assert snapshots is not None
    for before, after in itertools.pairwise(snapshots):
        changes = (
            (len(after.keys) - len(before.keys))
            + sum(k.revoked for k in after.keys)
            - sum(k.revoked for k in before.keys)
        )
        assert after.revision - before.revision == changes


async def test_store_policies_are_numbered_per_tenant(store):
    await store.create_tenant(tenant())
    made = [await store.set_policy(policy(name, who), 0) for name, who in (("a", ""), ("b", "acme"), ("c", ""))]
    assert [(one.tenant_id, one.version, one.rules[0].name) for one in made] == [
        ("", 1, "a"),
        ("acme", 1, "b"),
        ("", 2, "c"),
    ]
    assert [one.rules[0].name for one in (await store.snapshot(NETWORK)).policies] == ["c", "b"]
    assert await store.policy("", 0) == made[2]
    assert await store.policy("", 1) == made[0]
    assert await store.policy("", 3) is None
    assert await store.policy("gone", 0) is None


async def test_store_policy_is_set_on_the_version_that_was_expected(store):
    assert (await store.set_policy(policy(), 0)).version == 1
    assert (await store.set_policy(policy(), 1)).version == 2
    before = await revision(store)
    with pytest.raises(TetherError, match="at version 2") as caught:
        await store.set_policy(policy(), 1)
    assert (caught.value.reason, caught.value.field) == (Reason.INVALID_FIELD, "expected_version")
    assert await revision(store) == before


async def test_store_policies_set_at_once_win_once(store):
    await store.set_policy(policy(), 0)
    done = await asyncio.gather(*(store.set_policy(policy(), 1) for _ in range(8)), return_exceptions=True)
    assert [one.version for one in done if isinstance(one, policy_pb.Policy)] == [2]
    assert (await store.policy("", 0)).version == 2


async def test_store_policy_of_an_unknown_tenant_is_refused(store):
    assert await reason_of(store.set_policy(policy(tenant_id="gone"), 0)) is Reason.ACCESS_UNKNOWN


async def test_store_policies_are_bounded_in_versions_and_bytes(store):
    for _ in range(5):
        await store.set_policy(policy(), 0)
    assert [one.version for one in await store.policy_versions("", 0, 10)] == [5, 4, 3]
    assert [one.version for one in await store.policy_versions("", 5, 1)] == [4]
    await store.create_tenant(tenant())
    large = policy("r" * 128, "acme", models=["m" * 63] * 3)
    assert (await store.set_policy(large, 0)).version == 1
    await store.create_tenant(tenant("other"))
    large.tenant_id = "other"
    assert await reason_of(store.set_policy(large, 0)) is Reason.QUOTA_EXCEEDED
    large.tenant_id = "acme"
    assert (await store.set_policy(large, 1)).version == 2


async def test_store_policies_are_listed_by_tenant_with_the_one_for_all_first(store):
    for who in ("b", "a"):
        await store.create_tenant(tenant(who))
        await store.set_policy(policy(tenant_id=who), 0)
    await store.set_policy(policy(), 0)
    assert [one.tenant_id for one in await store.list_policies("", 10)] == ["", "a", "b"]
    assert [one.tenant_id for one in await store.list_policies("*", 1)] == ["a"]
    assert [one.tenant_id for one in await store.list_policies("a", 10)] == ["b"]


async def test_store_prices_are_numbered_per_model_and_all_kept(store):
    await store.publish(model_of("m"))
    await store.publish(model_of("n"))
    for micros in (1, 2, 2, 1):
        await store.set_price(price("m", micros))
    await store.set_price(price("n"))
    newest = [(one.model_id, one.version, one.input_micros) for one in (await store.snapshot(NETWORK)).prices]
    assert newest == [("m", 3, 1), ("n", 1, 1)]
    assert [one.input_micros for one in await store.price_versions("m", 0, 10)] == [1, 2, 1]
    assert [one.version for one in await store.price_versions("m", 3, 1)] == [2]
    assert [one.model_id for one in await store.list_prices("", 1)] == ["m"]
    assert [one.model_id for one in await store.list_prices("m", 5)] == ["n"]


async def test_store_prices_are_bounded(store):
    for name in ("l", "m", "n"):
        await store.publish(model_of(name))
    for micros in range(3):
        await store.set_price(price("m", micros))
    await store.set_price(price("l"))
    assert await reason_of(store.set_price(price("m", 9))) is Reason.QUOTA_EXCEEDED
    assert await reason_of(store.set_price(price("n"))) is Reason.QUOTA_EXCEEDED


async def test_store_price_of_a_model_that_is_not_published_is_refused(store):
    assert await reason_of(store.set_price(price("gone"))) is Reason.MODEL_UNKNOWN


@pytest.fixture
def change_by_hand(url, request):
    """Runs SQL beside the store, as somebody with a shell would."""

    def run(statement):
        if url.startswith("postgresql://"):
            request.getfixturevalue("server").sql(statement, url.rsplit("/", 1)[1])
            return
        with contextlib.closing(sqlite3.connect(url)) as connection:
            connection.execute(statement)
            connection.commit()

    return run


async def filled(store):
    """Put one good row into every table."""
    await store.create_tenant(tenant())
    await store.create_key(key(1))
    signed = model_of("m", manifest=pb.Manifest(body=b"body").SerializeToString())
    signed.digest = hashlib.sha256(b"body").digest()
    await store.publish(signed)
    for _ in range(4):
        await store.set_policy(policy(tenant_id="acme"), 0)
    await store.set_price(price())


async def test_store_that_only_we_wrote_passes_its_check(store):
    assert await store.check() == []
    await filled(store)
    assert await store.check() == []


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("UPDATE tenants SET tokens_per_day = -1", "tenants: acme"),
        ("UPDATE policies SET tenant = 'gone'", "of tenant gone, which is not there"),
        ("UPDATE policies SET version = 9 WHERE version = 3", "have a gap"),
        ("UPDATE policies SET version = version + 1 WHERE version = 4", "says that it is another"),
        ("UPDATE prices SET input_micros = -5", "prices: m version 1 is below 0"),
        ("UPDATE prices SET version = 2", "prices: versions of m"),
        ("UPDATE prices SET model = 'gone'", "prices: gone is no model"),
        ("UPDATE models SET version = '1.1'", "models: m:1.0 says that it is another"),
        ("UPDATE models SET manifest = summary", "models: m:1.0 has a manifest"),
        ("UPDATE revision SET revision = 0", "revision:"),
        ("DELETE FROM revision", "revision:"),
    ],
)
async def test_store_row_that_was_changed_by_hand_is_named(store, change_by_hand, statement, words):
    await filled(store)
    change_by_hand(statement)
    found = await store.check()
    assert any(words in line for line in found), found


async def test_stores_on_one_database_see_each_others_changes_in_order(server):
    with database_of(server) as address:
        stores = [await open_registry(address, LIMITS, lambda: NOW_MS) for _ in range(3)]
        await stores[0].create_tenant(tenant())
        await asyncio.gather(*(stores[number % 3].create_key(key(number)) for number in range(30)))
        snapshots = [await store.snapshot(NETWORK) for store in stores]
        assert snapshots[0] == snapshots[1] == snapshots[2]
        assert (snapshots[0].revision, len(snapshots[0].keys)) == (NOW_MS + 31, 30)
        await stores[0].set_policy(policy(), 0)
        done = await asyncio.gather(*(store.set_policy(policy(), 1) for store in stores), return_exceptions=True)
        assert [one.version for one in done if isinstance(one, policy_pb.Policy)] == [2]
        for store in stores:
            await store.close()


async def test_stores_opened_at_once_on_an_empty_database_agree(server):
    with database_of(server) as address:
        stores = await asyncio.gather(*(open_registry(address, LIMITS, lambda: NOW_MS) for _ in range(4)))
        assert {await store.revision() for store in stores} == {NOW_MS}
        for store in stores:
            await store.close()


@pytest.mark.parametrize(
    "address", ["mysql://u:secret@h/d", "postgresql://u:secret@127.0.0.1:1/d", "postgresql://:x:y"]
)
async def test_store_address_that_does_not_work_is_refused_without_its_password(address):
    with pytest.raises(TetherError) as caught:
        await open_registry(address)
    assert caught.value.reason in {Reason.STORE_UNUSABLE, Reason.STORE_UNAVAILABLE}
    assert "secret" not in str(caught.value)


async def test_store_on_postgres_without_its_driver_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    drivers = ("tether.store.postgres", "tether.store.registry_postgres", "tether.store.work_postgres")
    for name in [one for one in sys.modules if one.startswith(drivers)]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(TetherError, match=r"tether-mesh\[postgres\]"):
        await open_registry("postgresql://u@h/d")
