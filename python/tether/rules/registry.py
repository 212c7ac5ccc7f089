"""Rules of what the registry is told: tenants, quotas, keys, policies, prices, blobs, pages."""

from google.protobuf.timestamp_pb2 import Timestamp

from tether import name
from tether.rules import check
from tether.v1 import registry_pb2

LABEL_BYTES_MAX = 127
PAGE_SIZE_MAX, PAGE_TOKEN_BYTES_MAX = 1_000, 512
QUOTA_MAX = (1 << 53) - 1  # what JSON numbers hold; 0 is no limit
QUOTA_FIELDS = (
    "requests_per_minute",
    "tokens_per_minute",
    "tokens_per_day",
    "concurrent_jobs",
    "spend_per_day_micros",
)
PRICE_MICROS_MAX = 10**9  # a unit per token; a day of 10^10 tokens then stays far under 2^63
POLICY_BYTES_MAX = 32_768  # what 64 rules with a few names each take; an editor's page, not a database
HASH_BYTES = 32
BLOB_BYTES_MAX = 1 << 40  # a guess: no single weights file known is near 1 TiB
MANIFEST_BYTES_MAX = 3_500_000  # under grpc's 4 MiB; lists 100 GiB of pieces


def check_create_tenant(request: registry_pb2.CreateTenantRequest) -> None:
    """Check a new tenant.

    Raises:
        TetherError: INVALID_FIELD.
    """
    name.tenant(request.tenant_id)
    check.text("display_name", request.display_name, LABEL_BYTES_MAX)
    check_quota(request.quota)


def check_quota(quota: registry_pb2.Quota) -> None:
    """Check a quota: each limit 0 (none) to 2^53-1.

    Raises:
        TetherError: INVALID_FIELD below `quota`.
    """
    for field in QUOTA_FIELDS:
        check.number(f"quota.{field}", getattr(quota, field), 0, QUOTA_MAX)


def check_create_key(request: registry_pb2.CreateKeyRequest, now_s: float) -> None:
    """Check a new key: its tenant's id, its label, and that it does not end before it begins.

    Raises:
        TetherError: INVALID_FIELD.
    """
    name.tenant(request.tenant_id)
    check.text("label", request.label, LABEL_BYTES_MAX)
    if request.HasField("expires_at"):
        check.holds("expires_at", ok=_seconds(request.expires_at) > now_s, found="past", rule="in the future")


def check_key_id(key_id: str) -> None:
    """Check the id of a key: 16 hex digits.

    Raises:
        TetherError: INVALID_FIELD at `key_id`.
    """
    check.holds("key_id", ok=name.is_key(key_id), found="no key id", rule="16 lower-case hex digits")


def check_set_policy(request: registry_pb2.SetPolicyRequest) -> None:
    """Check the outside of a policy; `tether.policy` checks what it says.

    Raises:
        TetherError: INVALID_FIELD.
    """
    if request.policy.tenant_id:
        name.tenant(request.policy.tenant_id, "policy.tenant_id")
    size = request.policy.ByteSize()
    check.holds("policy", ok=size <= POLICY_BYTES_MAX, found=f"{size} bytes", rule=f"at most {POLICY_BYTES_MAX} bytes")


def check_set_price(request: registry_pb2.SetPriceRequest) -> None:
    """Check a price: its model's name, and each part 0 to 10^9 micros per thousand tokens.

    Raises:
        TetherError: INVALID_FIELD below `price`.
    """
    name.model(request.price.model_id, "price.model_id")
    for field in ("input_micros", "output_micros"):
        check.number(f"price.{field}", getattr(request.price, field), 0, PRICE_MICROS_MAX)


def check_page(page_size: int, page_token: str) -> None:
    """Check what asks for a page.

    Raises:
        TetherError: INVALID_FIELD.
    """
    check.number("page_size", page_size, 0, PAGE_SIZE_MAX)
    check.text("page_token", page_token, PAGE_TOKEN_BYTES_MAX)


def check_publish(request: registry_pb2.PublishModelRequest) -> None:
    """Check the outside of a publication; `tether.artifact` checks the inside.

    Raises:
        TetherError: INVALID_FIELD.
    """
    size = len(request.manifest)
    check.holds(
        "manifest", ok=0 < size <= MANIFEST_BYTES_MAX, found=f"{size} bytes", rule=f"1 to {MANIFEST_BYTES_MAX} bytes"
    )
    if request.tier:
        check.holds("tier", ok=name.is_slug(request.tier), found="no slug", rule="a slug of at most 31 bytes")


def check_blob_hash(sha256: bytes) -> None:
    """Check a blob's name: 32 bytes.

    Raises:
        TetherError: INVALID_FIELD at `sha256`.
    """
    check.size("sha256", sha256, HASH_BYTES)


def check_read_blob(request: registry_pb2.ReadBlobRequest) -> None:
    """Check what asks for a range of a blob.

    Raises:
        TetherError: INVALID_FIELD.
    """
    check_blob_hash(request.sha256)
    check.number("offset", request.offset, 0, BLOB_BYTES_MAX)
    check.number("length", request.length, 0, BLOB_BYTES_MAX)


def _seconds(moment: Timestamp) -> float:
    return moment.seconds + moment.nanos / 1e9
