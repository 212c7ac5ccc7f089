"""The lock of a state folder: one process at a time.

An advisory lock ends with its process, however that dies, so a stale one cannot exist; the file also names its holder.
Source: flock(2).
"""

import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from tether.errors import Reason, TetherError

LOCK = "lock"
PID_BYTES_MAX = 20  # digits of any process id


class FolderLock:
    """Holds `folder` for this process until closed.

    Args:
        folder: an existing state folder.

    Raises:
        TetherError: STATE_UNUSABLE where another process holds it (naming it), or it can't be written.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / LOCK
        self._handle: int | None = self._open()
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(self._handle, 0)
            os.write(self._handle, str(os.getpid()).encode())
        except OSError as error:
            text = self._why(self._handle, error)
            self.close()
            raise TetherError(Reason.STATE_UNUSABLE, text) from error

    def _open(self) -> int:
        try:
            return os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            text = f"The state folder {self._path.parent} can't be used: {error.strerror}."
            raise TetherError(Reason.STATE_UNUSABLE, text) from error

    def _why(self, handle: int, error: OSError) -> str:
        folder = self._path.parent
        if isinstance(error, BlockingIOError):
            holder = os.pread(handle, PID_BYTES_MAX, 0).decode("ascii", "replace") or "unknown"
            return f"The state folder {folder} is in use by process {holder}."
        return f"The state folder {folder} can't be locked: {error.strerror}."

    def close(self) -> None:
        """Let the folder go; the same again does nothing."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
