"""Long reads beside the writer: a read-only connection per read, within a limit.

In WAL mode a reader neither waits for the writer nor holds it up.
Source: sqlite.org/wal.html; sqlite.org/c3ref/progress_handler.html.
"""

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from tether.store.fault import unavailable

BROWSE_S_MAX = 10.0  # a person waits so long; a query that needs more wants an index
_STEPS = 100_000  # of SQLite's machine between two looks at the clock: about a millisecond

T = TypeVar("T")


def browse(path: Path, work: Callable[[sqlite3.Connection], T]) -> T:
    """Open, read, close; blocks.

    Args:
        path: database file.
        work: gets the connection.

    Returns:
        What `work` returned.

    Raises:
        TetherError: STORE_UNAVAILABLE.
    """
    until_s = time.monotonic() + BROWSE_S_MAX
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
    except sqlite3.Error as error:
        raise unavailable(error) from error
    connection.set_progress_handler(lambda: time.monotonic() > until_s, _STEPS)
    try:
        return work(connection)
    except sqlite3.Error as error:
        raise unavailable(error) from error
    finally:
        connection.close()
