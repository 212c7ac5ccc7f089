"""Trust: the root document and what was already checked against it.

A credential is the same bytes in every call, so its signature is checked once and found again by its hash; only dates
are looked at each time.
"""

from hashlib import sha256
from pathlib import Path

from tether.errors import Reason, TetherError
from tether.identity import files
from tether.identity.credential import check_credential, invalid
from tether.identity.lru import Lru
from tether.identity.role import Role
from tether.identity.root import ROOT_BYTES_MAX, Root, read_root
from tether.identity.signature import TOKEN, holds
from tether.identity.token import check_use, invalid_token, read_token
from tether.identity.verified import Verified

CREDENTIALS_MAX = 16_384  # a fleet of 10,000 workers and its services; about 1 KiB each
TOKENS_MAX = 4_096  # two live tokens for each of 2,000 callers; a guess


class Trust:
    """What this node believes about others.

    Args:
        root: serialized RootDocument.

    Raises:
        TetherError: STATE_UNUSABLE where the root document does not hold.
    """

    def __init__(self, root: bytes) -> None:
        self.root: Root = read_root(root)
        self.network_id = self.root.network_id
        self._credentials: Lru[bytes, Verified] = Lru(CREDENTIALS_MAX)
        self._tokens: Lru[bytes, tuple[bytes, str, int]] = Lru(TOKENS_MAX)

    @classmethod
    def load(cls, folder: Path) -> "Trust":
        """Trust by `root.bin` of a node's or network's folder.

        Raises:
            TetherError: STATE_UNUSABLE.
        """
        return cls(files.read(folder / files.ROOT, ROOT_BYTES_MAX))

    def credential(self, raw: bytes, now_s: float) -> Verified:
        """Check a serialized credential.

        Raises:
            TetherError: NODE_TOKEN_INVALID, saying what does not hold.
        """
        known = self.known(sha256(raw).digest(), now_s)
        if known is None:
            known = check_credential(self.root, raw, now_s)
            self._credentials.put(known.hash, known)
        return known

    def known(self, credential_hash: bytes, now_s: float) -> Verified | None:
        """A credential that was checked before, by its hash; None where it was not.

        Raises:
            TetherError: NODE_TOKEN_INVALID where it is over by now.
        """
        known = self._credentials.get(credential_hash)
        if known is not None and known.expired(now_s):
            self._credentials.drop(credential_hash)
            raise invalid("is expired")
        return known

    def token(self, raw: bytes, audience: str, now_ms: int) -> Verified:
        """Check a serialized NodeToken that was sent to `audience`.

        Raises:
            TetherError: NODE_TOKEN_INVALID, saying what does not hold.
        """
        name = sha256(raw).digest()
        cached = self._tokens.get(name)
        if cached is not None:
            check_use(cached[1], cached[2], audience, now_ms)
            known = self.known(cached[0], now_ms / 1_000)
            if known is not None:
                return known
        return self._new_token(name, raw, audience, now_ms)

    def _new_token(self, name: bytes, raw: bytes, audience: str, now_ms: int) -> Verified:
        token = read_token(raw)
        check_use(token.audience, token.expires_at_ms, audience, now_ms)
        caller = self.credential(token.credential, now_ms / 1_000)
        if not holds(caller.node_key, TOKEN, token.body, token.signature):
            raise invalid_token("has a signature that does not hold")
        self._tokens.put(name, (caller.hash, token.audience, token.expires_at_ms))
        return caller

    def signed(  # what a signed thing consists of
        self, context: str, body: bytes, signature: bytes, credential: bytes, role: int, now_s: float
    ) -> Verified:
        """Check a body that a node with `role` signed: tickets, receipts, manifests, snapshots.

        Args:
            context: one of `tether.identity.signature`'s contexts.
            body: what was signed.
            signature: 64 bytes.
            credential: the signer's serialized credential.
            role: what the signer must be; a `Role` or its number in the contract.
            now_s: seconds since the Unix epoch.

        Raises:
            TetherError: NODE_TOKEN_INVALID, or ROLE_FORBIDDEN.
        """
        signer = self.credential(credential, now_s)
        signer.require(frozenset({Role(role)}), f"A signature under {context}")
        if not holds(signer.node_key, context, body, signature):
            raise TetherError(Reason.NODE_TOKEN_INVALID, f"The signature under {context} does not hold.")
        return signer
