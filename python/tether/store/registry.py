"""What keeps the registry's own data: tenants, keys and models, and the revision that grows with each change.

Records are the contract's own messages. `tests/contract/test_registry_store.py` holds what every store must pass.
"""

from dataclasses import dataclass
from typing import Protocol

from tether.v1 import registry_pb2 as pb

PAGE_MAX = 1_000  # as the proto says


@dataclass(frozen=True, slots=True)
class StoreLimits:
    """How much a registry keeps; a snapshot holds all of it and must stay under gRPC's 16 MiB.

    Attributes:
        tenants_max: tenants.
        keys_max: keys, revoked ones among them.
        models_max: versions of models.
    """

    tenants_max: int = 20_000  # 100 bytes each: 2 MB
    keys_max: int = 60_000  # 110 bytes each: 7 MB
    models_max: int = 10_000  # 200 bytes each without manifests: 2 MB


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

    async def close(self) -> None:
        """Finish what was asked and let go; the same again does nothing."""
