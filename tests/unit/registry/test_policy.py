"""The registry's policies: numbered, dated and signed by the registry, checked beside what holds."""

import pytest

from tether.errors import Reason, TetherError
from tether.rules.registry import POLICY_BYTES_MAX, PRICE_MICROS_MAX, check_set_policy, check_set_price
from tether.store.registry_open import open_registry
from tether.testing.catalogue import model_of
from tether.v1 import registry_pb2 as pb
from tether.v1.policy_pb2 import Policy, PolicyRule, Price
from tether_registry.policy import Policies

NOW_MS = 1_800_000_000_000


@pytest.fixture
async def policies(tmp_path):
    store = await open_registry(tmp_path / "registry.db")
    await store.create_tenant(pb.Tenant(name="acme"))
    await store.create_tenant(pb.Tenant(name="zeta"))
    await store.publish(model_of("m"))
    changes = []

    async def changed():
        changes.append(await store.revision())

    made = Policies(store, changed)
    made.changes = changes
    yield made
    await store.close()


def policy(tenant_id="", **rule):
    return Policy(tenant_id=tenant_id, rules=[PolicyRule(name="r", **rule)])


async def test_policies_change_tells_the_board_once(policies):
    await policies.set(policy(weight=2), 0, "node", NOW_MS)
    await policies.set_price(Price(model_id="m", input_micros=1), NOW_MS)
    assert len(policies.changes) == len(set(policies.changes)) == 2


async def test_policy_that_is_refused_changes_nothing(policies):
    with pytest.raises(TetherError):
        await policies.set(policy(forbid=True), 0, "node", NOW_MS)
    assert policies.changes == []
    with pytest.raises(TetherError, match="no policy for all") as caught:
        await policies.get("", 0)
    assert caught.value.reason is Reason.ACCESS_UNKNOWN


async def test_policy_for_all_is_checked_beside_each_tenant_s(policies):
    await policies.set(policy("zeta", regions=["eu"]), 0, "node", NOW_MS)
    with pytest.raises(TetherError, match="zeta"):
        await policies.set(policy(regions=["us"]), 0, "node", NOW_MS)


async def test_policies_are_paged_with_the_one_for_all_first(policies):
    for who in ("zeta", "", "acme"):
        await policies.set(policy(who, weight=2), 0, "node", NOW_MS)
    found, token = [], ""
    while True:
        answer = await policies.list(pb.ListPoliciesRequest(page_size=1, page_token=token))
        found += [one.tenant_id for one in answer.policies]
        token = answer.next_page_token
        if not token:
            break
    assert found == ["", "acme", "zeta"]


async def test_prices_are_paged_by_model_and_by_version(policies):
    for micros in (1, 2, 3):
        await policies.set_price(Price(model_id="m", input_micros=micros), NOW_MS)
    assert [one.version for one in (await policies.list_prices(pb.ListPricesRequest())).prices] == [3]
    first = await policies.list_prices(pb.ListPricesRequest(model_id="m", page_size=2))
    request = pb.ListPricesRequest(model_id="m", page_size=2, page_token=first.next_page_token)
    rest = await policies.list_prices(request)
    assert [one.version for one in (*first.prices, *rest.prices)] == [3, 2, 1]


@pytest.mark.parametrize(
    ("price", "field"),
    [
        (Price(model_id=""), "price.model_id"),
        (Price(model_id="m", input_micros=PRICE_MICROS_MAX + 1), "price.input_micros"),
        (Price(model_id="m", output_micros=2**64 - 1), "price.output_micros"),
    ],
)
def test_price_out_of_range_is_refused_by_field(price, field):
    with pytest.raises(TetherError) as caught:
        check_set_price(pb.SetPriceRequest(price=price))
    assert caught.value.field == field


def test_policy_that_is_too_large_or_of_no_tenant_is_refused():
    check_set_policy(pb.SetPolicyRequest(policy=policy("acme")))
    large = Policy(rules=[PolicyRule(name="n" * 128, models=["m" * 63] * 64) for _ in range(10)])
    assert large.ByteSize() > POLICY_BYTES_MAX
    for wrong, field in ((large, "policy"), (policy("A B"), "policy.tenant_id")):
        with pytest.raises(TetherError) as caught:
            check_set_policy(pb.SetPolicyRequest(policy=wrong))
        assert caught.value.field == field
