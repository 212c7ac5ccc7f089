"""API keys: an id that anyone may see, and a secret that only its holder has.

A token is `tk_<id>_<secret>`. The secret holds 256 random bits, so that a plain SHA-256 of it can neither be searched
nor reversed; a slow password hash would only cost time on every request. Comparisons take the same time whether the key
exists or not.
Source: RFC 4648 §5 for the secret's alphabet; RFC 6750 for the bearer scheme.
"""

import base64
import hashlib
import hmac
import re
from dataclasses import dataclass

from tether.errors import Reason, TetherError

ID_BYTES = 8
SECRET_BYTES = 32
RANDOM_BYTES = ID_BYTES + SECRET_BYTES
TOKEN_CHARS = 3 + 16 + 1 + 43  # `tk_`, the id in hex, `_`, the secret in base64url without padding

_TOKEN = re.compile(r"tk_([0-9a-f]{16})_([A-Za-z0-9_-]{43})")
_ABSENT = bytes(32)  # compared in place of the hash of a key that does not exist
_SCHEME = "bearer"


@dataclass(frozen=True, slots=True)
class Token:
    """A parsed API key.

    Attributes:
        key_id: 16 lower-case hex digits.
        secret: 43 characters; never logged, hence not in `repr`.
    """

    key_id: str
    secret: str

    def __repr__(self) -> str:
        return f"Token(key_id={self.key_id!r})"

    def text(self) -> str:
        """Return what clients send."""
        return f"tk_{self.key_id}_{self.secret}"


def make(random_bytes: bytes) -> Token:
    """Make a key from 40 random bytes.

    Raises:
        ValueError: they are not 40.
    """
    if len(random_bytes) != RANDOM_BYTES:
        raise ValueError(f"a key takes {RANDOM_BYTES} random bytes, not {len(random_bytes)}")
    secret = base64.urlsafe_b64encode(random_bytes[ID_BYTES:]).decode().rstrip("=")
    return Token(random_bytes[:ID_BYTES].hex(), secret)


def parse(text: str) -> Token:
    """Parse what a client sent.

    Raises:
        TetherError: KEY_MISSING where it is empty, KEY_INVALID where it is no key.
    """
    if not text:
        raise missing()
    found = _TOKEN.fullmatch(text) if len(text) == TOKEN_CHARS else None
    if found is None:
        raise invalid()
    return Token(found[1], found[2])


def from_header(value: str | None) -> str:
    """Return the token of an `authorization` header or metadata value.

    Raises:
        TetherError: KEY_MISSING where there is none, KEY_INVALID where the scheme is another.
    """
    if not value or not value.strip():
        raise missing()
    scheme, _, token = value.strip().partition(" ")
    if scheme.lower() != _SCHEME:
        raise invalid()
    if not token.strip():
        raise missing()
    return token.strip()


def secret_sha256(secret: str) -> bytes:
    """Return what is kept of a secret, 32 bytes."""
    return hashlib.sha256(secret.encode()).digest()


def matches(secret: str, sha256: bytes | None) -> bool:
    """Tell in constant time whether `secret` has this hash; `None` is a key that does not exist."""
    equal = hmac.compare_digest(secret_sha256(secret), _ABSENT if sha256 is None else sha256)
    return equal and sha256 is not None


def missing() -> TetherError:
    """Return the error of a call without a key."""
    return TetherError(Reason.KEY_MISSING, "The call has no API key.")


def invalid() -> TetherError:
    """Return the error of every key that does not hold: one answer, so that it tells nothing about the key."""
    return TetherError(Reason.KEY_INVALID, "The API key is wrong, revoked or expired.")
