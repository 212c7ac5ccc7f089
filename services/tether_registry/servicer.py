"""The registry's three services: from the contract's messages to what is done, and back."""

import secrets
import time
from collections.abc import AsyncIterator
from collections.abc import Set as AbstractSet
from typing import Any

from grpc import aio

from tether.access import key
from tether.artifact.remote import PART_BYTES
from tether.artifact.store import ArtifactStore
from tether.errors import Reason, TetherError
from tether.identity import Role
from tether.node.caller import caller
from tether.registry import page
from tether.rules import registry as rules
from tether.store.registry import RegistryStore
from tether.v1 import registry_pb2 as pb
from tether.v1 import registry_pb2_grpc as grpc_pb
from tether_registry import metrics
from tether_registry.board import Board, Form
from tether_registry.catalog import Catalog
from tether_registry.policy import Policies

Context = aio.ServicerContext[Any, Any]
KEY_READERS = frozenset({Role.GATEWAY, Role.BRIDGE})  # they see keys in plain anyway
POLICY_READERS = frozenset({Role.ORCHESTRATOR, Role.REGISTRY, Role.OPERATOR})  # those above get policies too


class RegistryServicer(grpc_pb.RegistryServiceServicer):
    """`RegistryService`: the catalogue and its snapshots."""

    def __init__(self, store: RegistryStore, catalog: Catalog, board: Board) -> None:
        self._store = store
        self._catalog = catalog
        self._board = board

    async def ListModels(self, request: pb.ListModelsRequest, context: Context) -> pb.ListModelsResponse:
        """Return a page of the versions."""
        after, size = page.start(request.page_size, request.page_token)
        found, following = page.cut(await self._store.list_models(after, size + 1), size)
        return pb.ListModelsResponse(models=found, next_page_token=following)

    async def GetModel(self, request: pb.GetModelRequest, context: Context) -> pb.GetModelResponse:
        """Return one version with its manifest."""
        return pb.GetModelResponse(model=await self._catalog.find(request.model_id, request.version))

    async def PublishModel(self, request: pb.PublishModelRequest, context: Context) -> pb.PublishModelResponse:
        """Add a version."""
        rules.check_publish(request)
        return pb.PublishModelResponse(model=await self._catalog.publish(request.manifest, request.tier, time.time()))

    async def WatchSnapshot(
        self, request: pb.WatchSnapshotRequest, context: Context
    ) -> AsyncIterator[pb.WatchSnapshotResponse]:
        """Stream snapshots and signs of life."""
        async for response in self._board.watch(request.revision, _form(caller(context).roles)):
            yield response


class AccessServicer(grpc_pb.AccessServiceServicer):
    """`AccessService`: tenants, quotas, keys, policies and prices."""

    def __init__(self, store: RegistryStore, policies: Policies, board: Board) -> None:
        self._store = store
        self._policies = policies
        self._board = board

    async def CreateTenant(self, request: pb.CreateTenantRequest, context: Context) -> pb.CreateTenantResponse:
        """Add a tenant."""
        rules.check_create_tenant(request)
        tenant = pb.Tenant(name=request.tenant_id, display_name=request.display_name, quota=request.quota)
        tenant.created_at.FromMilliseconds(_now_ms())
        made = await self._store.create_tenant(tenant)
        await self._board.refresh()
        return pb.CreateTenantResponse(tenant=made)

    async def ListTenants(self, request: pb.ListTenantsRequest, context: Context) -> pb.ListTenantsResponse:
        """Return a page of the tenants."""
        after, size = page.start(request.page_size, request.page_token)
        found, following = page.cut(await self._store.list_tenants(after, size + 1), size)
        return pb.ListTenantsResponse(tenants=found, next_page_token=following)

    async def SetQuota(self, request: pb.SetQuotaRequest, context: Context) -> pb.SetQuotaResponse:
        """Change a quota."""
        rules.check_quota(request.quota)
        tenant = await self._store.set_quota(request.tenant_id, request.quota)
        await self._board.refresh()
        return pb.SetQuotaResponse(tenant=tenant)

    async def CreateKey(self, request: pb.CreateKeyRequest, context: Context) -> pb.CreateKeyResponse:
        """Make a key and return its secret, once."""
        rules.check_create_key(request, time.time())
        token = key.make(secrets.token_bytes(key.RANDOM_BYTES))
        expires_at = request.expires_at if request.HasField("expires_at") else None
        made = pb.Key(
            name=token.key_id,
            tenant_id=request.tenant_id,
            label=request.label,
            secret_sha256=key.secret_sha256(token.secret),
            expires_at=expires_at,
        )
        made.created_at.FromMilliseconds(_now_ms())
        kept = await self._store.create_key(made)
        await self._board.refresh()
        return pb.CreateKeyResponse(key=kept, token=token.text())

    async def ListKeys(self, request: pb.ListKeysRequest, context: Context) -> pb.ListKeysResponse:
        """Return a page of the keys, without secrets."""
        after, size = page.start(request.page_size, request.page_token)
        found, following = page.cut(await self._store.list_keys(request.tenant_id, after, size + 1), size)
        return pb.ListKeysResponse(keys=found, next_page_token=following)

    async def RevokeKey(self, request: pb.RevokeKeyRequest, context: Context) -> pb.RevokeKeyResponse:
        """End a key."""
        rules.check_key_id(request.key_id)
        revoked = await self._store.revoke_key(request.key_id)
        await self._board.refresh()
        return pb.RevokeKeyResponse(key=revoked)

    async def SetPolicy(self, request: pb.SetPolicyRequest, context: Context) -> pb.SetPolicyResponse:
        """Set a policy."""
        rules.check_set_policy(request)
        author = caller(context).node_id
        made = await self._policies.set(request.policy, request.expected_version, author, _now_ms())
        return pb.SetPolicyResponse(policy=made)

    async def GetPolicy(self, request: pb.GetPolicyRequest, context: Context) -> pb.GetPolicyResponse:
        """Return a policy."""
        return pb.GetPolicyResponse(policy=await self._policies.get(request.tenant_id, request.version))

    async def ListPolicies(self, request: pb.ListPoliciesRequest, context: Context) -> pb.ListPoliciesResponse:
        """Return a page of policies."""
        return await self._policies.list(request)

    async def SetPrice(self, request: pb.SetPriceRequest, context: Context) -> pb.SetPriceResponse:
        """Set a price."""
        rules.check_set_price(request)
        return pb.SetPriceResponse(price=await self._policies.set_price(request.price, _now_ms()))

    async def ListPrices(self, request: pb.ListPricesRequest, context: Context) -> pb.ListPricesResponse:
        """Return a page of prices."""
        return await self._policies.list_prices(request)


class ArtifactServicer(grpc_pb.ArtifactServiceServicer):
    """`ArtifactService`: blobs by their SHA-256."""

    def __init__(self, blobs: ArtifactStore) -> None:
        self._blobs = blobs

    async def ReadBlob(self, request: pb.ReadBlobRequest, context: Context) -> AsyncIterator[pb.ReadBlobResponse]:
        """Stream a range of a blob."""
        rules.check_read_blob(request)
        size_bytes = await self._blobs.size(request.sha256) or 0
        async for piece in self._blobs.read(request.sha256, request.offset, request.length):
            for start in range(0, len(piece), PART_BYTES):
                part = piece[start : start + PART_BYTES]
                metrics.BLOB_BYTES.labels("out").inc(len(part))
                yield pb.ReadBlobResponse(data=part, size_bytes=size_bytes)

    async def WriteBlob(
        self, request_iterator: AsyncIterator[pb.WriteBlobRequest], context: Context
    ) -> pb.WriteBlobResponse:
        """Store a blob."""
        first = await anext(aiter(request_iterator), None)
        if first is None:
            raise TetherError(Reason.INVALID_FIELD, "sha256 is empty; it must be 32 bytes.", field="sha256")
        rules.check_blob_hash(first.sha256)
        existed = await self._blobs.write(first.sha256, first.size_bytes, _parts(first, request_iterator))
        return pb.WriteBlobResponse(existed=existed)


async def _parts(first: pb.WriteBlobRequest, rest: AsyncIterator[pb.WriteBlobRequest]) -> AsyncIterator[bytes]:
    """Yield the bytes of a blob's messages."""
    if first.data:
        yield first.data
    async for request in rest:
        metrics.BLOB_BYTES.labels("in").inc(len(request.data))
        yield request.data


def _form(roles: AbstractSet[Role]) -> Form:
    """Return which snapshots a caller in these roles gets."""
    if roles & KEY_READERS:
        return Form.WITH_KEYS
    return Form.WITH_POLICIES if roles & POLICY_READERS else Form.BARE


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
