"""A catalogue without a registry: tenants, keys and models as a test states them, nothing verified."""

from collections.abc import Sequence
from pathlib import Path

from tether.access import key
from tether.identity.role import Role
from tether.registry.catalogue import Catalogue
from tether.v1 import registry_pb2 as pb
from tether.v1.policy_pb2 import Policy, Price

NETWORK_ID = bytes(32)


class TrustAll:
    """A verifier that believes everything."""

    network_id = NETWORK_ID

    def signed(
        self, context: str, body: bytes, signed: bytes, credential: bytes, role: Role, now_s: float, /
    ) -> object:
        """Believe it."""
        return (context, body, signed, credential, role, now_s)


def token(seed: int) -> key.Token:
    """Return the same API key for the same seed."""
    return key.make(seed.to_bytes(key.ID_BYTES, "big") + seed.to_bytes(key.SECRET_BYTES, "big"))


def key_of(sent: key.Token, tenant_id: str) -> pb.Key:
    """Return what a registry keeps of an API key."""
    return pb.Key(name=sent.key_id, tenant_id=tenant_id, secret_sha256=key.secret_sha256(sent.secret))


def model_of(model_id: str, version: str = "1.0", **fields: object) -> pb.Model:
    """Return a published version with a made-up digest."""
    one = pb.Model(name=f"{model_id}:{version}", model_id=model_id, version=version, digest=bytes(32), **fields)  # type: ignore[arg-type]
    if not one.context_tokens:
        one.context_tokens = 256
    if not one.capabilities:
        one.capabilities.extend(["text", "chat"])
    return one


def snapshot_of(  # noqa: PLR0913 - one list for each thing that a snapshot carries
    revision: int,
    tenants: Sequence[pb.Tenant] = (),
    keys: Sequence[pb.Key] = (),
    models: Sequence[pb.Model] = (),
    network_id: bytes = NETWORK_ID,
    *,
    policies: Sequence[Policy] = (),
    prices: Sequence[Price] = (),
) -> pb.WatchSnapshotResponse:
    """Return an unsigned response of `WatchSnapshot`."""
    body = pb.Snapshot(network_id=network_id, revision=revision, tenants=tenants, keys=keys, models=models)
    body.policies.extend(policies)
    body.prices.extend(prices)
    return pb.WatchSnapshotResponse(snapshot=body.SerializeToString(), revision=revision)


def catalogue_of(  # noqa: PLR0913 - as above
    tenants: Sequence[pb.Tenant] = (),
    keys: Sequence[pb.Key] = (),
    models: Sequence[pb.Model] = (),
    *,
    policies: Sequence[Policy] = (),
    prices: Sequence[Price] = (),
    now_s: float = 0.0,
    folder: Path | None = None,
) -> Catalogue:
    """Return a catalogue that serves these."""
    catalogue = Catalogue(TrustAll(), NETWORK_ID, folder, serve_s=float("inf"))
    catalogue.apply(snapshot_of(1, tenants, keys, models, policies=policies, prices=prices), now_s)
    return catalogue
