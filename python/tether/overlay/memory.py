"""What a node keeps on disk: its contacts (JSON) and the highest orders it saw (SQLite), both bounded.

Nothing here is pickled, and nothing is trusted when read back: contacts prove themselves again, and a damaged file is
begun anew.
"""

import json
import sqlite3
import threading
from pathlib import Path
from typing import Any

import structlog

from tether.identity import files
from tether.overlay.contact import Address, Contact, read_contact
from tether.overlay.highest import KEYS_MAX

CONTACTS = "contacts.json"
ORDERS = "orders.db"
CONTACTS_MAX = 64  # any one that lives is enough to join again
CONTACTS_BYTES_MAX = 65_536
_SCHEMA = """
CREATE TABLE IF NOT EXISTS highest (
  key BLOB PRIMARY KEY, incarnation INTEGER NOT NULL, sequence INTEGER NOT NULL, raised INTEGER NOT NULL
) WITHOUT ROWID
"""
_log = structlog.get_logger("tether.overlay")


class ContactFile:
    """Remembers addresses over restarts.

    Args:
        folder: the node's state folder; None remembers nothing.
    """

    def __init__(self, folder: Path | None) -> None:
        self._path = folder / CONTACTS if folder is not None else None
        self._saved: list[list[object]] = []

    def load(self) -> list[Address]:
        """Addresses of an earlier life; none where the file is missing or damaged."""
        if self._path is None or not self._path.exists():
            return []
        try:
            rows = json.loads(files.read(self._path, CONTACTS_BYTES_MAX))
        except ValueError as error:
            _log.warning("remembered contacts are damaged and forgotten", error=str(error))
            return []
        return [address for row in rows[:CONTACTS_MAX] if (address := _address(row))] if isinstance(rows, list) else []

    def save(self, contacts: list[Contact]) -> None:
        """Keep contacts; an empty table does not make a node forget whom it knew."""
        rows: list[list[object]] = sorted([c.node_id, c.ip, c.port] for c in contacts[:CONTACTS_MAX])
        if self._path is not None and rows and rows != self._saved:
            files.replace(self._path, json.dumps(rows).encode(), files.PRIVATE)
            self._saved = rows


def _address(row: Any) -> Address | None:  # noqa: ANN401  # from a file
    match row:
        case [str(), str(host), int(port)]:
            contact = read_contact([bytes(32), host, port])
            return contact.address if contact else None
    return None


class OrderFile:
    """Remembers the highest orders over restarts.

    Args:
        folder: the node's state folder; None remembers nothing.

    Raises:
        TetherError: STATE_UNUSABLE where the folder can't be written.
    """

    def __init__(self, folder: Path | None) -> None:
        self._base: sqlite3.Connection | None = None
        self._lock = threading.Lock()  # a save may still run in its thread when `close` comes
        if folder is not None:
            try:
                self._base = _open(folder / ORDERS)
            except sqlite3.DatabaseError as error:
                _log.warning("remembered orders are damaged and begun anew", error=str(error))
                (folder / ORDERS).unlink(missing_ok=True)
                self._base = _open(folder / ORDERS)

    def load(self) -> list[tuple[bytes, int, int]]:
        """Rows (key, incarnation, sequence), the one raised longest ago first.

        A sequence is one less than the highest seen: the very record that held may be stored again by its writer, since
        this storer lost it.
        """
        if self._base is None:
            return []
        rows = self._base.execute("SELECT key, incarnation, sequence FROM highest ORDER BY raised LIMIT ?", (KEYS_MAX,))
        return [(bytes(key), life, number - 1) for key, life, number in rows]

    def save(self, rows: list[tuple[bytes, int, int]], now_s: int) -> None:
        """Keep rows; the oldest ones go where there are too many. May run in any thread."""
        with self._lock:
            if self._base is not None and rows:
                self._write(self._base, rows, now_s)

    def _write(self, base: sqlite3.Connection, rows: list[tuple[bytes, int, int]], now_s: int) -> None:
        with base:
            base.executemany(
                "INSERT INTO highest VALUES (?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET"
                " incarnation = excluded.incarnation, sequence = excluded.sequence, raised = excluded.raised",
                [(*row, now_s) for row in rows],
            )
            base.execute(
                "DELETE FROM highest WHERE key IN (SELECT key FROM highest ORDER BY raised DESC LIMIT -1 OFFSET ?)",
                (KEYS_MAX,),
            )

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            if self._base is not None:
                self._base.close()
                self._base = None


def _open(path: Path) -> sqlite3.Connection:
    base = sqlite3.connect(path, check_same_thread=False)
    base.execute("PRAGMA journal_mode = WAL")
    base.execute("PRAGMA synchronous = NORMAL")  # what a power cut takes, the records' issue times protect
    base.execute(_SCHEMA)
    base.commit()
    return base
