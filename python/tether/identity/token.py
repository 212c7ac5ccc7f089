"""Node tokens: a caller's proof of itself to one receiver, for at most a minute.

The audience keeps a receiver from using a caller's token elsewhere; the short life bounds what a stolen one is worth.
"""

import base64
import binascii
from dataclasses import dataclass
from hashlib import sha256

from google.protobuf.message import DecodeError
from nacl.signing import SigningKey

from tether.errors import Reason, TetherError
from tether.identity import signature
from tether.v1 import identity_pb2

TOKEN_LIFE_MS = 60_000  # longest that a receiver accepts: identity.proto
TOKEN_BYTES_MAX = 1_024  # body, signature and a credential of 600 bytes fit
CLOCK_TOLERANCE_MS = 30_000  # wall clocks of honest nodes may differ by this much: overlay.md §2
NONCE_BYTES = 16  # as the proto says
SCHEME = "Tether-Node "


@dataclass(frozen=True, slots=True)
class Token:
    """A token that was read, not yet trusted."""

    body: bytes
    signature: bytes
    credential: bytes
    audience: str
    expires_at_ms: int


def make_token(key: SigningKey, credential: bytes, audience: str, expires_at_ms: int, nonce: bytes) -> bytes:
    """Sign a token; serialized NodeToken."""
    body = identity_pb2.NodeTokenBody(
        credential_hash=sha256(credential).digest(), audience=audience, expires_at_ms=expires_at_ms, nonce=nonce
    ).SerializeToString()
    signed = signature.sign(key, signature.TOKEN, body)
    return identity_pb2.NodeToken(body=body, signature=signed, credential=credential).SerializeToString()


def read_token(raw: bytes) -> Token:
    """Parse a serialized NodeToken.

    Raises:
        TetherError: NODE_TOKEN_INVALID where it is malformed.
    """
    if not 0 < len(raw) <= TOKEN_BYTES_MAX:
        raise invalid_token(f"must have 1 to {TOKEN_BYTES_MAX} bytes")
    try:
        token = identity_pb2.NodeToken.FromString(raw)
        body = identity_pb2.NodeTokenBody.FromString(token.body)
    except DecodeError as error:
        raise invalid_token("is malformed") from error
    if body.credential_hash != sha256(token.credential).digest():
        raise invalid_token("names another credential than it carries")
    return Token(token.body, token.signature, token.credential, body.audience, body.expires_at_ms)


def check_use(audience: str, expires_at_ms: int, me: str, now_ms: int) -> None:
    """Pass where a token is for this receiver and its time is now.

    Raises:
        TetherError: NODE_TOKEN_INVALID.
    """
    if audience != me:
        raise invalid_token("is for another node")
    if now_ms > expires_at_ms + CLOCK_TOLERANCE_MS:
        raise invalid_token("is expired")
    if expires_at_ms > now_ms + TOKEN_LIFE_MS + CLOCK_TOLERANCE_MS:
        raise invalid_token("lasts too long")


def to_header(raw: bytes) -> str:
    """Value of the `authorization` metadata that carries a token."""
    return SCHEME + base64.urlsafe_b64encode(raw).decode("ascii").rstrip("=")


def from_header(value: str) -> bytes:
    """Token of an `authorization` value.

    Raises:
        TetherError: NODE_TOKEN_INVALID where it carries none.
    """
    text = value[len(SCHEME) :].strip()
    if not value.startswith(SCHEME) or len(text) > 2 * TOKEN_BYTES_MAX:
        raise invalid_token("is missing from `authorization: Tether-Node …`")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise invalid_token("is not base64url") from error


def invalid_token(what: str) -> TetherError:
    """NODE_TOKEN_INVALID that says what is wrong with a token."""
    return TetherError(Reason.NODE_TOKEN_INVALID, f"The node token {what}.")
