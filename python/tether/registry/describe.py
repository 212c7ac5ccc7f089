"""What a verified manifest means as a published version."""

from google.protobuf.timestamp_pb2 import Timestamp

from tether.artifact.manifest import Checked
from tether.v1 import registry_pb2 as pb

TIER = "standard"


def describe(checked: Checked, tier: str, now_s: float) -> pb.Model:
    """Return the version that a manifest describes, with its manifest.

    Args:
        checked: the manifest.
        tier: SLO class; empty is `standard`.
        now_s: when it is published, seconds since the Unix epoch.
    """
    body = checked.body
    created_at = Timestamp()
    created_at.FromMilliseconds(int(now_s * 1_000))
    return pb.Model(
        name=f"{body.model_id}:{body.version}",
        model_id=body.model_id,
        version=body.version,
        digest=checked.digest,
        manifest=checked.raw,
        defaults=body.defaults,
        context_tokens=body.context_tokens,
        requirements=body.requirements,
        capabilities=body.capabilities,
        tier=tier or TIER,
        created_at=created_at,
        total_bytes=checked.total_bytes,
        format=body.format,
    )
