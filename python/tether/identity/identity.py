"""A node's identity: its key, its credential, its network, and the number of its present life."""

import secrets
from hashlib import sha256
from pathlib import Path

from google.protobuf.message import DecodeError
from nacl.signing import SigningKey

from tether.errors import Reason, TetherError
from tether.identity import files, signature
from tether.identity.credential import CREDENTIAL_BYTES_MAX
from tether.identity.lru import Lru
from tether.identity.name import KEY_BYTES, node_id
from tether.identity.token import NONCE_BYTES, TOKEN_LIFE_MS, make_token
from tether.identity.trust import Trust
from tether.v1 import identity_pb2

AUDIENCES_MAX = 1_024  # receivers whose token is kept; a gateway's workers and services
INCARNATION_BYTES_MAX = 20  # digits of 2**64


class Identity:
    """Who this process is on the network. The key is never shown, logged or pickled.

    Args:
        key: the node's Ed25519 key.
        credential: its serialized credential.
        network_id: SHA-256 of the network's first root document, 32 bytes.
        incarnation: number of this life, from 1.
    """

    def __init__(self, key: SigningKey, credential: bytes, network_id: bytes, incarnation: int) -> None:
        self._key = key
        self.public_key = bytes(key.verify_key)
        self.node_id = node_id(self.public_key)
        self.credential = credential
        self.credential_hash = sha256(credential).digest()
        self.network_id = network_id
        self.incarnation = incarnation
        self._tokens: Lru[str, tuple[int, bytes]] = Lru(AUDIENCES_MAX)

    @classmethod
    def load(cls, folder: Path) -> "Identity":
        """Read a node's folder and begin a new life in it.

        The new incarnation is on disk before this returns, so no two lives share a number.

        Raises:
            TetherError: STATE_UNUSABLE where the folder is incomplete, damaged, foreign or read-only.
        """
        key = SigningKey(files.read_secret(folder / files.NODE_KEY, KEY_BYTES))
        credential = files.read(folder / files.CREDENTIAL, CREDENTIAL_BYTES_MAX)
        trust = Trust.load(folder)
        _check_owner(folder, key, credential, trust.network_id)
        return cls(key, credential, trust.network_id, _count_up(folder / files.INCARNATION))

    def sign(self, context: str, body: bytes) -> bytes:
        """Signature (64 bytes) of `body` under `context`."""
        return signature.sign(self._key, context, body)

    def token(self, audience: str, now_ms: int) -> bytes:
        """A serialized NodeToken for the node `audience`; the same one for half of its life."""
        kept = self._tokens.get(audience)
        if kept is not None and TOKEN_LIFE_MS // 2 < kept[0] - now_ms <= TOKEN_LIFE_MS:  # else old, or the clock jumped
            return kept[1]
        expires_at_ms = now_ms + TOKEN_LIFE_MS
        raw = make_token(self._key, self.credential, audience, expires_at_ms, secrets.token_bytes(NONCE_BYTES))
        self._tokens.put(audience, (expires_at_ms, raw))
        return raw

    def __repr__(self) -> str:
        return f"Identity({self.node_id}, incarnation {self.incarnation})"

    def __reduce__(self) -> str:
        raise TypeError("an identity holds a private key and is not pickled")


def _check_owner(folder: Path, key: SigningKey, credential: bytes, network_id: bytes) -> None:
    """Refuse a credential of another key or network at the start, not at the first call."""
    body = identity_pb2.CredentialBody()
    try:
        body.ParseFromString(identity_pb2.Credential.FromString(credential).body)
    except DecodeError as error:
        raise TetherError(Reason.STATE_UNUSABLE, f"{folder / files.CREDENTIAL} is damaged.") from error
    if body.node_key != bytes(key.verify_key):
        raise TetherError(Reason.STATE_UNUSABLE, f"The credential in {folder} is of another key.")
    if body.network_id != network_id:
        raise TetherError(Reason.STATE_UNUSABLE, f"Credential and root document in {folder} are of two networks.")


def _count_up(path: Path) -> int:
    text = files.read(path, INCARNATION_BYTES_MAX).strip() if path.exists() else b"0"
    if not text.isdigit():
        raise TetherError(Reason.STATE_UNUSABLE, f"{path} is damaged: it must hold a number.")
    incarnation = int(text) + 1
    files.replace(path, str(incarnation).encode())
    return incarnation
