"""SHA-256 of a blob and of each of its 1 MiB pieces, while the bytes arrive.

The pieces let a reader verify any part of a blob as it comes, from any source, and name the source that lied.
Source: FIPS 180-4; the pieces are BitTorrent's (BEP 3), hashed with SHA-256.
"""

import hashlib
from typing import Protocol

from tether import _native

PIECE_BYTES = 1 << 20  # a failed piece costs at most this much to fetch again; 32 bytes of digest per MiB
SHA256_BYTES = 32


class BlobDigest(Protocol):
    """A digest that grows; `tether._native.BlobDigest` where it is built."""

    def feed(self, chunk: bytes) -> list[bytes]:
        """Take the next bytes; return the digests of the pieces that they completed."""

    def finish(self) -> tuple[bytes, list[bytes]]:
        """Return the digest of the whole and those of all pieces."""

    @property
    def length(self) -> int:
        """Bytes taken so far."""


class _Hashlib:
    """The same over hashlib, for an installation whose native part is older."""

    def __init__(self) -> None:
        self._whole, self._piece = hashlib.sha256(), hashlib.sha256()
        self._pieces: list[bytes] = []
        self.length = 0

    def feed(self, chunk: bytes) -> list[bytes]:
        self._whole.update(chunk)
        known, view = len(self._pieces), memoryview(chunk)
        while view:
            room = PIECE_BYTES - self.length % PIECE_BYTES
            self._piece.update(view[:room])
            self.length += len(view[:room])
            view = view[room:]
            if self.length % PIECE_BYTES == 0:
                self._cut()
        return self._pieces[known:]

    def _cut(self) -> None:
        self._pieces.append(self._piece.digest())
        self._piece = hashlib.sha256()

    def finish(self) -> tuple[bytes, list[bytes]]:
        rest = [self._piece.digest()] if self.length % PIECE_BYTES else []
        return self._whole.digest(), self._pieces + rest


def blob_digest() -> BlobDigest:
    """Return a digest of nothing yet."""
    native = getattr(_native, "BlobDigest", None)
    made: BlobDigest = _Hashlib() if native is None else native(PIECE_BYTES)
    return made


def pieces_of(size_bytes: int) -> int:
    """Return how many pieces a blob has; an empty one has none."""
    return -(-size_bytes // PIECE_BYTES)


def sha256(data: bytes) -> bytes:
    """Return the digest of a piece, 32 bytes."""
    return hashlib.sha256(data).digest()
