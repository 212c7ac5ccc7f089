"""Names of nodes.

A node id *is* its public key, written in lower-case base32 (RFC 4648) without padding, so that whoever has the name can
check a signature without asking anyone.
"""

import base64
import binascii

from tether import name as names
from tether.errors import Reason, TetherError

NODE_ID_CHARS = 52  # 32 bytes in base32 without padding
KEY_BYTES = 32  # Ed25519, RFC 8032


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


def require_slug(text: str, field: str) -> str:
    """`text`, where it is a slug: lower-case letters, digits, inner hyphens, 1 to 31 bytes.

    Raises:
        TetherError: INVALID_FIELD, naming `field`.
    """
    return names.region(text, field)
