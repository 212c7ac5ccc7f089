"""The registry's reads and writes, written once for every database.

A work is a generator: it yields a statement, is sent its rows, and returns its result. Who drives it decides how a
statement runs (on SQLite's thread, or awaited on PostgreSQL) and what transaction is around it, so that both databases
do the same by construction. Statements use `?` for values.
"""

from collections.abc import Callable, Generator, Sequence
from typing import Any, TypeVar

from tether.store import registry_row as rows
from tether.store import registry_rule as rule
from tether.store.registry import FOR_ALL, PAGE_MAX, StoreLimits
from tether.v1 import policy_pb2 as policy_pb
from tether.v1 import registry_pb2 as pb

T = TypeVar("T")
Statement = tuple[str, Sequence[Any]]
Rows = Sequence[rows.Row]
Work = Generator[Statement, Rows, T]

REVISION = "SELECT revision FROM revision"
_RAISE = "UPDATE revision SET revision = revision + 1"
_NEWEST_POLICIES = "(tenant, version) IN (SELECT tenant, max(version) FROM policies GROUP BY tenant)"
_NEWEST_PRICES = "(model, version) IN (SELECT model, max(version) FROM prices GROUP BY model)"
_TENANT = f"SELECT {rows.TENANT} FROM tenants"  # noqa: S608  names from this package, here and below
_KEY = f"SELECT {rows.KEY} FROM keys"  # noqa: S608
_PRICE = f"SELECT {rows.PRICE} FROM prices"  # noqa: S608


def begin(now_ms: int) -> Work[None]:
    """Give a new store its first revision."""
    yield 'INSERT INTO revision ("only", revision) VALUES (1, ?) ON CONFLICT DO NOTHING', (now_ms,)


def revision() -> Work[int]:
    """Read the revision."""
    return int((yield REVISION, ())[0][0])


def snapshot(network_id: bytes) -> Work[pb.Snapshot]:
    """Read all that is newest."""
    ((number,),) = yield REVISION, ()
    tenants = yield f"{_TENANT} ORDER BY tenant", ()
    keys = yield f"{_KEY} ORDER BY key", ()
    models = yield "SELECT summary FROM models ORDER BY name", ()
    policies = yield f"SELECT policy FROM policies WHERE {_NEWEST_POLICIES} ORDER BY tenant", ()  # noqa: S608
    prices = yield f"{_PRICE} WHERE {_NEWEST_PRICES} ORDER BY model", ()
    return pb.Snapshot(
        network_id=network_id,
        revision=number,
        tenants=map(rows.to_tenant, tenants),
        keys=map(rows.to_key, keys),
        models=(pb.Model.FromString(row[0]) for row in models),
        policies=map(_to_policy, policies),
        prices=map(rows.to_price, prices),
    )


def create_tenant(tenant: pb.Tenant, limits: StoreLimits) -> Work[pb.Tenant]:
    """See `RegistryStore.create_tenant`."""
    known = yield from _tenant(tenant.name)
    added = rule.add_tenant(known, tenant)
    if added is None:
        return known or tenant
    yield from _check_room("tenants", limits.tenants_max)
    yield _insert("tenants", rows.TENANT, rows.of_tenant(added))
    yield _RAISE, ()
    return added


def list_tenants(after: str, limit: int) -> Work[list[pb.Tenant]]:
    """See `RegistryStore.list_tenants`."""
    return list(map(rows.to_tenant, (yield f"{_TENANT} WHERE tenant > ? ORDER BY tenant LIMIT ?", _page(after, limit))))


def set_quota(tenant_id: str, quota: pb.Quota) -> Work[pb.Tenant]:
    """See `RegistryStore.set_quota`."""
    known = yield from _tenant(tenant_id)
    if known is None:
        raise rule.no_tenant(tenant_id)
    if known.quota != quota:
        known.quota.CopyFrom(quota)
        changes = ", ".join(f"{column} = ?" for column in rows.QUOTA.split(", "))
        yield f"UPDATE tenants SET {changes} WHERE tenant = ?", (*rows.of_quota(quota), tenant_id)  # noqa: S608
        yield _RAISE, ()
    return known


def create_key(key: pb.Key, limits: StoreLimits) -> Work[pb.Key]:
    """See `RegistryStore.create_key`."""
    owner = yield from _tenant(key.tenant_id)
    rule.check_key((yield from _key(key.name)), owner, key)
    yield from _check_room("keys", limits.keys_max)
    yield _insert("keys", rows.KEY, rows.of_key(key))
    yield _RAISE, ()
    return rows.without_hash(key)


def list_keys(tenant_id: str, after: str, limit: int) -> Work[list[pb.Key]]:
    """See `RegistryStore.list_keys`."""
    of_tenant, values = (" AND tenant = ?", (after, tenant_id)) if tenant_id else ("", (after,))
    found = yield f"{_KEY} WHERE key > ?{of_tenant} ORDER BY key LIMIT ?", (*values, min(limit, PAGE_MAX))
    return [rows.without_hash(rows.to_key(row)) for row in found]


def revoke_key(key_id: str) -> Work[pb.Key]:
    """See `RegistryStore.revoke_key`."""
    known = yield from _key(key_id)
    if known is None:
        raise rule.no_key(key_id)
    if not known.revoked:
        known.revoked = True
        yield "UPDATE keys SET revoked = 1 WHERE key = ?", (key_id,)
        yield _RAISE, ()
    return rows.without_hash(known)


def publish(model_: pb.Model, limits: StoreLimits) -> Work[pb.Model]:
    """See `RegistryStore.publish`."""
    known = yield from model(model_.model_id, model_.version)
    added = rule.add_model(known, model_)
    if added is None:
        return known or model_
    yield from _check_room("models", limits.models_max)
    yield _insert("models", rows.MODEL, rows.of_model(added))
    yield _RAISE, ()
    return added


def model(model_id: str, version: str) -> Work[pb.Model | None]:
    """See `RegistryStore.model`."""
    found = yield "SELECT summary, manifest FROM models WHERE name = ?", (f"{model_id}:{version}",)
    return rows.to_model(found[0]) if found else None


def versions(model_id: str) -> Work[list[pb.Model]]:
    """See `RegistryStore.versions`."""
    found = yield "SELECT summary FROM models WHERE model = ?", (model_id,)
    return [pb.Model.FromString(row[0]) for row in found]


def list_models(after: str, limit: int) -> Work[list[pb.Model]]:
    """See `RegistryStore.list_models`."""
    found = yield "SELECT summary FROM models WHERE name > ? ORDER BY name LIMIT ?", _page(after, limit)
    return [pb.Model.FromString(row[0]) for row in found]


def set_policy(wanted: policy_pb.Policy, expected_version: int, limits: StoreLimits) -> Work[policy_pb.Policy]:
    """See `RegistryStore.set_policy`."""
    if wanted.tenant_id and (yield from _tenant(wanted.tenant_id)) is None:
        raise rule.no_tenant(wanted.tenant_id)
    made = rule.next_policy((yield from policy(wanted.tenant_id, 0)), wanted, expected_version)
    query = f"SELECT sum(length(policy)) FROM policies WHERE tenant <> ? AND {_NEWEST_POLICIES}"  # noqa: S608
    ((others_bytes,),) = yield query, (made.tenant_id,)
    rule.check_policy_room(int(others_bytes or 0), made, limits)
    yield _insert("policies", rows.POLICY, rows.of_policy(made))
    forgotten = made.version - limits.policy_versions_max
    yield "DELETE FROM policies WHERE tenant = ? AND version <= ?", (made.tenant_id, forgotten)
    yield _RAISE, ()
    return made


def policy(tenant_id: str, version: int) -> Work[policy_pb.Policy | None]:
    """See `RegistryStore.policy`."""
    one = "SELECT policy FROM policies WHERE tenant = ?"
    if version:
        found = yield f"{one} AND version = ?", (tenant_id, version)
    else:
        found = yield f"{one} ORDER BY version DESC LIMIT 1", (tenant_id,)
    return _to_policy(found[0]) if found else None


def list_policies(after: str, limit: int) -> Work[list[policy_pb.Policy]]:
    """See `RegistryStore.list_policies`."""
    beyond, values = ("tenant > ?", ("" if after == FOR_ALL else after,)) if after else ("tenant >= ?", ("",))
    query = f"SELECT policy FROM policies WHERE {beyond} AND {_NEWEST_POLICIES} ORDER BY tenant LIMIT ?"  # noqa: S608
    return list(map(_to_policy, (yield query, (*values, min(limit, PAGE_MAX)))))


def policy_versions(tenant_id: str, before: int, limit: int) -> Work[list[policy_pb.Policy]]:
    """See `RegistryStore.policy_versions`."""
    query = "SELECT policy FROM policies WHERE tenant = ? AND version < ? ORDER BY version DESC LIMIT ?"
    values = (tenant_id, before or rows.INTEGER_MAX, min(limit, PAGE_MAX))
    return list(map(_to_policy, (yield query, values)))


def set_price(price: policy_pb.Price, limits: StoreLimits) -> Work[policy_pb.Price]:
    """See `RegistryStore.set_price`."""
    if not (yield "SELECT 1 FROM models WHERE model = ? LIMIT 1", (price.model_id,)):
        raise rule.no_model(price.model_id)
    known = yield f"{_PRICE} WHERE model = ? ORDER BY version DESC LIMIT 1", (price.model_id,)
    newest = rows.to_price(known[0]) if known else None
    made = rule.next_price(newest, price, limits)
    if made is None:
        return newest or price
    if newest is None:
        ((count,),) = yield "SELECT count(DISTINCT model) FROM prices", ()
        rule.check_room(count, limits.prices_max, "models with a price")
    yield _insert("prices", rows.PRICE, rows.of_price(made))
    yield _RAISE, ()
    return made


def list_prices(after: str, limit: int) -> Work[list[policy_pb.Price]]:
    """See `RegistryStore.list_prices`."""
    query = f"{_PRICE} WHERE model > ? AND {_NEWEST_PRICES} ORDER BY model LIMIT ?"
    return list(map(rows.to_price, (yield query, _page(after, limit))))


def price_versions(model_id: str, before: int, limit: int) -> Work[list[policy_pb.Price]]:
    """See `RegistryStore.price_versions`."""
    query = f"{_PRICE} WHERE model = ? AND version < ? ORDER BY version DESC LIMIT ?"
    values = (model_id, before or rows.INTEGER_MAX, min(limit, PAGE_MAX))
    return list(map(rows.to_price, (yield query, values)))


def drive(work: Work[T], run: Callable[[Statement], Rows]) -> T:
    """Run a work to its end where statements return at once."""
    try:
        statement = next(work)
        while True:
            statement = work.send(run(statement))
    except StopIteration as ended:
        result: T = ended.value
        return result


def _tenant(tenant_id: str) -> Work[pb.Tenant | None]:
    found = yield f"{_TENANT} WHERE tenant = ?", (tenant_id,)
    return rows.to_tenant(found[0]) if found else None


def _key(key_id: str) -> Work[pb.Key | None]:
    found = yield f"{_KEY} WHERE key = ?", (key_id,)
    return rows.to_key(found[0]) if found else None


def _check_room(table: str, most: int) -> Work[None]:
    ((count,),) = yield f"SELECT count(*) FROM {table}", ()  # noqa: S608
    rule.check_room(count, most, table)


def _insert(table: str, columns: str, values: rows.Row) -> Statement:
    return f"INSERT INTO {table} ({columns}) VALUES ({', '.join('?' * len(values))})", values  # noqa: S608


def _page(after: str, limit: int) -> tuple[str, int]:
    return after, min(limit, PAGE_MAX)


def _to_policy(row: rows.Row) -> policy_pb.Policy:
    return policy_pb.Policy.FromString(row[0])
