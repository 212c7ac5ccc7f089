"""Signing and checking under a context.

Each kind of signed body has its own context, put before the body with a zero byte, so that a signature over one kind
never holds for another. Source: RFC 8032 (Ed25519); the separation follows its §8.3.
"""

from collections.abc import Callable, Sequence
from typing import Final

from nacl.exceptions import CryptoError
from nacl.signing import SigningKey, VerifyKey

from tether import _native

ROOT: Final = "tether/root/v1"
CREDENTIAL: Final = "tether/credential/v1"
TOKEN: Final = "tether/token/v1"  # noqa: S105  # a context, no secret
RECORD: Final = "tether/record/v1"
TICKET: Final = "tether/ticket/v1"
RECEIPT: Final = "tether/receipt/v1"
MANIFEST: Final = "tether/manifest/v1"
SNAPSHOT: Final = "tether/snapshot/v1"
SIGNATURE_BYTES = 64  # RFC 8032
KEY_BYTES = 32  # RFC 8032


def message(context: str, body: bytes) -> bytes:
    """What is signed: the context, a zero byte, the body."""
    return context.encode("ascii") + b"\0" + body


def sign(key: SigningKey, context: str, body: bytes) -> bytes:
    """Signature (64 bytes) of `body` under `context`."""
    return bytes(key.sign(message(context, body)).signature)


def holds(public_key: bytes, context: str, body: bytes, signature: bytes) -> bool:
    """Whether `signature` is that key's over `body` under `context`, by the strict rules for access decisions."""
    if len(public_key) != KEY_BYTES or len(signature) != SIGNATURE_BYTES:
        return False
    return _strict(public_key, message(context, body), signature)


def bad_ones(batch: Sequence[tuple[bytes, bytes, bytes]]) -> set[int]:
    """Indices of the (key, message, signature) that do not hold; one native call for all."""
    sized = [i for i, (key, _, signature) in enumerate(batch) if len(key) == KEY_BYTES and len(signature) == 64]
    bad = set(range(len(batch))) - set(sized)
    return bad | {sized[i] for i in _native.bad_indices([batch[i] for i in sized])}


def _nacl_strict(public_key: bytes, text: bytes, signature: bytes) -> bool:
    """The same by libsodium, which refuses small-order and non-canonical points too."""
    try:
        VerifyKey(public_key).verify(text, signature)
    except CryptoError:
        return False
    return True


_strict: Callable[[bytes, bytes, bytes], bool] = getattr(_native, "verify_strict", _nacl_strict)
