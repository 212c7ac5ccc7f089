"""The registry's store on SQLite: one file, owned by one registry.

Source: docs/design/design.md §5.
"""

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

from tether.errors import Reason, TetherError
from tether.store import registry_row as rows
from tether.store.migrate import load
from tether.store.registry import PAGE_MAX, StoreLimits
from tether.store.sqlite import Sqlite
from tether.v1 import registry_pb2 as pb

_REVISION = "INSERT INTO revision (only, revision) VALUES (1, ?) ON CONFLICT DO NOTHING"
_RAISE = "UPDATE revision SET revision = revision + 1"


class SqliteRegistryStore:
    """`RegistryStore` over one SQLite file."""

    def __init__(self, database: Sqlite, limits: StoreLimits) -> None:
        self._database = database
        self._limits = limits

    @classmethod
    async def open(
        cls,
        path: Path,
        limits: StoreLimits | None = None,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> "SqliteRegistryStore":
        """Open or create a store.

        Args:
            path: database file; its folder must exist.
            limits: how much it keeps.
            now_ms: wall clock, milliseconds since the Unix epoch; where a new store's revision begins.

        Raises:
            TetherError: STORE_UNAVAILABLE, or STATE_UNUSABLE for a schema of a newer Tether.
        """
        database = await Sqlite.open(path, load("sqlite", "registry"))
        try:
            await database.write(lambda connection: connection.execute(_REVISION, (now_ms(),)).rowcount)
        except BaseException:
            await database.close()
            raise
        return cls(database, limits or StoreLimits())

    async def snapshot(self, network_id: bytes) -> pb.Snapshot:
        """See `RegistryStore.snapshot`."""
        return await self._database.read(lambda connection: _snapshot(connection, network_id))

    async def create_tenant(self, tenant: pb.Tenant) -> pb.Tenant:
        """See `RegistryStore.create_tenant`."""
        return await self._database.write(lambda connection: self._create_tenant(connection, tenant))

    async def list_tenants(self, after: str, limit: int) -> list[pb.Tenant]:
        """See `RegistryStore.list_tenants`."""
        query = f"SELECT {rows.TENANT} FROM tenants WHERE tenant > ? ORDER BY tenant LIMIT ?"  # noqa: S608
        return await self._database.read(
            lambda connection: [rows.to_tenant(row) for row in connection.execute(query, (after, min(limit, PAGE_MAX)))]
        )

    async def set_quota(self, tenant_id: str, quota: pb.Quota) -> pb.Tenant:
        """See `RegistryStore.set_quota`."""
        return await self._database.write(lambda connection: _set_quota(connection, tenant_id, quota))

    async def create_key(self, key: pb.Key) -> pb.Key:
        """See `RegistryStore.create_key`."""
        return await self._database.write(lambda connection: self._create_key(connection, key))

    async def list_keys(self, tenant_id: str, after: str, limit: int) -> list[pb.Key]:
        """See `RegistryStore.list_keys`."""
        query = f"SELECT {rows.KEY} FROM keys WHERE key > ? AND (? = '' OR tenant = ?) ORDER BY key LIMIT ?"  # noqa: S608
        values = (after, tenant_id, tenant_id, min(limit, PAGE_MAX))
        return await self._database.read(
            lambda connection: [rows.without_hash(rows.to_key(row)) for row in connection.execute(query, values)]
        )

    async def revoke_key(self, key_id: str) -> pb.Key:
        """See `RegistryStore.revoke_key`."""
        return await self._database.write(lambda connection: _revoke_key(connection, key_id))

    async def publish(self, model: pb.Model) -> pb.Model:
        """See `RegistryStore.publish`."""
        return await self._database.write(lambda connection: self._publish(connection, model))

    async def model(self, model_id: str, version: str) -> pb.Model | None:
        """See `RegistryStore.model`."""
        return await self._database.read(lambda connection: _model(connection, f"{model_id}:{version}"))

    async def versions(self, model_id: str) -> list[pb.Model]:
        """See `RegistryStore.versions`."""
        query = "SELECT summary FROM models WHERE model = ?"
        return await self._database.read(
            lambda connection: [pb.Model.FromString(row[0]) for row in connection.execute(query, (model_id,))]
        )

    async def list_models(self, after: str, limit: int) -> list[pb.Model]:
        """See `RegistryStore.list_models`."""
        query = "SELECT summary FROM models WHERE name > ? ORDER BY name LIMIT ?"
        values = (after, min(limit, PAGE_MAX))
        return await self._database.read(
            lambda connection: [pb.Model.FromString(row[0]) for row in connection.execute(query, values)]
        )

    async def close(self) -> None:
        """See `RegistryStore.close`."""
        await self._database.close()

    def _create_tenant(self, connection: sqlite3.Connection, tenant: pb.Tenant) -> pb.Tenant:
        known = _tenant(connection, tenant.name)
        if known is None:
            _check_room(connection, "tenants", self._limits.tenants_max)
            connection.execute(rows.ADD_TENANT, rows.of_tenant(tenant))
            connection.execute(_RAISE)
            return tenant
        if (known.display_name, known.quota) != (tenant.display_name, tenant.quota):
            raise TetherError(Reason.NAME_TAKEN, f"Tenant {tenant.name} exists with another name or quota.")
        return known

    def _create_key(self, connection: sqlite3.Connection, key: pb.Key) -> pb.Key:
        if _tenant(connection, key.tenant_id) is None:
            raise _no_tenant(key.tenant_id)
        if _key(connection, key.name) is not None:
            raise TetherError(Reason.NAME_TAKEN, f"Key {key.name} exists.")
        _check_room(connection, "keys", self._limits.keys_max)
        connection.execute(rows.ADD_KEY, rows.of_key(key))
        connection.execute(_RAISE)
        return rows.without_hash(key)

    def _publish(self, connection: sqlite3.Connection, model: pb.Model) -> pb.Model:
        known = _model(connection, model.name)
        if known is None:
            _check_room(connection, "models", self._limits.models_max)
            connection.execute(rows.ADD_MODEL, rows.of_model(model))
            connection.execute(_RAISE)
            return model
        if known.digest != model.digest:
            text = f"{model.name} is published with another content; a version never changes."
            raise TetherError(Reason.NAME_TAKEN, text)
        return known


def _snapshot(connection: sqlite3.Connection, network_id: bytes) -> pb.Snapshot:
    """Read everything; the thread runs nothing in between, so it is one state."""
    (revision,) = connection.execute("SELECT revision FROM revision").fetchone()
    tenants = connection.execute(f"SELECT {rows.TENANT} FROM tenants ORDER BY tenant")  # noqa: S608
    keys = connection.execute(f"SELECT {rows.KEY} FROM keys ORDER BY key")  # noqa: S608
    models = connection.execute("SELECT summary FROM models ORDER BY name")
    return pb.Snapshot(
        network_id=network_id,
        revision=revision,
        tenants=map(rows.to_tenant, tenants),
        keys=map(rows.to_key, keys),
        models=(pb.Model.FromString(row[0]) for row in models),
    )


def _tenant(connection: sqlite3.Connection, tenant_id: str) -> pb.Tenant | None:
    row = connection.execute(f"SELECT {rows.TENANT} FROM tenants WHERE tenant = ?", (tenant_id,)).fetchone()  # noqa: S608
    return None if row is None else rows.to_tenant(row)


def _key(connection: sqlite3.Connection, key_id: str) -> pb.Key | None:
    row = connection.execute(f"SELECT {rows.KEY} FROM keys WHERE key = ?", (key_id,)).fetchone()  # noqa: S608
    return None if row is None else rows.to_key(row)


def _model(connection: sqlite3.Connection, name: str) -> pb.Model | None:
    row = connection.execute("SELECT summary, manifest FROM models WHERE name = ?", (name,)).fetchone()
    return None if row is None else rows.to_model(row)


def _set_quota(connection: sqlite3.Connection, tenant_id: str, quota: pb.Quota) -> pb.Tenant:
    known = _tenant(connection, tenant_id)
    if known is None:
        raise _no_tenant(tenant_id)
    if known.quota != quota:
        known.quota.CopyFrom(quota)
        connection.execute(rows.SET_QUOTA, (*rows.of_quota(quota), tenant_id))
        connection.execute(_RAISE)
    return known


def _revoke_key(connection: sqlite3.Connection, key_id: str) -> pb.Key:
    known = _key(connection, key_id)
    if known is None:
        raise TetherError(Reason.ACCESS_UNKNOWN, f"There is no key {key_id[:16]!a}.", field="key_id")
    if not known.revoked:
        known.revoked = True
        connection.execute("UPDATE keys SET revoked = 1 WHERE key = ?", (key_id,))
        connection.execute(_RAISE)
    return rows.without_hash(known)


def _check_room(connection: sqlite3.Connection, table: str, most: int) -> None:
    (count,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()  # noqa: S608  names from this file
    if count >= most:
        raise TetherError(Reason.QUOTA_EXCEEDED, f"The registry keeps at most {most} {table}.")


def _no_tenant(tenant_id: str) -> TetherError:
    return TetherError(Reason.ACCESS_UNKNOWN, f"There is no tenant {tenant_id[:63]!a}.", field="tenant_id")
