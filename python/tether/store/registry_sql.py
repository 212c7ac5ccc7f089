"""The registry's store over any database that can run its works.

The works say what is read and written (`registry_work`); a `Database` runs each in a transaction of its own.
"""

from collections.abc import Callable
from typing import Protocol, TypeVar

from tether.store import registry_check
from tether.store import registry_work as work
from tether.store.registry import StoreLimits
from tether.v1 import policy_pb2 as policy_pb
from tether.v1 import registry_pb2 as pb

T = TypeVar("T")


class Database(Protocol):
    """What runs works."""

    async def read(self, make: Callable[[], work.Work[T]]) -> T:
        """Run a work that only reads; it sees one committed state.

        Args:
            make: makes the work, again where it must be run again.
        """

    async def write(self, make: Callable[[], work.Work[T]]) -> T:
        """Run a work in a transaction beside which no other one writes; durable on return.

        Args:
            make: makes the work, again where it must be run again.
        """

    async def close(self) -> None:
        """Finish what was asked and let go; the same again does nothing."""


class SqlRegistryStore:
    """`RegistryStore` over a `Database`.

    Args:
        database: open, with the newest schema.
        limits: how much it keeps.
    """

    def __init__(self, database: Database, limits: StoreLimits) -> None:
        self._database = database
        self._limits = limits

    async def snapshot(self, network_id: bytes) -> pb.Snapshot:
        """See `RegistryStore.snapshot`."""
        return await self._database.read(lambda: work.snapshot(network_id))

    async def revision(self) -> int:
        """See `RegistryStore.revision`."""
        return await self._database.read(work.revision)

    async def create_tenant(self, tenant: pb.Tenant) -> pb.Tenant:
        """See `RegistryStore.create_tenant`."""
        return await self._database.write(lambda: work.create_tenant(tenant, self._limits))

    async def list_tenants(self, after: str, limit: int) -> list[pb.Tenant]:
        """See `RegistryStore.list_tenants`."""
        return await self._database.read(lambda: work.list_tenants(after, limit))

    async def set_quota(self, tenant_id: str, quota: pb.Quota) -> pb.Tenant:
        """See `RegistryStore.set_quota`."""
        return await self._database.write(lambda: work.set_quota(tenant_id, quota))

    async def create_key(self, key: pb.Key) -> pb.Key:
        """See `RegistryStore.create_key`."""
        return await self._database.write(lambda: work.create_key(key, self._limits))

    async def list_keys(self, tenant_id: str, after: str, limit: int) -> list[pb.Key]:
        """See `RegistryStore.list_keys`."""
        return await self._database.read(lambda: work.list_keys(tenant_id, after, limit))

    async def revoke_key(self, key_id: str) -> pb.Key:
        """See `RegistryStore.revoke_key`."""
        return await self._database.write(lambda: work.revoke_key(key_id))

    async def publish(self, model: pb.Model) -> pb.Model:
        """See `RegistryStore.publish`."""
        return await self._database.write(lambda: work.publish(model, self._limits))

    async def model(self, model_id: str, version: str) -> pb.Model | None:
        """See `RegistryStore.model`."""
        return await self._database.read(lambda: work.model(model_id, version))

    async def versions(self, model_id: str) -> list[pb.Model]:
        """See `RegistryStore.versions`."""
        return await self._database.read(lambda: work.versions(model_id))

    async def list_models(self, after: str, limit: int) -> list[pb.Model]:
        """See `RegistryStore.list_models`."""
        return await self._database.read(lambda: work.list_models(after, limit))

    async def set_policy(self, policy: policy_pb.Policy, expected_version: int) -> policy_pb.Policy:
        """See `RegistryStore.set_policy`."""
        return await self._database.write(lambda: work.set_policy(policy, expected_version, self._limits))

    async def policy(self, tenant_id: str, version: int) -> policy_pb.Policy | None:
        """See `RegistryStore.policy`."""
        return await self._database.read(lambda: work.policy(tenant_id, version))

    async def list_policies(self, after: str, limit: int) -> list[policy_pb.Policy]:
        """See `RegistryStore.list_policies`."""
        return await self._database.read(lambda: work.list_policies(after, limit))

    async def policy_versions(self, tenant_id: str, before: int, limit: int) -> list[policy_pb.Policy]:
        """See `RegistryStore.policy_versions`."""
        return await self._database.read(lambda: work.policy_versions(tenant_id, before, limit))

    async def set_price(self, price: policy_pb.Price) -> policy_pb.Price:
        """See `RegistryStore.set_price`."""
        return await self._database.write(lambda: work.set_price(price, self._limits))

    async def list_prices(self, after: str, limit: int) -> list[policy_pb.Price]:
        """See `RegistryStore.list_prices`."""
        return await self._database.read(lambda: work.list_prices(after, limit))

    async def price_versions(self, model_id: str, before: int, limit: int) -> list[policy_pb.Price]:
        """See `RegistryStore.price_versions`."""
        return await self._database.read(lambda: work.price_versions(model_id, before, limit))

    async def check(self) -> list[str]:
        """See `RegistryStore.check`."""
        return await self._database.read(registry_check.check)

    async def close(self) -> None:
        """See `RegistryStore.close`."""
        await self._database.close()
