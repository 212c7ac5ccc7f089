"""The root document: which issuers a network trusts.

The network's id is the hash of its first root document, so nobody can take its name with other keys. Source: TUF's root
metadata, cut down. Version 1 only: later versions come with key rotation and are refused until then.
"""

from dataclasses import dataclass
from hashlib import sha256

from google.protobuf.message import DecodeError

from tether.errors import Reason, TetherError
from tether.identity import signature
from tether.identity.role import Role, known_roles
from tether.name import is_slug
from tether.v1 import identity_pb2

ROOT_BYTES_MAX = 16_384  # 16 issuers with 64 regions each fit
ROOT_KEYS_MAX = 5  # as the proto says
ISSUERS_MAX = 16  # as the proto says


@dataclass(frozen=True, slots=True)
class Issuer:
    """A key that may sign credentials, and which."""

    public_key: bytes
    roles: frozenset[Role]
    regions: frozenset[str]
    expires_at_s: int


@dataclass(frozen=True, slots=True)
class Root:
    """A root document that was checked."""

    name: str
    network_id: bytes
    issuers: tuple[Issuer, ...]

    def issuer(self, public_key: bytes) -> Issuer | None:
        """The issuer with that key, if the root names one."""
        return next((issuer for issuer in self.issuers if issuer.public_key == public_key), None)


def read_root(raw: bytes) -> Root:
    """Check a serialized RootDocument.

    Raises:
        TetherError: STATE_UNUSABLE where it is malformed, unsigned or newer than this version.
    """
    document, body = _parse(raw)
    _check_body(body)
    _check_signatures(document, body)
    issuers = tuple(
        Issuer(i.public_key, known_roles(i.roles), frozenset(i.regions), i.expires_at_s) for i in body.issuers
    )
    return Root(body.name, sha256(document.body).digest(), issuers)


def _parse(raw: bytes) -> tuple[identity_pb2.RootDocument, identity_pb2.RootBody]:
    if len(raw) > ROOT_BYTES_MAX:
        raise _unusable(f"is over {ROOT_BYTES_MAX} bytes")
    try:
        document = identity_pb2.RootDocument.FromString(raw)
        return document, identity_pb2.RootBody.FromString(document.body)
    except DecodeError as error:
        raise _unusable("is malformed") from error


def _check_body(body: identity_pb2.RootBody) -> None:
    if body.version != 1 or body.previous:
        raise _unusable(f"has version {body.version}; this program knows version 1")
    if not is_slug(body.name):
        raise _unusable("has no valid name")
    if not 1 <= len(body.root_keys) <= ROOT_KEYS_MAX or not 1 <= len(body.issuers) <= ISSUERS_MAX:
        raise _unusable("has a wrong number of keys or issuers")


def _check_signatures(document: identity_pb2.RootDocument, body: identity_pb2.RootBody) -> None:
    given = {s.public_key: s.signature for s in document.signatures}
    for key in body.root_keys:
        if not signature.holds(key, signature.ROOT, document.body, given.get(key, b"")):
            raise _unusable("lacks a valid signature of a root key")


def _unusable(what: str) -> TetherError:
    return TetherError(Reason.STATE_UNUSABLE, f"The root document {what}.")
