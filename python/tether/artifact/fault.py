"""What an error of the disk means to the caller."""

import errno

from tether.errors import Reason, TetherError

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_CLOSED = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})
_LINKS = frozenset({errno.ELOOP, errno.ENOTDIR})


def from_os(error: OSError, what: str) -> TetherError:
    """Return the error of the closed set for a failed system call.

    Args:
        error: what was raised.
        what: what was being done, for the message, such as `store a blob`.
    """
    if error.errno in _FULL:
        return TetherError(Reason.STORE_UNAVAILABLE, f"Cannot {what}: the disk is full.", metadata={"cause": "full"})
    if error.errno in _CLOSED:
        return TetherError(Reason.STATE_UNUSABLE, f"Cannot {what}: the folder cannot be written.")
    if error.errno in _LINKS:
        return TetherError(Reason.STATE_UNUSABLE, f"Cannot {what}: there is a link or a file in the way.")
    return TetherError(Reason.STORE_UNAVAILABLE, f"Cannot {what}: {error.strerror or 'the disk failed'}.")


def corrupt(source: str, what: str) -> TetherError:
    """Return the error of content that is not what it should be, naming where it came from."""
    return TetherError(Reason.ARTIFACT_CORRUPT, f"{source}: {what}.", metadata={"source": source})
