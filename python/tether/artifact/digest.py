"""SHA-256 of a blob and of each of its 1 MiB pieces, while the bytes arrive.

The pieces let a reader verify any part of a blob as it comes, from any source, and name the source that lied.
Source: FIPS 180-4; the pieces are BitTorrent's (BEP 3), hashed with SHA-256.
"""

import hashlib

from tether._native import BlobDigest

PIECE_BYTES = 1 << 20  # a failed piece costs at most this much to fetch again; 32 bytes of digest per MiB
SHA256_BYTES = 32


def blob_digest() -> BlobDigest:
    """Return a digest of nothing yet."""
    return BlobDigest(PIECE_BYTES)


def pieces_of(size_bytes: int) -> int:
    """Return how many pieces a blob has; an empty one has none."""
    return -(-size_bytes // PIECE_BYTES)


def sha256(data: bytes) -> bytes:
    """Return the digest of a piece, 32 bytes."""
    return hashlib.sha256(data).digest()
