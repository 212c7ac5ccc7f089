"""What a failing SQLite says, as an error of the closed set.

The database's own words go to the log; the caller learns what an operator can do about it.
Source: sqlite.org/rescode.html.
"""

import sqlite3
from collections.abc import Mapping

from tether.errors import Reason, TetherError

_WORDS: Mapping[int, str] = {
    sqlite3.SQLITE_FULL: "The disk under the store is full",
    sqlite3.SQLITE_READONLY: "The store is read-only",
    sqlite3.SQLITE_CORRUPT: "The store is damaged: restore it from a backup",
    sqlite3.SQLITE_NOTADB: "The store is damaged: its file is no SQLite database",
    sqlite3.SQLITE_CANTOPEN: "The store cannot be opened: check that its folder exists and is writable",
    sqlite3.SQLITE_IOERR: "The disk under the store fails",
    sqlite3.SQLITE_BUSY: "Another process uses the store",
    sqlite3.SQLITE_LOCKED: "Another process uses the store",
    sqlite3.SQLITE_INTERRUPT: "The read took too long",
    sqlite3.SQLITE_PERM: "The store may not be opened: check the rights on its file",
}
_STRANGE = "unsupported file format"  # of a damaged header, which SQLite takes for a newer version's
_PRIMARY_MASK = 0xFF  # extended result codes keep the primary one in the low byte


def is_fault(error: sqlite3.Error) -> bool:
    """Whether the store itself failed, rather than the statement.

    Args:
        error: what SQLite raised.

    Returns:
        True for disk, file and lock faults; False for broken constraints and wrong statements.
    """
    return _code(error) in _WORDS


def unavailable(error: sqlite3.Error) -> TetherError:
    """The error for callers of a store that failed.

    Args:
        error: what SQLite raised.

    Returns:
        STORE_UNAVAILABLE, or STORE_CORRUPT for a damaged file, with words an operator can act on.
    """
    words = _WORDS.get(_code(error), "The store failed")
    damaged = _code(error) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
    return TetherError(Reason.STORE_CORRUPT if damaged else Reason.STORE_UNAVAILABLE, words)


def _code(error: sqlite3.Error) -> int:
    if str(error) == _STRANGE:
        return sqlite3.SQLITE_NOTADB
    code: int = getattr(error, "sqlite_errorcode", None) or 0
    return code & _PRIMARY_MASK
