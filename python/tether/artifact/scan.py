"""Reads a folder into the file list of a manifest: every file, none followed through a link, each hashed once.

Source: POSIX `O_NOFOLLOW`, so that what was listed is what is read.
"""

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from tether.artifact import path as paths
from tether.artifact.digest import PIECE_BYTES, blob_digest
from tether.artifact.manifest import FILES_MAX, Limits
from tether.errors import Reason, TetherError
from tether.v1 import registry_pb2 as pb

ENTRIES_MAX = 4 * FILES_MAX  # folders among them; a wrong folder such as `/` ends fast

Progress = Callable[[str, int, int], None]  # path, bytes done, bytes in all


def scan(folder: Path, format_name: str, limits: Limits, progress: Progress | None = None) -> list[pb.ManifestFile]:
    """List a folder's files with their digests; blocks on the disk.

    Args:
        folder: the artifact.
        format_name: its format, which says what files it may hold.
        limits: how large it may be.
        progress: told after each piece.

    Raises:
        TetherError: INVALID_FIELD for a link, a device or a bad path; UNSUPPORTED for a pickle or an unknown file;
            TOO_LARGE; STATE_UNUSABLE where a file cannot be read.
    """
    found = sorted(_walk(folder))
    if not 1 <= len(found) <= FILES_MAX:
        raise TetherError(Reason.INVALID_FIELD, f"The folder has {len(found)} files; 1 to {FILES_MAX} are allowed.")
    paths.check_paths(found)
    for one in found:
        paths.check_kind(format_name, one)
    return [_hashed(folder, one, limits, progress) for one in found]


def digest_file(stream: BinaryIO, path: str, size_bytes: int, progress: Progress | None = None) -> pb.ManifestFile:
    """Hash a stream into a list entry; the size is only for progress."""
    digest = blob_digest()
    while chunk := stream.read(PIECE_BYTES):
        digest.feed(chunk)
        if progress is not None:
            progress(path, digest.length, size_bytes)
    whole, pieces = digest.finish()
    return pb.ManifestFile(path=path, size_bytes=digest.length, sha256=whole, piece_sha256=b"".join(pieces))


def open_file(file: Path) -> BinaryIO:
    """Open a regular file that is no link.

    Raises:
        TetherError: INVALID_FIELD for a link or a device, STATE_UNUSABLE where it cannot be read.
    """
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise _unreadable(file, error) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _irregular(file.name)
    return os.fdopen(descriptor, "rb", buffering=0)


def _walk(folder: Path) -> Iterator[str]:
    """Yield the paths of all files, with slashes."""
    waiting, seen = [""], 0
    while waiting:
        prefix = waiting.pop()
        for entry in _entries(folder / prefix):
            seen += 1
            if seen > ENTRIES_MAX:
                raise TetherError(Reason.TOO_LARGE, f"The folder has over {ENTRIES_MAX} entries; is it the right one?")
            relative = f"{prefix}{entry.name}"
            if entry.is_symlink() or not (entry.is_dir() or entry.is_file()):
                raise _irregular(relative)
            if entry.is_dir():
                waiting.append(f"{paths.check_path(relative)}/")
            else:
                yield relative


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        raise _unreadable(folder, error) from error


def _hashed(folder: Path, relative: str, limits: Limits, progress: Progress | None) -> pb.ManifestFile:
    with open_file(folder / relative) as stream:
        size_bytes = os.fstat(stream.fileno()).st_size
        if size_bytes > limits.blob_bytes_max:
            text = f"{relative} has {size_bytes} bytes; {limits.blob_bytes_max} may be."
            raise TetherError(Reason.TOO_LARGE, text)
        head, tail = _ends(stream, size_bytes)
        paths.check_content(relative, head, tail)
        return digest_file(stream, relative, size_bytes, progress)


def _ends(stream: BinaryIO, size_bytes: int) -> tuple[bytes, bytes]:
    """Return the first 4 bytes and the last one, and go back to the start."""
    head = stream.read(4)
    stream.seek(max(size_bytes - 1, 0))
    tail = stream.read(1)
    stream.seek(0)
    return head, tail


def _irregular(path: str) -> TetherError:
    text = f"{path[:80]!a} is a link or no regular file; an artifact holds files alone."
    return TetherError(Reason.INVALID_FIELD, text, field="files")


def _unreadable(file: Path, error: OSError) -> TetherError:
    return TetherError(Reason.STATE_UNUSABLE, f"{file.name} cannot be read: {error.strerror}.")
