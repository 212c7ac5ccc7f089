"""A batch of usage as it is sent: rows of JSON under one key, cut once and never changed.

The key names the rows, so that a receiver which keeps the keys it has seen counts each row exactly once however often a
batch comes; every row has a name for good as well.
Source: docs/billing.md; the idempotency key follows draft-ietf-httpapi-idempotency-key-header.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from tether.store.jobs import Usage

SCHEMA = "tether/usage/v1"  # of the body, and the context that it is signed under
KEY_CHARS = 32  # 128 bits: two batches never meet
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where usage is from.

    Attributes:
        network_id: 32 bytes.
        region: its slug.
        store_id: of the job store, 16 bytes.
    """

    network_id: bytes
    region: str
    store_id: bytes


@dataclass(frozen=True, slots=True)
class Batch:
    """What is sent.

    Attributes:
        key: idempotency key, 32 hex digits.
        numbers: rows of usage in it, in order.
        body: JSON, UTF-8.
    """

    key: str
    numbers: tuple[int, ...]
    body: bytes


def cut(rows: Sequence[Usage], origin: Origin) -> Batch:
    """Make a batch; the same rows make the same one.

    Args:
        rows: of the outbox, by number.
        origin: where they are from.
    """
    named = [row_of(row, origin.store_id) for row in rows]
    ids = "\n".join(str(row["id"]) for row in named)
    key = hashlib.sha256(f"{origin.network_id.hex()}\n{ids}".encode()).hexdigest()[:KEY_CHARS]
    content = {
        "schema": SCHEMA,
        "key": key,
        "network": origin.network_id.hex(),
        "region": origin.region,
        "rows": named,
    }
    body = json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode()
    return Batch(key, tuple(row.number for row in rows), body)


def row_of(row: Usage, store_id: bytes) -> dict[str, object]:
    """Return a row of usage as JSON says it.

    Args:
        row: of the outbox.
        store_id: of the job store, 16 bytes.
    """
    return {
        "id": f"{store_id.hex()}-{row.number}",
        "tenant": row.tenant,
        "job": row.job.hex(),
        "attempt": row.epoch,
        "model": row.model,
        "version": row.version,
        "input_tokens": row.position.input_tokens,
        "output_tokens": row.position.output_tokens,
        "output_bytes": row.position.output_bytes,
        "price_version": row.price_version,
        "cost_micros": row.cost_micros,
        "at": time_of(row.at_ms),
    }


def time_of(at_ms: int) -> str:
    """Write milliseconds since the Unix epoch as RFC 3339 in UTC, to the millisecond."""
    return (_EPOCH + timedelta(milliseconds=at_ms)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
