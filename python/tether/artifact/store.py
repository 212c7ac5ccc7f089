"""What keeps blobs: any place that stores bytes under their SHA-256, and what it owes to its callers.

`tests/contract/test_artifacts.py` holds what every implementation must pass.
"""

from collections.abc import AsyncIterator
from typing import Protocol


class Source(Protocol):
    """Where blobs can be read: a store, a folder, another node."""

    @property
    def name(self) -> str:
        """What to call it in errors and logs."""

    def read(self, sha256: bytes, offset: int = 0, length: int = 0) -> AsyncIterator[bytes]:
        """Yield a range of a blob, in order, in parts of at most 1 MiB.

        Args:
            sha256: the blob, 32 bytes.
            offset: first byte.
            length: bytes; 0 is to the end.

        Raises:
            TetherError: BLOB_UNKNOWN; INVALID_FIELD for a range outside; ARTIFACT_CORRUPT where what is kept is no
                longer what was stored; STORE_UNAVAILABLE.
        """


class ArtifactStore(Source, Protocol):
    """Where blobs are kept. A blob is there whole and verified, or not at all."""

    async def size(self, sha256: bytes) -> int | None:
        """Return a blob's size in bytes, or None where it is not there.

        Raises:
            TetherError: INVALID_FIELD where `sha256` is not 32 bytes; STORE_UNAVAILABLE.
        """

    async def pieces(self, sha256: bytes) -> bytes:
        """Return the SHA-256 of each 1 MiB piece of a blob, one after the other.

        Raises:
            TetherError: BLOB_UNKNOWN, INVALID_FIELD, STORE_UNAVAILABLE.
        """

    async def write(self, sha256: bytes, size_bytes: int, data: AsyncIterator[bytes]) -> bool:
        """Store a blob, durably; tell whether it was there before.

        Args:
            sha256: its name, 32 bytes.
            size_bytes: its size.
            data: its bytes, in order; not read where the blob is there.

        Raises:
            TetherError: ARTIFACT_CORRUPT where the bytes do not hash to the name or are more or fewer than said;
                TOO_LARGE; STATE_UNUSABLE where the place is read-only; STORE_UNAVAILABLE where it is full. Nothing
                stays then.
        """

    async def close(self) -> None:
        """Let go of it; the same again does nothing."""
