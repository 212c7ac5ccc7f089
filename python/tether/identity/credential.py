"""Credentials: an issuer's signature that a node key may act in roles and regions until a date.

They are immutable and named by their hash, so a record needs to carry only 32 bytes of them.
"""

from collections.abc import Collection
from dataclasses import dataclass
from hashlib import sha256

from google.protobuf.message import DecodeError
from nacl.signing import SigningKey

from tether.errors import Reason, TetherError
from tether.identity import signature
from tether.identity.name import KEY_BYTES, node_id, require_slug
from tether.identity.role import Role, known_roles
from tether.identity.root import Issuer, Root
from tether.identity.verified import CLOCK_TOLERANCE_S, Verified
from tether.name import is_slug
from tether.v1 import identity_pb2

CREDENTIAL_BYTES_MAX = 600  # it travels beside records in datagrams: overlay.md §2
LABEL_BYTES_MAX = 63  # as the proto says
SERIAL_BYTES = 8  # as the proto says


@dataclass(frozen=True, slots=True)
class Grant:
    """What a credential is to say.

    Attributes:
        node_key: Ed25519 public key of the node, 32 bytes.
        roles: 1 to 8 roles.
        regions: regions; empty for all.
        label: name for people, at most 63 bytes.
        issued_at_s: seconds since the Unix epoch.
        expires_at_s: seconds since the Unix epoch.
        serial: 8 random bytes.
    """

    node_key: bytes
    roles: Collection[Role]
    regions: Collection[str]
    label: str
    issued_at_s: int
    expires_at_s: int
    serial: bytes


def make_credential(network_id: bytes, issuer_key: SigningKey, grant: Grant) -> bytes:
    """Sign a credential; serialized, at most 600 bytes.

    Raises:
        TetherError: INVALID_FIELD where the grant breaks a rule.
    """
    _check_grant(grant)
    body = identity_pb2.CredentialBody(
        network_id=network_id,
        node_key=grant.node_key,
        roles=[role.wire for role in sorted(set(grant.roles))],
        regions=sorted(set(grant.regions)),
        issuer_key=bytes(issuer_key.verify_key),
        issued_at_s=grant.issued_at_s,
        expires_at_s=grant.expires_at_s,
        serial=grant.serial,
        label=grant.label,
    ).SerializeToString(deterministic=True)
    signed = signature.sign(issuer_key, signature.CREDENTIAL, body)
    raw = identity_pb2.Credential(body=body, signature=signed).SerializeToString()
    if len(raw) > CREDENTIAL_BYTES_MAX:
        text = f"The credential has {len(raw)} bytes, over {CREDENTIAL_BYTES_MAX}: name fewer regions, or none for all."
        raise TetherError(Reason.INVALID_FIELD, text, field="regions")
    return raw


def _check_grant(grant: Grant) -> None:
    if len(grant.node_key) != KEY_BYTES or len(grant.serial) != SERIAL_BYTES:
        raise TetherError(Reason.INVALID_FIELD, "Node key or serial has a wrong length.", field="node_key")
    if not grant.roles:
        raise TetherError(Reason.INVALID_FIELD, "A credential needs at least one role.", field="roles")
    for region in grant.regions:
        require_slug(region, "region")
    if len(grant.label.encode()) > LABEL_BYTES_MAX:
        raise TetherError(Reason.INVALID_FIELD, f"label is over {LABEL_BYTES_MAX} bytes.", field="label")
    if grant.expires_at_s <= grant.issued_at_s:
        raise TetherError(Reason.INVALID_FIELD, "A credential must last for some time.", field="ttl")


def check_credential(root: Root, raw: bytes, now_s: float) -> Verified:
    """Check a serialized credential against the network's root.

    Raises:
        TetherError: NODE_TOKEN_INVALID, saying what does not hold.
    """
    credential, body = _parse(raw)
    if body.network_id != root.network_id:
        raise invalid("belongs to another network")
    issuer = root.issuer(body.issuer_key)
    if issuer is None:
        raise invalid("is of an issuer that the root does not name")
    verified = Verified(
        node_id=node_id(body.node_key),
        node_key=body.node_key,
        roles=known_roles(body.roles),
        regions=frozenset(body.regions),
        issued_at_s=body.issued_at_s,
        expires_at_s=body.expires_at_s,
        hash=sha256(raw).digest(),
        label=body.label,
    )
    _check_scope(issuer, verified)
    _check_dates(issuer, verified, now_s)
    if not signature.holds(issuer.public_key, signature.CREDENTIAL, credential.body, credential.signature):
        raise invalid("has a signature that does not hold")
    return verified


def _parse(raw: bytes) -> tuple[identity_pb2.Credential, identity_pb2.CredentialBody]:
    if not 0 < len(raw) <= CREDENTIAL_BYTES_MAX:
        raise invalid(f"must have 1 to {CREDENTIAL_BYTES_MAX} bytes")
    try:
        credential = identity_pb2.Credential.FromString(raw)
        body = identity_pb2.CredentialBody.FromString(credential.body)
    except DecodeError as error:
        raise invalid("is malformed") from error
    if len(body.node_key) != KEY_BYTES or not body.roles:
        raise invalid("lacks a node key or a role")
    if not all(is_slug(region) for region in body.regions):
        raise invalid("has a region that is no slug")
    return credential, body


def _check_scope(issuer: Issuer, verified: Verified) -> None:
    if not verified.roles or not verified.roles <= issuer.roles:
        raise invalid("has roles that its issuer may not give")
    if issuer.regions and not (verified.regions and verified.regions <= issuer.regions):
        raise invalid("has regions that its issuer may not give")


def _check_dates(issuer: Issuer, verified: Verified, now_s: float) -> None:
    """Pass where credential and issuer hold at `now_s`, give or take the clock tolerance."""
    if verified.expired(now_s):
        raise invalid("is expired")
    if verified.issued_at_s > now_s + CLOCK_TOLERANCE_S:
        raise invalid("is not valid yet")
    if now_s > issuer.expires_at_s + CLOCK_TOLERANCE_S:
        raise invalid("is of an issuer that is expired")


def invalid(what: str) -> TetherError:
    """NODE_TOKEN_INVALID that says what is wrong with a credential."""
    return TetherError(Reason.NODE_TOKEN_INVALID, f"The credential {what}.")
