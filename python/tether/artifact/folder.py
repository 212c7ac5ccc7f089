"""Blobs in a local folder: `blobs/sha256/ab/<hex>`, written beside and renamed, verified piece by piece when read.

A blob of several pieces has their digests beside it, so that a range is verified without reading the rest. What no
longer verifies is put aside, so that the next push stores it anew.
Source: git's object store (fan-out, create-only); POSIX rename and fsync.
"""

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import BinaryIO, TypeVar

import structlog

from tether._native import BlobDigest
from tether.artifact.digest import PIECE_BYTES, SHA256_BYTES, blob_digest, pieces_of, sha256
from tether.artifact.fault import corrupt, from_os
from tether.artifact.manifest import Limits
from tether.errors import Reason, TetherError

T = TypeVar("T")
_log = structlog.get_logger("tether.artifact")


class FolderStore:
    """Blobs in a folder that one process owns.

    Args:
        folder: gets `blobs/`.
        limits: how large a blob may be.
    """

    def __init__(self, folder: Path, limits: Limits | None = None) -> None:
        self.name = "artifact folder"
        self._blobs = folder / "blobs" / "sha256"
        self._drafts = folder / "blobs" / "draft"
        self._limits = limits or Limits()

    async def open(self) -> None:
        """Make the folder and drop what a crash left half written.

        Raises:
            TetherError: STATE_UNUSABLE, STORE_UNAVAILABLE.
        """
        await _io("open the artifact folder", self._prepare)

    async def size(self, sha256: bytes) -> int | None:
        """Return a blob's size; see `ArtifactStore`."""
        return await _io("look for a blob", _size, self._place(sha256))

    async def pieces(self, sha256: bytes) -> bytes:
        """Return the digests of a blob's pieces; see `ArtifactStore`."""
        stream, pieces = await _io("read a blob", _open_blob, self._place(sha256), sha256)
        stream.close()
        return pieces.digests

    async def read(self, sha256: bytes, offset: int = 0, length: int = 0) -> AsyncIterator[bytes]:
        """Yield a range of a blob, each piece verified; see `ArtifactStore`."""
        place = self._place(sha256)
        stream, pieces = await _io("read a blob", _open_blob, place, sha256)
        try:
            end = _range_end(pieces.size_bytes, offset, length)
            while offset < end:
                number = offset // PIECE_BYTES
                piece = await _io("read a blob", _read_piece, stream, pieces, number)
                if piece is None:
                    await _io("put a blob aside", self._put_aside, place)
                    raise corrupt(self.name, f"blob {sha256.hex()} is damaged")
                first = offset - number * PIECE_BYTES
                part = piece[first : min(len(piece), end - number * PIECE_BYTES)]
                yield part
                offset += len(part)
        finally:
            stream.close()

    async def write(self, sha256: bytes, size_bytes: int, data: AsyncIterator[bytes]) -> bool:
        """Store a blob; see `ArtifactStore`."""
        place = self._place(sha256)
        if size_bytes > self._limits.blob_bytes_max:
            text = f"The blob has {size_bytes} bytes; {self._limits.blob_bytes_max} are the limit."
            raise TetherError(Reason.TOO_LARGE, text, field="size_bytes")
        if await self.size(sha256) is not None:
            return True
        draft = self._drafts / f"{sha256.hex()}-{secrets.token_hex(4)}"
        try:
            digests = await _write_draft(draft, size_bytes, data)
            if digests[0] != sha256:
                raise corrupt("the sender", f"the bytes sent do not hash to {sha256.hex()}")
            await _io("store a blob", _publish, draft, place, digests[1])
        finally:
            await _io("drop a draft", _drop, draft)
        return False

    async def close(self) -> None:
        """Nothing is held between calls."""

    def _place(self, sha256: bytes) -> Path:
        if len(sha256) != SHA256_BYTES:
            text = f"sha256 has {len(sha256)} bytes; it must have {SHA256_BYTES}."
            raise TetherError(Reason.INVALID_FIELD, text, field="sha256")
        return self._blobs / sha256.hex()[:2] / sha256.hex()

    def _prepare(self) -> None:
        for folder in (self._blobs, self._drafts):
            folder.mkdir(parents=True, exist_ok=True)
        for left in self._drafts.iterdir():
            left.unlink()

    def _put_aside(self, place: Path) -> None:
        """Move a damaged blob out of the way; a folder that cannot be written keeps it, and it is refused again."""
        try:
            place.replace(place.with_suffix(".bad"))
        except OSError as error:
            _log.warning("damaged blob stays", blob=place.name, error=error.strerror)
        else:
            _log.error("damaged blob put aside", blob=place.name)


class _Pieces:
    """The digests that a blob's pieces must have."""

    def __init__(self, size_bytes: int, digests: bytes) -> None:
        self.size_bytes = size_bytes
        self.digests = digests

    def holds(self, number: int, piece: bytes) -> bool:
        expected = self.digests[SHA256_BYTES * number :][:SHA256_BYTES]
        return sha256(piece) == expected


def _size(place: Path) -> int | None:
    return place.stat().st_size if place.exists() else None


def _open_blob(place: Path, name: bytes) -> tuple[BinaryIO, _Pieces]:
    """Open a blob and what verifies it; one piece is verified by its name."""
    try:
        stream = place.open("rb", buffering=0)
    except FileNotFoundError as error:
        raise TetherError(Reason.BLOB_UNKNOWN, f"There is no blob {name.hex()}.") from error
    size_bytes = os.fstat(stream.fileno()).st_size
    if pieces_of(size_bytes) <= 1:
        return stream, _Pieces(size_bytes, name if size_bytes else b"")
    try:
        return stream, _Pieces(size_bytes, place.with_suffix(".pieces").read_bytes())
    except OSError as error:
        stream.close()
        raise corrupt("artifact folder", f"blob {name.hex()} lost the digests of its pieces") from error


def _read_piece(stream: BinaryIO, pieces: _Pieces, number: int) -> bytes | None:
    """Return a piece that holds, or None; hashing stays off the event loop too."""
    stream.seek(number * PIECE_BYTES)
    parts, left = [], PIECE_BYTES
    while left and (part := stream.read(left)):
        parts.append(part)
        left -= len(part)
    piece = b"".join(parts)
    return piece if pieces.holds(number, piece) else None


async def _write_draft(draft: Path, size_bytes: int, data: AsyncIterator[bytes]) -> tuple[bytes, list[bytes]]:
    """Write a draft down to the disk; returns the digest of the whole and of the pieces."""
    digest = blob_digest()
    stream = await _io("store a blob", draft.open, "xb", 0)
    try:
        async for part in data:
            if digest.length + len(part) > size_bytes:
                raise corrupt("the sender", f"more than the {size_bytes} bytes that were announced")
            await _io("store a blob", _feed_and_write, digest, stream, part)
        if digest.length != size_bytes:
            raise corrupt("the sender", f"only {digest.length} of {size_bytes} bytes came")
        await _io("store a blob", os.fsync, stream.fileno())
    finally:
        stream.close()
    return digest.finish()


def _feed_and_write(digest: BlobDigest, stream: BinaryIO, part: bytes) -> None:
    digest.feed(part)
    view = memoryview(part)
    while view:
        view = view[stream.write(view) :]


def _publish(draft: Path, place: Path, pieces: list[bytes]) -> None:
    """Give a draft its name; the piece digests come first, so that a named blob always has them."""
    place.parent.mkdir(exist_ok=True)
    if len(pieces) > 1:
        beside = place.with_suffix(".pieces")
        fresh = draft.with_suffix(".pieces")
        fresh.write_bytes(b"".join(pieces))
        _sync(fresh)
        fresh.replace(beside)
    draft.replace(place)
    _sync(place.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _drop(draft: Path) -> None:
    for left in (draft, draft.with_suffix(".pieces")):
        left.unlink(missing_ok=True)


def _range_end(size_bytes: int, offset: int, length: int) -> int:
    """Return the byte after a range.

    Raises:
        TetherError: INVALID_FIELD where it reaches outside the blob.
    """
    end = offset + length if length else size_bytes
    if not 0 <= offset <= end <= size_bytes:
        text = f"Bytes {offset} to {end} are outside the blob of {size_bytes} bytes."
        raise TetherError(Reason.INVALID_FIELD, text, field="offset")
    return end


async def _io(what: str, work: Callable[..., T], *args: object) -> T:
    """Do disk work on a thread."""
    try:
        return await asyncio.to_thread(work, *args)
    except OSError as error:
        raise from_os(error, what) from error
