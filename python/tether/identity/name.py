"""Names of nodes and regions.

A node id *is* its public key, written in lower-case base32 (RFC 4648) without padding, so that whoever has the name can
check a signature without asking anyone.
"""

import base64
import binascii
import re

from tether.errors import Reason, TetherError

NODE_ID_CHARS = 52  # 32 bytes in base32 without padding
KEY_BYTES = 32  # Ed25519, RFC 8032
SLUG_BYTES_MAX = 31  # as the proto's comments say for regions and network names
_SLUG = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,29}[a-z0-9])?")


def node_id(public_key: bytes) -> str:
    """Node id of an Ed25519 public key (32 bytes): 52 characters.

    Raises:
        TetherError: MALFORMED where the key has another length.
    """
    if len(public_key) != KEY_BYTES:
        raise TetherError(Reason.MALFORMED, f"A node key has {KEY_BYTES} bytes, not {len(public_key)}.")
    return base64.b32encode(public_key).decode("ascii").rstrip("=").lower()


def node_key(name: str) -> bytes:
    """Public key (32 bytes) of a node id.

    Raises:
        TetherError: MALFORMED where `name` is no node id in its one canonical form.
    """
    if len(name) == NODE_ID_CHARS and name.isascii() and name == name.lower():
        try:
            key = base64.b32decode(name.upper() + "====")
        except binascii.Error as error:
            raise TetherError(Reason.MALFORMED, "The node id is not base32.") from error
        if node_id(key) == name:
            return key
    raise TetherError(Reason.MALFORMED, "The node id is not 52 characters of lower-case base32.")


def is_slug(text: str) -> bool:
    """Whether `text` is a slug: lower-case letters, digits, inner hyphens, 1 to 31 bytes."""
    return _SLUG.fullmatch(text) is not None


def require_slug(text: str, field: str) -> str:
    """`text`, where it is a slug.

    Raises:
        TetherError: INVALID_FIELD, naming `field`.
    """
    if not is_slug(text):
        rule = f"lower-case letters, digits and inner hyphens, 1 to {SLUG_BYTES_MAX} characters"
        raise TetherError(Reason.INVALID_FIELD, f"{field} must be {rule}.", field=field)
    return text
