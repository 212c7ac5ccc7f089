"""What a failing PostgreSQL says, as an error of the closed set, and what may be done about it.

Three kinds: the connection is gone (nothing of an open transaction is left), the server or its disk cannot (later it
may), or the statement itself was wrong. The server's own words go to the log.
Source: postgresql.org/docs/15/errcodes-appendix.html.
"""

import asyncio
from collections.abc import Mapping

from asyncpg import exceptions as pg

from tether.errors import Reason, TetherError

RETRY_S = 1.0  # a restart of PostgreSQL takes about so long
_LOST_CLASSES = frozenset({"08", "57"})  # connection exceptions; operator intervention: shutdown, crash, cancelled
_BUSY_CODES = frozenset({"40001", "40P01", "55P03", "57014", "25P03"})  # serialization, deadlock, lock or time over
_CORRUPT_CODES = frozenset({"XX001", "XX002"})
_SETUP_CODES = frozenset({"28000", "28P01", "3D000", "3F000", "42501"})  # role, password, database, schema, rights
FENCED_CODE = "TF001"  # raised by `tether_fence`, see sql/postgres/jobs
_WORDS: Mapping[str, str] = {
    "53100": "The disk under the store is full",
    "53200": "The store's server is out of memory",
    "53300": "The store's server has no connection left",
    "25006": "The store is read-only: is it a replica? `tether store promote` makes it the primary",
    "57P01": "The store's server is shutting down",
    "57P02": "The store's server crashed and recovers",
    "57P03": "The store's server is starting up",
    "57014": "The store took too long",
    "55P03": "The store is locked too long by another",
    "40P01": "The store is locked by another",
}


def is_lost(error: BaseException) -> bool:
    """Whether the connection is gone, and with it the transaction that was open on it."""
    if isinstance(error, pg.PostgresError):
        code = error.sqlstate or ""
        return code[:2] in _LOST_CLASSES and code not in _BUSY_CODES
    if isinstance(error, (pg.InterfaceError, pg.InternalClientError)):
        return True  # asyncpg's own words for a closed connection, or one in the middle of something else
    return isinstance(error, (OSError, asyncio.TimeoutError, EOFError))


def is_busy(error: BaseException) -> bool:
    """Whether the server rolled back for another's sake: the same transaction may go at once."""
    return isinstance(error, pg.PostgresError) and (error.sqlstate or "") in _BUSY_CODES


def is_fault(error: BaseException) -> bool:
    """Whether the store failed, rather than the statement."""
    if is_lost(error) or is_busy(error):
        return True
    if not isinstance(error, pg.PostgresError):
        return False
    code = error.sqlstate or ""
    known = code in _WORDS or code in _CORRUPT_CODES or code in _SETUP_CODES or code == FENCED_CODE
    return known or code[:2] in {"53", "58", "XX"}


def as_error(error: BaseException) -> TetherError:
    """The error for callers of a store that failed.

    Args:
        error: what asyncpg raised.

    Returns:
        STORE_UNUSABLE where an operator must act, STORE_CORRUPT for damage, else STORE_UNAVAILABLE.
    """
    if isinstance(error, TetherError):
        return error
    code = (error.sqlstate or "") if isinstance(error, pg.PostgresError) else ""
    if code == FENCED_CODE:
        return TetherError(Reason.STORE_UNUSABLE, "The store was fenced: another one was promoted in its place")
    if code in _CORRUPT_CODES:
        return TetherError(Reason.STORE_CORRUPT, "The store is damaged: restore it from a backup")
    if code in _SETUP_CODES:
        return TetherError(Reason.STORE_UNUSABLE, "The store's server refuses: check role, password and database")
    words = _WORDS.get(code) or ("The store's server cannot be reached" if is_lost(error) else "The store failed")
    return TetherError(Reason.STORE_UNAVAILABLE, words, retry_after_s=RETRY_S)
