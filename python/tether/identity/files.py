"""Small files that must be whole, durable and, where secret, private.

A file is written beside its place, synced, and moved there; what crashes in between leaves the old file or none.
"""

import os
import secrets
from pathlib import Path

from tether.errors import Reason, TetherError

NODE_KEY = "node.key"
CREDENTIAL = "credential.bin"
ROOT = "root.bin"
ROOT_KEY = "root.key"
ISSUER_KEY = "issuer.key"
INCARNATION = "incarnation"
PRIVATE = 0o600
PUBLIC = 0o644
PRIVATE_FOLDER = 0o700


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, private to this user.

    Raises:
        TetherError: STATE_UNUSABLE where it can't be made.
    """
    try:
        folder.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
    except OSError as error:
        raise unusable(folder, "can't be made", error) from error


def read(path: Path, bytes_max: int) -> bytes:
    """Whole content of a small file.

    Raises:
        TetherError: STATE_UNUSABLE where it is missing, unreadable or too large.
    """
    try:
        with path.open("rb") as file:
            data = file.read(bytes_max + 1)
    except OSError as error:
        raise unusable(path, "can't be read", error) from error
    if len(data) > bytes_max:
        raise TetherError(Reason.STATE_UNUSABLE, f"{path} is over {bytes_max} bytes.")
    return data


def read_secret(path: Path, size_bytes: int) -> bytes:
    """Content of a secret file that only this user may read.

    Raises:
        TetherError: STATE_UNUSABLE where it is missing, damaged, or others may read it.
    """
    data = read(path, size_bytes)
    if len(data) != size_bytes:
        raise TetherError(Reason.STATE_UNUSABLE, f"{path} must have {size_bytes} bytes; it is damaged.")
    if path.stat().st_mode & 0o077:
        raise TetherError(Reason.STATE_UNUSABLE, f"{path} must be private: chmod 600.")
    return data


def replace(path: Path, data: bytes, mode: int = PUBLIC) -> None:
    """Write `path` anew, durably, all or nothing.

    Raises:
        TetherError: STATE_UNUSABLE where it can't be written.
    """
    try:
        fresh = _write_beside(path, data, mode)
        fresh.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise unusable(path, "can't be written", error) from error


def create(path: Path, data: bytes, mode: int = PUBLIC) -> bool:
    """Write `path` durably unless it is there; whether it was written.

    Raises:
        TetherError: STATE_UNUSABLE where it can't be written.
    """
    if path.exists():
        return False
    try:
        fresh = _write_beside(path, data, mode)
        try:
            path.hardlink_to(fresh)
        except FileExistsError:
            return False
        finally:
            fresh.unlink()
        _sync_folder(path.parent)
    except OSError as error:
        raise unusable(path, "can't be written", error) from error
    return True


def _write_beside(path: Path, data: bytes, mode: int) -> Path:
    """A synced new file beside `path`, with `mode` from its first moment."""
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return fresh


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def unusable(path: Path, what: str, error: OSError) -> TetherError:
    """STATE_UNUSABLE for a path, with the system's words."""
    return TetherError(Reason.STATE_UNUSABLE, f"{path} {what}: {error.strerror or error}.")
