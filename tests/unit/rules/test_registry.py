"""Every rule on what the registry is told."""

from collections.abc import Callable

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from tether import rules
from tether.errors import Reason, TetherError
from tether.v1 import registry_pb2 as pb

NOW_S = 1_000.0


@pytest.mark.parametrize(
    ("path", "call"),
    [
        ("tenant_id", lambda: rules.check_create_tenant(pb.CreateTenantRequest(tenant_id="A"))),
        ("tenant_id", lambda: rules.check_create_tenant(pb.CreateTenantRequest())),
        (
            "display_name",
            lambda: rules.check_create_tenant(pb.CreateTenantRequest(tenant_id="a", display_name="n" * 128)),
        ),
        ("display_name", lambda: rules.check_create_tenant(pb.CreateTenantRequest(tenant_id="a", display_name="a\0b"))),
        ("quota.tokens_per_day", lambda: rules.check_quota(pb.Quota(tokens_per_day=2**53))),
        ("quota.requests_per_minute", lambda: rules.check_quota(pb.Quota(requests_per_minute=2**64 - 1))),
        ("label", lambda: rules.check_create_key(pb.CreateKeyRequest(tenant_id="a", label="n" * 128), NOW_S)),
        ("tenant_id", lambda: rules.check_create_key(pb.CreateKeyRequest(), NOW_S)),
        (
            "expires_at",
            lambda: rules.check_create_key(
                pb.CreateKeyRequest(tenant_id="a", expires_at=Timestamp(seconds=999)), NOW_S
            ),
        ),
        ("key_id", lambda: rules.check_key_id("xyz")),
        ("key_id", lambda: rules.check_key_id("A" * 16)),
        ("page_size", lambda: rules.check_page(1_001, "")),
        ("page_token", lambda: rules.check_page(1, "t" * 513)),
        ("manifest", lambda: rules.check_publish(pb.PublishModelRequest())),
        ("manifest", lambda: rules.check_publish(pb.PublishModelRequest(manifest=bytes(3_500_001)))),
        ("tier", lambda: rules.check_publish(pb.PublishModelRequest(manifest=b"m", tier="Gold!"))),
        ("sha256", lambda: rules.check_blob_hash(b"short")),
        ("sha256", lambda: rules.check_read_blob(pb.ReadBlobRequest(sha256=b"short"))),
        ("offset", lambda: rules.check_read_blob(pb.ReadBlobRequest(sha256=bytes(32), offset=2**41))),
        ("length", lambda: rules.check_read_blob(pb.ReadBlobRequest(sha256=bytes(32), length=2**41))),
    ],
)
def test_request_that_breaks_a_rule_is_refused_at_its_field(path: str, call: Callable[[], None]) -> None:
    with pytest.raises(TetherError) as caught:
        call()
    assert (caught.value.reason, caught.value.field) == (Reason.INVALID_FIELD, path)


def test_requests_at_the_edge_of_the_rules_pass() -> None:
    rules.check_create_tenant(pb.CreateTenantRequest(tenant_id="a" * 63, display_name="n" * 127))
    rules.check_quota(pb.Quota(tokens_per_day=2**53 - 1))
    rules.check_create_key(pb.CreateKeyRequest(tenant_id="a", expires_at=Timestamp(seconds=1_001)), NOW_S)
    rules.check_create_key(pb.CreateKeyRequest(tenant_id="a"), NOW_S)
    rules.check_key_id("0123456789abcdef")
    rules.check_page(1_000, "t" * 512)
    rules.check_publish(pb.PublishModelRequest(manifest=b"m", tier="standard"))
    rules.check_read_blob(pb.ReadBlobRequest(sha256=bytes(32)))
