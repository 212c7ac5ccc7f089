"""Where files of usage go: a place of named files that are made once and never changed.

Source: POSIX link (create-only), rename and fsync.
"""

import asyncio
import os
import secrets
from pathlib import Path
from typing import Protocol

from tether.artifact.fault import from_os

FILE_BYTES_MAX = 256 << 20  # a million rows of an hour


class UsagePlace(Protocol):
    """A place of named files."""

    async def read(self, name: str) -> bytes | None:
        """Return a file, or None where there is none."""

    async def create(self, name: str, content: bytes) -> bool:
        """Make a file, whole and durably; False where one of that name is there."""


class FolderPlace:
    """A folder, which several orchestrators may share.

    Args:
        folder: gets `usage/`.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "usage"

    async def read(self, name: str) -> bytes | None:
        """See `UsagePlace.read`.

        Raises:
            TetherError: STORE_UNAVAILABLE, STATE_UNUSABLE.
        """
        return await asyncio.to_thread(self._read, name)

    async def create(self, name: str, content: bytes) -> bool:
        """See `UsagePlace.create`.

        Raises:
            TetherError: STORE_UNAVAILABLE, STATE_UNUSABLE.
        """
        return await asyncio.to_thread(self._create, name, content)

    def _read(self, name: str) -> bytes | None:
        try:
            with (self._folder / name).open("rb") as stream:
                return stream.read(FILE_BYTES_MAX)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise from_os(error, "read a file of usage") from error

    def _create(self, name: str, content: bytes) -> bool:
        draft = self._folder / f".{name}-{secrets.token_hex(4)}"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            try:
                _write(draft, content)
                made = _link(draft, self._folder / name)
                _sync(self._folder)
            finally:
                draft.unlink(missing_ok=True)
        except OSError as error:
            raise from_os(error, "write a file of usage") from error
        return made


def _link(draft: Path, place: Path) -> bool:
    """Give a draft its name; False where the name is taken."""
    try:
        os.link(draft, place)
    except FileExistsError:
        return False
    return True


def _write(path: Path, content: bytes) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640), "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
