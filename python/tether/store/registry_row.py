"""Rows of the registry's tables, to and from the contract's messages."""

from collections.abc import Sequence
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from tether.v1 import policy_pb2 as policy_pb
from tether.v1 import registry_pb2 as pb

QUOTA = "requests_per_minute, tokens_per_minute, tokens_per_day, concurrent_jobs, spend_per_day_micros"
TENANT = f"tenant, display_name, {QUOTA}, suspended, created_ms"
PRICE = "model, version, input_micros, output_micros, created_ms"
KEY = "key, tenant, label, secret_sha256, created_ms, expires_ms, revoked"
MODEL = "name, model, version, digest, summary, manifest"
POLICY = "tenant, version, policy"
INTEGER_MAX = 2**63 - 1  # the largest that databases keep; a quota above it limits nothing anybody could use

Row = Sequence[Any]


def of_quota(quota: pb.Quota) -> tuple[int, ...]:
    """Return a quota's columns."""
    values = (
        quota.requests_per_minute,
        quota.tokens_per_minute,
        quota.tokens_per_day,
        quota.concurrent_jobs,
        quota.spend_per_day_micros,
    )
    return tuple(min(value, INTEGER_MAX) for value in values)


def of_tenant(tenant: pb.Tenant) -> Row:
    """Return a tenant's columns."""
    created_ms = tenant.created_at.ToMilliseconds()
    return (tenant.name, tenant.display_name, *of_quota(tenant.quota), int(tenant.suspended), created_ms)


def to_tenant(row: Row) -> pb.Tenant:
    """Return the tenant of a row."""
    quota = pb.Quota(
        requests_per_minute=row[2],
        tokens_per_minute=row[3],
        tokens_per_day=row[4],
        concurrent_jobs=row[5],
        spend_per_day_micros=row[6],
    )
    limited = quota if any(row[2:7]) else None
    return pb.Tenant(
        name=row[0], display_name=row[1], quota=limited, suspended=bool(row[7]), created_at=_timestamp(row[8])
    )


def of_key(key: pb.Key) -> Row:
    """Return a key's columns."""
    expires_ms = key.expires_at.ToMilliseconds() if key.HasField("expires_at") else None
    created_ms = key.created_at.ToMilliseconds()
    return (key.name, key.tenant_id, key.label, key.secret_sha256, created_ms, expires_ms, int(key.revoked))


def to_key(row: Row) -> pb.Key:
    """Return the key of a row."""
    expires_at = None if row[5] is None else _timestamp(row[5])
    return pb.Key(
        name=row[0],
        tenant_id=row[1],
        label=row[2],
        secret_sha256=row[3],
        created_at=_timestamp(row[4]),
        expires_at=expires_at,
        revoked=bool(row[6]),
    )


def without_hash(key: pb.Key) -> pb.Key:
    """Return a key without the hash of its secret."""
    copy = pb.Key()
    copy.CopyFrom(key)
    copy.secret_sha256 = b""
    return copy


def of_model(model: pb.Model) -> Row:
    """Return a version's columns."""
    summary = pb.Model()
    summary.CopyFrom(model)
    summary.manifest = b""
    raw = summary.SerializeToString(deterministic=True)
    return (model.name, model.model_id, model.version, model.digest, raw, model.manifest)


def to_model(row: Row) -> pb.Model:
    """Return the version of a row of (summary, manifest)."""
    model = pb.Model.FromString(row[0])
    model.manifest = row[1]
    return model


def of_policy(policy: policy_pb.Policy) -> Row:
    """Return a policy's columns."""
    return (policy.tenant_id, policy.version, policy.SerializeToString(deterministic=True))


def of_price(price: policy_pb.Price) -> Row:
    """Return a price's columns."""
    created_ms = price.created_at.ToMilliseconds()
    return (price.model_id, price.version, price.input_micros, price.output_micros, created_ms)


def to_price(row: Row) -> policy_pb.Price:
    """Return the price of a row."""
    return policy_pb.Price(
        model_id=row[0], version=row[1], input_micros=row[2], output_micros=row[3], created_at=_timestamp(row[4])
    )


def _timestamp(at_ms: int) -> Timestamp:
    made = Timestamp()
    made.FromMilliseconds(at_ms)
    return made
