"""The manifest: a signed list of files, and the rules that make one acceptable.

The body is signed and hashed as bytes, never serialized again, so that what was checked is what is used. Its digest is
the model's name everywhere.
Source: TUF's targets metadata, in one role; FIPS 180-4.
"""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from google.protobuf.message import DecodeError

from tether import name
from tether.artifact.digest import SHA256_BYTES, pieces_of
from tether.artifact.path import check_kind, check_paths
from tether.errors import Reason, TetherError
from tether.identity.role import Role
from tether.identity.signature import MANIFEST
from tether.rules.registry import MANIFEST_BYTES_MAX
from tether.v1 import registry_pb2 as pb
from tether.v1.infer_pb2 import Infer

FILES_MAX = 1_024  # as the proto says
LICENCE_BYTES_MAX = 64  # as the proto says
CAPABILITIES = frozenset(
    {"text", "chat", "tensors", "embeddings", "sealed", "choices", "logprobs", "response-format", "tools", "adapters"}
)
_SIGNERS = (Role.PUBLISHER, Role.OPERATOR)

M = TypeVar("M")


@dataclass(frozen=True, slots=True)
class Limits:
    """How large an artifact may be.

    Attributes:
        blob_bytes_max: one file.
        artifact_bytes_max: all files together.
    """

    blob_bytes_max: int = 64 << 30  # a shard of the largest open models is under 10 GB
    artifact_bytes_max: int = 100 << 30  # what a manifest of 3.5 MB can list


@dataclass(frozen=True, slots=True)
class Facts:
    """What a manifest says besides its files; fields as in `ManifestBody`."""

    model_id: str
    version: str
    format: str
    context_tokens: int = 0
    defaults: Infer.Parameters = field(default_factory=Infer.Parameters)
    requirements: pb.Requirements = field(default_factory=pb.Requirements)
    capabilities: tuple[str, ...] = ()
    licence: str = ""


class Signer(Protocol):
    """What signing needs of `tether.identity.Identity`."""

    @property
    def network_id(self) -> bytes:
        """The signer's network, 32 bytes."""

    @property
    def credential(self) -> bytes:
        """The signer's serialized credential."""

    def sign(self, context: str, body: bytes) -> bytes:
        """Return a signature, 64 bytes."""


class Verifier(Protocol):
    """What verifying needs of `tether.identity.Trust`."""

    @property
    def network_id(self) -> bytes:
        """The network, 32 bytes."""

    def signed(
        self, context: str, body: bytes, signed: bytes, credential: bytes, role: Role, now_s: float, /
    ) -> object:
        """Return who signed; TetherError where it does not hold."""


@dataclass(frozen=True, slots=True)
class Checked:
    """A manifest whose signature and content hold.

    Attributes:
        digest: SHA-256 of the body, 32 bytes.
        body: what it says.
        raw: the serialized Manifest.
    """

    digest: bytes
    body: pb.ManifestBody
    raw: bytes

    @property
    def total_bytes(self) -> int:
        """Bytes of all files."""
        return sum(one.size_bytes for one in self.body.files)


def make_body(facts: Facts, files: Iterable[pb.ManifestFile], network_id: bytes, now_s: float) -> pb.ManifestBody:
    """Make a manifest's body; files are sorted by path, so that equal folders make equal lists."""
    return pb.ManifestBody(
        network_id=network_id,
        model_id=facts.model_id,
        version=facts.version,
        format=facts.format,
        files=sorted(files, key=lambda one: one.path),
        defaults=facts.defaults,
        context_tokens=facts.context_tokens,
        requirements=facts.requirements,
        capabilities=facts.capabilities,
        licence=facts.licence,
        created_at_s=int(now_s),
        sequence=int(now_s),
    )


def sign(body: pb.ManifestBody, signer: Signer) -> bytes:
    """Return the serialized, signed Manifest."""
    raw = body.SerializeToString(deterministic=True)
    signed = pb.Manifest(body=raw, signature=signer.sign(MANIFEST, raw), credential=signer.credential)
    return signed.SerializeToString()


def same_content(one: pb.ManifestBody, other: pb.ManifestBody) -> bool:
    """Tell whether two bodies list the same model, whenever each was made."""
    return _timeless(one) == _timeless(other)


def verify(raw: bytes, trust: Verifier, limits: Limits, now_s: float | None = None) -> Checked:
    """Check a serialized Manifest: signature, signer, network, dates and every rule on its content.

    Args:
        raw: serialized Manifest.
        trust: what the network trusts.
        limits: how large it may be.
        now_s: seconds since the Unix epoch at which signer and dates must hold. None takes the time that the manifest
            itself names: for a manifest whose digest a verified snapshot lists, since the registry checked it when it
            was new, and a model outlives its publisher's credential.

    Raises:
        TetherError: ARTIFACT_UNTRUSTED, MALFORMED, TOO_LARGE, INVALID_FIELD, UNSUPPORTED.
    """
    if len(raw) > MANIFEST_BYTES_MAX:
        raise TetherError(Reason.TOO_LARGE, f"The manifest has {len(raw)} bytes; {MANIFEST_BYTES_MAX} are the limit.")
    manifest = _parsed(pb.Manifest.FromString, raw)
    body = _parsed(pb.ManifestBody.FromString, manifest.body)
    at_s = body.created_at_s if now_s is None else now_s
    _check_signer(manifest, trust, at_s)
    if body.network_id != trust.network_id:
        raise _untrusted("is of another network")
    if body.expires_at_s and body.expires_at_s <= at_s:
        raise _untrusted("is expired")
    check_body(body, limits)
    return Checked(hashlib.sha256(manifest.body).digest(), body, raw)


def check_body(body: pb.ManifestBody, limits: Limits) -> None:
    """Pass where a body keeps every rule.

    Raises:
        TetherError: INVALID_FIELD, UNSUPPORTED, TOO_LARGE.
    """
    name.model(body.model_id)
    name.version(body.version)
    if not 1 <= len(body.files) <= FILES_MAX:
        raise _invalid("files", f"are {len(body.files)}; 1 to {FILES_MAX} are allowed")
    if len(body.licence) > LICENCE_BYTES_MAX:
        raise _invalid("licence", f"is over {LICENCE_BYTES_MAX} bytes")
    unknown = sorted(set(body.capabilities) - CAPABILITIES)
    if unknown or not body.capabilities:
        raise _invalid("capabilities", f"must be some of {', '.join(sorted(CAPABILITIES))}")
    check_paths(one.path for one in body.files)
    for one in body.files:
        check_kind(body.format, one.path)
        _check_file(one, limits)
    if sum(one.size_bytes for one in body.files) > limits.artifact_bytes_max:
        raise TetherError(Reason.TOO_LARGE, f"The files are over {limits.artifact_bytes_max} bytes together.")


def _check_file(one: pb.ManifestFile, limits: Limits) -> None:
    if one.size_bytes > limits.blob_bytes_max:
        raise TetherError(Reason.TOO_LARGE, f"{one.path} has {one.size_bytes} bytes; {limits.blob_bytes_max} may be.")
    if len(one.sha256) != SHA256_BYTES:
        raise _invalid("files.sha256", f"of {one.path} is not {SHA256_BYTES} bytes")
    if len(one.piece_sha256) != SHA256_BYTES * pieces_of(one.size_bytes):
        raise _invalid("files.piece_sha256", f"of {one.path} does not fit its size")


def _check_signer(manifest: pb.Manifest, trust: Verifier, at_s: float) -> None:
    """Pass where a publisher or an operator of the network signed."""
    refusals = []
    for role in _SIGNERS:
        try:
            trust.signed(MANIFEST, manifest.body, manifest.signature, manifest.credential, role, at_s)
        except TetherError as error:
            refusals.append(error)
        else:
            return
    why = refusals[0].message.rstrip(".")
    raise _untrusted(f"is not signed by a publisher of this network: {why}") from refusals[0]


def _parsed(parse: Callable[[bytes], M], raw: bytes) -> M:
    try:
        return parse(raw)
    except DecodeError as error:
        raise TetherError(Reason.MALFORMED, "The manifest is no valid message.") from error


def _timeless(body: pb.ManifestBody) -> bytes:
    """Return a body's bytes without what tells when it was made."""
    copy = pb.ManifestBody()
    copy.CopyFrom(body)
    copy.created_at_s = copy.expires_at_s = copy.sequence = 0
    return copy.SerializeToString(deterministic=True)


def _untrusted(what: str) -> TetherError:
    return TetherError(Reason.ARTIFACT_UNTRUSTED, f"The manifest {what}.")


def _invalid(where: str, what: str) -> TetherError:
    return TetherError(Reason.INVALID_FIELD, f"The manifest's {where} {what}.", field=f"manifest.{where}")
