"""Looks for rows of the registry that no write of ours can have left: changed by hand, or damaged.

Each finding names its row. Rows of a table are read at once: a registry holds some ten thousand.
Source: docs/design/design.md §5.
"""

import hashlib
from collections.abc import Iterator

from google.protobuf.message import DecodeError

from tether.store.registry_work import REVISION, Rows, Work
from tether.v1 import policy_pb2, registry_pb2

FINDINGS_MAX = 1_000  # more help nobody
_SHA256_BYTES = 32
_LONELY_KEYS = "SELECT key, tenant FROM keys WHERE tenant NOT IN (SELECT tenant FROM tenants)"
_LONELY_POLICIES = "SELECT tenant FROM policies WHERE tenant <> '' AND tenant NOT IN (SELECT tenant FROM tenants)"
_LONELY_PRICES = "SELECT DISTINCT model FROM prices WHERE model NOT IN (SELECT model FROM models)"
_NEGATIVE_QUOTAS = (
    "SELECT tenant FROM tenants WHERE requests_per_minute < 0 OR tokens_per_minute < 0 OR tokens_per_day < 0 "
    "OR concurrent_jobs < 0 OR spend_per_day_micros < 0 OR suspended NOT IN (0, 1)"
)
_GAPS = "SELECT model FROM prices GROUP BY model HAVING min(version) <> 1 OR max(version) <> count(*)"
_POLICY_GAPS = (
    "SELECT tenant FROM policies GROUP BY tenant HAVING min(version) < 1 OR max(version) - min(version) + 1 <> count(*)"
)
_NEGATIVE_PRICES = "SELECT model, version FROM prices WHERE input_micros < 0 OR output_micros < 0"


def check() -> Work[list[str]]:
    """Return what is wrong, for people; empty when all holds."""
    found: list[str] = []
    revisions = yield REVISION, ()
    if len(revisions) != 1 or revisions[0][0] < 1:
        found.append("revision: there must be one row, at least 1")
    for text, query in (
        ("keys: {} is of tenant {}, which is not there", _LONELY_KEYS),
        ("policies: one is of tenant {}, which is not there", _LONELY_POLICIES),
        ("prices: {} is no model", _LONELY_PRICES),
        ("tenants: {} has a limit below 0, or is neither suspended nor not", _NEGATIVE_QUOTAS),
        ("prices: versions of {} are not 1 to the newest", _GAPS),
        ("prices: {} version {} is below 0", _NEGATIVE_PRICES),
        ("policies: versions of tenant {!r} have a gap", _POLICY_GAPS),
    ):
        found += [text.format(*row) for row in (yield query, ())]
    found += _bad_keys((yield "SELECT key, secret_sha256 FROM keys ORDER BY key", ()))
    found += _bad_policies((yield "SELECT tenant, version, policy FROM policies ORDER BY tenant, version", ()))
    names = yield "SELECT name FROM models ORDER BY name", ()
    for (name,) in names:  # one at a time: a manifest may have 3.5 MB
        columns = "name, model, version, digest, summary, manifest"
        found += _bad_models((yield f"SELECT {columns} FROM models WHERE name = ?", (name,)))  # noqa: S608
    return found[:FINDINGS_MAX]


def _bad_keys(rows: Rows) -> Iterator[str]:
    for key, secret_sha256 in rows:
        if len(secret_sha256) != _SHA256_BYTES:
            yield f"keys: {key} has no hash of its secret"


def _bad_policies(rows: Rows) -> Iterator[str]:
    for tenant, version, raw in rows:
        try:
            policy = policy_pb2.Policy.FromString(raw)
        except DecodeError:
            yield f"policies: version {version} of tenant {tenant!r} cannot be read"
            continue
        if (policy.tenant_id, policy.version) != (tenant, version):
            yield f"policies: version {version} of tenant {tenant!r} says that it is another"


def _bad_models(rows: Rows) -> Iterator[str]:
    for name, model_id, version, digest, summary, manifest in rows:
        try:
            model = registry_pb2.Model.FromString(summary)
            body = registry_pb2.Manifest.FromString(manifest).body
        except DecodeError:
            yield f"models: {name} cannot be read"
            continue
        if (model.name, model.model_id, model.version, model.digest) != (name, model_id, version, digest):
            yield f"models: {name} says that it is another"
        if hashlib.sha256(body).digest() != digest:
            yield f"models: {name} has a manifest that does not hash to its digest"
