"""Sessions: what two nodes share after a hello and a welcome, and how datagrams are sealed with it.

Both sides give a fresh X25519 key signed by their node key, and a credential; so only credentialed nodes get a session,
and what was recorded opens nothing later. Each datagram is sealed (ChaCha20-Poly1305) under a counter that counts once.
Source: SIGMA's signed Diffie-Hellman; RFC 7748, RFC 8439; the framing is ours.

    datagram  = version 1 | kind 1 | network tag 8 | rest
    hello     = hello id 16 | milliseconds 8 | X25519 key 32 | signature 64 | credential length 2 | credential | padding
    welcome   = hello id 16 | session id 8 | X25519 key 32 | signature 64 | credential length 2 | credential
    sealed    = session id 8 | counter 8 | ciphertext and tag
    unknown   = session id 8
"""

import struct
from dataclasses import dataclass, field
from enum import IntEnum
from hashlib import blake2b, sha256
from typing import Final

from nacl.bindings import (
    crypto_aead_chacha20poly1305_ietf_decrypt,
    crypto_aead_chacha20poly1305_ietf_encrypt,
    crypto_scalarmult,
    crypto_scalarmult_base,
)
from nacl.exceptions import CryptoError

from tether.identity import Identity, Verified, signature
from tether.overlay.admission import Admission
from tether.overlay.refusal import Refusal
from tether.overlay.replay import ReplayWindow

VERSION = 1
DATAGRAM_BYTES_MAX = 8_192  # the package's own limit for requests; replies keep to it too
TAG_BYTES = 8
HELLO_BYTES_MIN = 760  # padded, so that a welcome is never larger than the hello that asked for it
HELLO_TOLERANCE_MS = 30_000  # as records: overlay.md §2
HELLO_CONTEXT: Final = "tether/overlay-hello/v1"
WELCOME_CONTEXT: Final = "tether/overlay-welcome/v1"
_HEAD = struct.Struct(f"<BB{TAG_BYTES}s")
_HELLO = struct.Struct("<16sQ32s64sH")
_WELCOME = struct.Struct("<16s8s32s64sH")
_SEALED = struct.Struct(">8sQ")
SEALED_OVERHEAD = _HEAD.size + _SEALED.size + 16


class Kind(IntEnum):
    """Kinds of datagrams."""

    HELLO = 1
    WELCOME = 2
    SEALED = 3
    UNKNOWN = 4


_KINDS = frozenset(Kind)


class Session:
    """Seals and opens datagrams between this node and one peer.

    Args:
        session_id: 8 bytes, chosen by the side that welcomed.
        peer: the other side's credential, as verified.
        keys: 32-byte keys to send and to receive with.
        head: first bytes of each datagram.

    Attributes:
        introduced: whether this node took notice of the peer behind it.
    """

    def __init__(self, session_id: bytes, peer: Verified, keys: tuple[bytes, bytes], head: bytes) -> None:
        self.session_id = session_id
        self.peer = peer
        self.introduced = False
        self._send_key, self._receive_key = keys
        self._head = head
        self._counter = 0
        self._window = ReplayWindow()

    def seal(self, plain: bytes) -> bytes:
        """A datagram that only the peer can open, once."""
        self._counter += 1
        head = self._head + _SEALED.pack(self.session_id, self._counter)
        nonce = b"\0\0\0\0" + head[-8:]
        return head + crypto_aead_chacha20poly1305_ietf_encrypt(plain, head, nonce, self._send_key)

    def open(self, datagram: bytes) -> bytes | Refusal:
        """What the peer sealed."""
        if len(datagram) < SEALED_OVERHEAD:
            return Refusal.MALFORMED
        size = _HEAD.size + _SEALED.size
        head = datagram[:size]
        nonce = b"\0\0\0\0" + head[-8:]
        try:
            plain = crypto_aead_chacha20poly1305_ietf_decrypt(datagram[size:], head, nonce, self._receive_key)
        except CryptoError:
            return Refusal.FORGED
        return plain if self._window.accept(int.from_bytes(head[-8:], "big")) else Refusal.REPLAYED


@dataclass(frozen=True, slots=True)
class Offer:
    """A hello that was sent and waits for its welcome."""

    hello_id: bytes
    secret: bytes = field(repr=False)
    datagram: bytes


@dataclass(frozen=True, slots=True)
class Chance:
    """Random bytes for one side of a handshake."""

    name: bytes  # 16 bytes for a hello, 8 for a session
    secret: bytes = field(repr=False)  # 32 bytes, an X25519 private key


class Handshake:
    """Makes and reads hellos and welcomes; keeps no state.

    Args:
        identity: this node.
        admission: checks credentials.
    """

    def __init__(self, identity: Identity, admission: Admission) -> None:
        self._me = identity
        self._admission = admission
        self.tag = identity.network_id[:TAG_BYTES]

    def head(self, kind: Kind) -> bytes:
        """First bytes of a datagram."""
        return _HEAD.pack(VERSION, kind, self.tag)

    def hello(self, chance: Chance, now_ms: int) -> Offer:
        """Ask for a session."""
        key = crypto_scalarmult_base(chance.secret)
        body = self._hello_body(chance.name, now_ms, key, self._me.credential_hash)
        signed = self._me.sign(HELLO_CONTEXT, body)
        credential = self._me.credential
        raw = self.head(Kind.HELLO) + _HELLO.pack(chance.name, now_ms, key, signed, len(credential)) + credential
        return Offer(chance.name, chance.secret, raw.ljust(HELLO_BYTES_MIN, b"\0"))

    def answer(self, datagram: bytes, chance: Chance, now_ms: int) -> tuple[bytes, Session] | Refusal:
        """Read a hello; give a welcome and the session it begins."""
        if len(datagram) < HELLO_BYTES_MIN:
            return Refusal.MALFORMED
        hello_id, sent_ms, key, signed, size = _HELLO.unpack_from(datagram, _HEAD.size)
        if abs(sent_ms - now_ms) > HELLO_TOLERANCE_MS:
            return Refusal.EXPIRED
        credential = _slice(datagram, _HEAD.size + _HELLO.size, size)
        peer = self._admission.learn(credential, now_ms)
        if isinstance(peer, Refusal):
            return peer
        body = self._hello_body(hello_id, sent_ms, key, peer.hash)
        if peer.node_key == self._me.public_key or not signature.holds(peer.node_key, HELLO_CONTEXT, body, signed):
            return Refusal.FORGED
        return self._welcome(datagram, hello_id, key, peer, chance)

    def _welcome(
        self, hello: bytes, hello_id: bytes, their_key: bytes, peer: Verified, chance: Chance
    ) -> tuple[bytes, Session] | Refusal:
        key = crypto_scalarmult_base(chance.secret)
        credential = self._me.credential
        body = _welcome_body(hello, chance.name, key, self._me.credential_hash)
        keys = _keys(chance.secret, their_key, body)
        if keys is None:
            return Refusal.FORGED
        signed = self._me.sign(WELCOME_CONTEXT, body)
        packed = _WELCOME.pack(hello_id, chance.name, key, signed, len(credential))
        session = Session(chance.name, peer, (keys[1], keys[0]), self.head(Kind.SEALED))
        return self.head(Kind.WELCOME) + packed + credential, session

    def accept(self, offer: Offer, datagram: bytes, now_ms: int) -> Session | Refusal:
        """Read the welcome to an offer; give the session it begins."""
        if len(datagram) < _HEAD.size + _WELCOME.size:
            return Refusal.MALFORMED
        _, session_id, key, signed, size = _WELCOME.unpack_from(datagram, _HEAD.size)
        peer = self._admission.learn(_slice(datagram, _HEAD.size + _WELCOME.size, size), now_ms)
        if isinstance(peer, Refusal):
            return peer
        body = _welcome_body(offer.datagram, session_id, key, peer.hash)
        keys = _keys(offer.secret, key, body)
        if keys is None or not signature.holds(peer.node_key, WELCOME_CONTEXT, body, signed):
            return Refusal.FORGED
        return Session(session_id, peer, keys, self.head(Kind.SEALED))

    def unknown(self, session_id: bytes) -> bytes:
        """Tell a peer that its session is not known here (any more)."""
        return self.head(Kind.UNKNOWN) + session_id

    def _hello_body(self, hello_id: bytes, sent_ms: int, key: bytes, credential_hash: bytes) -> bytes:
        return b"".join((self._me.network_id, hello_id, sent_ms.to_bytes(8, "big"), key, credential_hash))


def read_head(datagram: bytes, tag: bytes) -> Kind | Refusal:
    """Kind of a datagram, or why it goes no further: size, version, network."""
    if len(datagram) > DATAGRAM_BYTES_MAX:
        return Refusal.OVERSIZED
    if len(datagram) < _HEAD.size + 8:
        return Refusal.MALFORMED
    version, kind, theirs = _HEAD.unpack_from(datagram)
    if version != VERSION or kind not in _KINDS:
        return Refusal.MALFORMED
    return Kind(kind) if theirs == tag else Refusal.FOREIGN


def session_id_of(datagram: bytes) -> bytes:
    """Session id of a sealed datagram or an unknown-session notice."""
    return datagram[_HEAD.size : _HEAD.size + 8]


def hello_id_of(datagram: bytes) -> bytes:
    """Hello id of a hello or welcome."""
    return datagram[_HEAD.size : _HEAD.size + 16]


def _slice(datagram: bytes, start: int, size: int) -> bytes:
    return datagram[start : start + size]


def _welcome_body(hello: bytes, session_id: bytes, key: bytes, credential_hash: bytes) -> bytes:
    return b"".join((sha256(hello).digest(), session_id, key, credential_hash))


def _keys(secret: bytes, their_key: bytes, transcript: bytes) -> tuple[bytes, bytes] | None:
    """Keys for asker → answerer and back; None where the peer's key is no point that counts."""
    try:
        shared = crypto_scalarmult(secret, their_key)
    except (CryptoError, RuntimeError):
        return None
    both = blake2b(transcript, key=shared, person=b"tether-overlay-1").digest()
    return both[:32], both[32:]
