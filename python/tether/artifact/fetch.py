"""Fetches a manifest's files into a folder, each piece verified while it arrives, from any source that tells the truth.

What is on disk after a break is verified and kept, so that a fetch goes on where it stopped. A source that sends
anything else than the manifest promises is named and not asked again.
Source: BitTorrent's piece verification (BEP 3).
"""

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import BinaryIO, TypeVar

import structlog

from tether.artifact import metrics
from tether.artifact.digest import PIECE_BYTES, SHA256_BYTES, sha256
from tether.artifact.fault import corrupt, from_os
from tether.artifact.scan import Progress
from tether.artifact.store import Source
from tether.errors import Reason, TetherError
from tether.v1 import registry_pb2 as pb

SILENCE_S = 30.0  # a disk that spins up answers in 10; a source silent for longer is lost
PART = ".part"

T = TypeVar("T")
_log = structlog.get_logger("tether.artifact")


async def fetch(
    files: Sequence[pb.ManifestFile],
    folder: Path,
    sources: Sequence[Source],
    *,
    progress: Progress | None = None,
    silence_s: float = SILENCE_S,
) -> None:
    """Bring every file of a verified manifest into `folder`; files that are there and whole are left alone.

    Args:
        files: of a manifest that `manifest.verify` passed.
        folder: where they go; made where missing.
        sources: asked in order; the next one takes over where one fails.
        progress: told after each piece.
        silence_s: longest wait for the next bytes of a source, seconds.

    Raises:
        TetherError: ARTIFACT_CORRUPT naming the source, when no source told the truth; else the last source's error;
            STATE_UNUSABLE or STORE_UNAVAILABLE where the disk refuses.
    """
    trusted = list(sources)
    for one in files:
        if not await asyncio.to_thread(is_whole, folder / one.path, one):
            await _fetch_file(one, folder / one.path, trusted, progress, silence_s)


def is_whole(path: Path, one: pb.ManifestFile) -> bool:
    """Tell whether a file is there, is no link, and has every piece as the manifest says; blocks on the disk."""
    try:
        if path.is_symlink() or not path.is_file() or path.stat().st_size != one.size_bytes:
            return False
        with path.open("rb", buffering=0) as stream:
            return _whole_pieces(stream, one) * SHA256_BYTES == len(one.piece_sha256)
    except OSError as error:
        _log.warning("file cannot be read", path=path.name, error=error.strerror)
        return False


async def _fetch_file(
    one: pb.ManifestFile, path: Path, sources: list[Source], progress: Progress | None, silence_s: float
) -> None:
    """Fetch one file from the first source that delivers it whole; liars leave `sources`."""
    last = TetherError(Reason.BLOB_UNKNOWN, f"No source is left for {one.path}.")
    for source in tuple(sources):
        draft = await _Draft.open(one, path)
        try:
            await draft.fill(source, progress, silence_s)
            await _disk("keep a file", draft.finish)
        except TetherError as error:
            if error.reason is Reason.STATE_UNUSABLE or error.metadata.get("cause") == "full":
                raise
            last = error
            metrics.FETCH_FAILURES.labels(error.reason.name).inc()
            _log.warning("source failed", source=source.name, path=one.path, reason=error.reason.name)
            if error.reason is Reason.ARTIFACT_CORRUPT:
                sources.remove(source)
        else:
            return
        finally:
            draft.close()
    raise last


class _Draft:
    """A file on its way: the verified pieces so far, then whatever comes next."""

    def __init__(self, one: pb.ManifestFile, path: Path) -> None:
        self._one = one
        self._path = path
        self._part = path.with_name(path.name + PART)
        self._stream: BinaryIO | None = None
        self._done_bytes = 0

    @classmethod
    async def open(cls, one: pb.ManifestFile, path: Path) -> "_Draft":
        draft = cls(one, path)
        await _disk("fetch a file", draft._resume)
        return draft

    def _resume(self) -> None:
        """Open the part that is there and cut it after its last good piece."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        if self._part.is_symlink():
            self._part.unlink()
        self._part.touch()
        stream = self._stream = self._part.open("r+b", buffering=0)
        self._done_bytes = min(_whole_pieces(stream, self._one) * PIECE_BYTES, self._one.size_bytes)
        stream.truncate(self._done_bytes)
        stream.seek(self._done_bytes)

    async def fill(self, source: Source, progress: Progress | None, silence_s: float) -> None:
        """Take the rest from a source, each piece verified before it is written."""
        if self._done_bytes == self._one.size_bytes:
            return
        waiting = bytearray()
        async with aclosing(_limited(source.read(self._one.sha256, self._done_bytes), source, silence_s)) as parts:
            async for part in parts:
                waiting += part
                while self._cut_bytes() and len(waiting) >= self._cut_bytes():
                    await self._take(source, bytes(waiting[: self._cut_bytes()]), progress, waiting)
                if not self._cut_bytes() and waiting:
                    raise corrupt(source.name, f"{self._one.path} is longer than the manifest says")
        if self._done_bytes < self._one.size_bytes:
            raise corrupt(source.name, f"{self._one.path} is shorter than the manifest says")

    def _cut_bytes(self) -> int:
        """Bytes of the piece that comes next; 0 at the end."""
        return min(PIECE_BYTES, self._one.size_bytes - self._done_bytes)

    async def _take(self, source: Source, piece: bytes, progress: Progress | None, waiting: bytearray) -> None:
        number = self._done_bytes // PIECE_BYTES
        if not await _disk("fetch a file", self._verify_and_write, number, piece):
            raise corrupt(source.name, f"piece {number} of {self._one.path} is not what the manifest says")
        del waiting[: len(piece)]
        self._done_bytes += len(piece)
        metrics.FETCHED_BYTES.inc(len(piece))
        if progress is not None:
            progress(self._one.path, self._done_bytes, self._one.size_bytes)

    def _verify_and_write(self, number: int, piece: bytes) -> bool:
        """Write a piece where it holds; hashing stays off the event loop too."""
        if self._stream is None:
            raise ValueError("the draft is closed")
        if not _piece_holds(self._one, number, piece):
            return False
        view = memoryview(piece)
        while view:
            view = view[self._stream.write(view) :]
        return True

    def finish(self) -> None:
        """Give the file its name, read-only, once it is on the disk."""
        if self._stream is None:
            raise ValueError("the draft is closed")
        os.fchmod(self._stream.fileno(), 0o444)
        os.fsync(self._stream.fileno())
        self._part.replace(self._path)

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None


def _whole_pieces(stream: BinaryIO, one: pb.ManifestFile) -> int:
    """Count the pieces from the start that hold."""
    count = 0
    while count * SHA256_BYTES < len(one.piece_sha256):
        piece = _read_all(stream, min(PIECE_BYTES, one.size_bytes - count * PIECE_BYTES))
        if not _piece_holds(one, count, piece):
            break
        count += 1
    return count


def _piece_holds(one: pb.ManifestFile, number: int, piece: bytes) -> bool:
    return sha256(piece) == one.piece_sha256[SHA256_BYTES * number :][:SHA256_BYTES]


def _read_all(stream: BinaryIO, size_bytes: int) -> bytes:
    parts, left = [], size_bytes
    while left and (part := stream.read(left)):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


async def _limited(parts: AsyncIterator[bytes], source: Source, silence_s: float) -> AsyncGenerator[bytes, None]:
    """Yield what a source sends, and give up on one that falls silent."""
    iterator = aiter(parts)
    try:
        while True:
            try:
                async with asyncio.timeout(silence_s):
                    part = await anext(iterator)
            except StopAsyncIteration:
                return
            except TimeoutError as error:
                text = f"{source.name} sent nothing for {silence_s:g} s."
                raise TetherError(Reason.STORE_UNAVAILABLE, text) from error
            yield part
    finally:
        closer = getattr(iterator, "aclose", None)
        if closer is not None:
            await closer()


async def _disk(what: str, work: Callable[..., T], *args: object) -> T:
    try:
        return await asyncio.to_thread(work, *args)
    except OSError as error:
        raise from_os(error, what) from error
