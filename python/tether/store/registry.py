"""What keeps the registry's own data: tenants, keys, models, policies, prices, and the revision that grows with each.

Records are the contract's own messages. `tests/contract/test_registry_store.py` holds what every store must pass.
"""

from dataclasses import dataclass
from typing import Protocol

from tether.v1 import policy_pb2 as policy_pb
from tether.v1 import registry_pb2 as pb

PAGE_MAX = 1_000  # as the proto says
FOR_ALL = "*"  # how pages name the policy for all, whose tenant is empty


@dataclass(frozen=True, slots=True)
class StoreLimits:
    """How much a registry keeps; a snapshot holds all of it and must stay under gRPC's 16 MiB.

    Attributes:
        tenants_max: tenants.
        keys_max: keys, revoked ones among them.
        models_max: versions of models.
        policy_bytes_max: the newest policies together, bytes as serialized.
        policy_versions_max: versions kept of each policy; older ones are forgotten.
        prices_max: models with a price.
        price_versions_max: prices of a model; all are kept, since usage names them.
    """

    tenants_max: int = 20_000  # 100 bytes each: 2 MB
    keys_max: int = 60_000  # 110 bytes each: 7 MB
    models_max: int = 10_000  # 200 bytes each without manifests: 2 MB
    policy_bytes_max: int = 4 << 20  # what the others leave of the snapshot
    policy_versions_max: int = 100  # a change a week for two years; a guess
    prices_max: int = 10_000  # as models; 50 bytes each: half a MB
    price_versions_max: int = 1_000  # a change a day for three years; a guess


class RegistryStore(Protocol):
    """Every write is durable before it returns, and raises the revision by one where it changed anything."""

    async def snapshot(self, network_id: bytes) -> pb.Snapshot:
        """Return all of it, as of one moment; models are without their manifests."""

    async def create_tenant(self, tenant: pb.Tenant) -> pb.Tenant:
        """Add a tenant; the same again is no change.

        Raises:
            TetherError: NAME_TAKEN where the id is there with something else; QUOTA_EXCEEDED where there are too many.
        """

    async def list_tenants(self, after: str, limit: int) -> list[pb.Tenant]:
        """Return tenants by id, those after `after`."""

    async def set_quota(self, tenant_id: str, quota: pb.Quota) -> pb.Tenant:
        """Change a tenant's quota.

        Raises:
            TetherError: ACCESS_UNKNOWN.
        """

    async def create_key(self, key: pb.Key) -> pb.Key:
        """Add a key with the hash of its secret; returns it without.

        Raises:
            TetherError: ACCESS_UNKNOWN for the tenant; NAME_TAKEN; QUOTA_EXCEEDED where there are too many.
        """

    async def list_keys(self, tenant_id: str, after: str, limit: int) -> list[pb.Key]:
        """Return keys by id without hashes, those after `after`; of one tenant, or of all where it is empty."""

    async def revoke_key(self, key_id: str) -> pb.Key:
        """End a key for good; the same again is no change.

        Raises:
            TetherError: ACCESS_UNKNOWN.
        """

    async def publish(self, model: pb.Model) -> pb.Model:
        """Add a version with its manifest; one with the same digest is no change.

        Raises:
            TetherError: NAME_TAKEN where the version is there with another digest; QUOTA_EXCEEDED where there are too
                many.
        """

    async def model(self, model_id: str, version: str) -> pb.Model | None:
        """Return a version with its manifest."""

    async def versions(self, model_id: str) -> list[pb.Model]:
        """Return all versions of a model, without manifests."""

    async def list_models(self, after: str, limit: int) -> list[pb.Model]:
        """Return versions by name without manifests, those after `after`."""

    async def set_policy(self, policy: policy_pb.Policy, expected_version: int) -> policy_pb.Policy:
        """Add a version of a policy; returns it with its number.

        Args:
            policy: of a tenant, or for all where its tenant is empty; its own version is not looked at.
            expected_version: version that must be the newest now; 0 is not compared.

        Raises:
            TetherError: ACCESS_UNKNOWN for the tenant; INVALID_FIELD at `expected_version` where another one is the
                newest; QUOTA_EXCEEDED where the policies are too much together.
        """

    async def policy(self, tenant_id: str, version: int) -> policy_pb.Policy | None:
        """Return a version of a policy, or its newest where `version` is 0."""

    async def list_policies(self, after: str, limit: int) -> list[policy_pb.Policy]:
        """Return the newest policies by tenant, those after `after`; the one for all is `*` and comes first."""

    async def policy_versions(self, tenant_id: str, before: int, limit: int) -> list[policy_pb.Policy]:
        """Return versions of a policy, newest first; only those below `before`, or all where it is 0."""

    async def set_price(self, price: policy_pb.Price) -> policy_pb.Price:
        """Add a price of a model; one that is equal to the newest is no change.

        Raises:
            TetherError: MODEL_UNKNOWN; QUOTA_EXCEEDED where there are too many.
        """

    async def list_prices(self, after: str, limit: int) -> list[policy_pb.Price]:
        """Return the newest prices by model, those after `after`."""

    async def price_versions(self, model_id: str, before: int, limit: int) -> list[policy_pb.Price]:
        """Return prices of a model, newest first; only those with a version below `before`, or all where it is 0."""

    async def revision(self) -> int:
        """Return the revision that holds; cheap enough to be asked several times a second."""

    async def check(self) -> list[str]:
        """Return rows that no write of ours can have left, for people; empty when all holds."""

    async def close(self) -> None:
        """Finish what was asked and let go; the same again does nothing."""
