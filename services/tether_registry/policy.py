"""What the registry does about policies and prices: check them against what is published, number them, keep them.

A policy is checked beside all others that hold, so that none can be set that leaves a tenant nothing to run.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from tether.errors import Reason, TetherError
from tether.policy import check_policy
from tether.registry import page
from tether.store.registry import FOR_ALL, RegistryStore
from tether.v1 import policy_pb2, registry_pb2


class Policies:
    """Sets and finds policies and prices.

    Args:
        store: keeps them.
        changed: called after each change.
    """

    def __init__(self, store: RegistryStore, changed: Callable[[], Awaitable[None]]) -> None:
        self._store = store
        self._changed = changed

    async def set(
        self, wanted: policy_pb2.Policy, expected_version: int, author: str, now_ms: int
    ) -> policy_pb2.Policy:
        """Add a version of a policy.

        Args:
            wanted: what to set; version, author and time are filled in.
            expected_version: version that it replaces; 0 is not compared.
            author: node id of who sets it.
            now_ms: milliseconds since the Unix epoch.

        Raises:
            TetherError: INVALID_FIELD, MODEL_UNKNOWN, ACCESS_UNKNOWN, QUOTA_EXCEEDED.
        """
        now = await self._store.snapshot(b"")
        models, beside = {one.model_id for one in now.models}, _beside(wanted.tenant_id, now.policies)
        await asyncio.to_thread(check_policy, wanted, models, beside)  # beside thousands of tenants it takes seconds
        policy = policy_pb2.Policy(tenant_id=wanted.tenant_id, rules=wanted.rules, note=wanted.note, author=author)
        policy.created_at.FromMilliseconds(now_ms)
        made = await self._store.set_policy(policy, expected_version)
        await self._changed()
        return made

    async def get(self, tenant_id: str, version: int) -> policy_pb2.Policy:
        """Return a version of a policy, or its newest where `version` is 0.

        Raises:
            TetherError: ACCESS_UNKNOWN.
        """
        found = await self._store.policy(tenant_id, version)
        if found is None:
            whose = f"of tenant {tenant_id[:63]!a}" if tenant_id else "for all"
            text = f"There is no policy {whose}{f' with version {version}' if version else ''}."
            raise TetherError(Reason.ACCESS_UNKNOWN, text, field="version" if version else "tenant_id")
        return found

    async def list(self, request: registry_pb2.ListPoliciesRequest) -> registry_pb2.ListPoliciesResponse:
        """Return a page of the newest policies, or of all versions of one.

        Raises:
            TetherError: INVALID_FIELD.
        """
        after, size = page.start(request.page_size, request.page_token)
        if request.versions_of:
            tenant_id = "" if request.versions_of == FOR_ALL else request.versions_of
            found = await self._store.policy_versions(tenant_id, page.number(after), size + 1)
            policies, following = page.cut(found, size, lambda one: str(one.version))
        else:
            listed = await self._store.list_policies(after, size + 1)
            policies, following = page.cut(listed, size, lambda one: one.tenant_id or FOR_ALL)
        return registry_pb2.ListPoliciesResponse(policies=policies, next_page_token=following)

    async def set_price(self, wanted: policy_pb2.Price, now_ms: int) -> policy_pb2.Price:
        """Add a price of a model.

        Args:
            wanted: what to set; version and time are filled in.
            now_ms: milliseconds since the Unix epoch.

        Raises:
            TetherError: MODEL_UNKNOWN, QUOTA_EXCEEDED.
        """
        price = policy_pb2.Price(
            model_id=wanted.model_id, input_micros=wanted.input_micros, output_micros=wanted.output_micros
        )
        price.created_at.FromMilliseconds(now_ms)
        made = await self._store.set_price(price)
        await self._changed()
        return made

    async def list_prices(self, request: registry_pb2.ListPricesRequest) -> registry_pb2.ListPricesResponse:
        """Return a page of the newest prices, or of all of a model.

        Raises:
            TetherError: INVALID_FIELD.
        """
        after, size = page.start(request.page_size, request.page_token)
        if request.model_id:
            found = await self._store.price_versions(request.model_id, page.number(after), size + 1)
            prices, following = page.cut(found, size, lambda one: str(one.version))
        else:
            prices, following = page.cut(await self._store.list_prices(after, size + 1), size, lambda one: one.model_id)
        return registry_pb2.ListPricesResponse(prices=prices, next_page_token=following)


def _beside(tenant_id: str, policies: Sequence[policy_pb2.Policy]) -> list[policy_pb2.Policy]:
    """Return the policies that count together with a tenant's, or with the one for all."""
    return [one for one in policies if bool(one.tenant_id) != bool(tenant_id)]
