"""The rules that the contract's comments state, as one pure module that gateway, registry and workers share.

Each check takes a message and raises a `TetherError` that names the field at fault and what is allowed; it changes
nothing and looks at no clock.
Source: `proto/tether/v1/infer.proto`, `placement.proto`, `registry.proto`.
"""

from tether.rules.content import check_input
from tether.rules.registry import (
    check_blob_hash,
    check_create_key,
    check_create_tenant,
    check_key_id,
    check_page,
    check_publish,
    check_quota,
    check_read_blob,
)
from tether.rules.request import (
    TEXT_LIMITS,
    InputKind,
    Limits,
    check_cut,
    check_header,
    check_job_name,
    check_place,
    check_request,
    check_supported,
)

__all__ = [
    "TEXT_LIMITS",
    "InputKind",
    "Limits",
    "check_blob_hash",
    "check_create_key",
    "check_create_tenant",
    "check_cut",
    "check_header",
    "check_input",
    "check_job_name",
    "check_key_id",
    "check_page",
    "check_place",
    "check_publish",
    "check_quota",
    "check_read_blob",
    "check_request",
    "check_supported",
]
