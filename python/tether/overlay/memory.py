"""What a node keeps on disk: its contacts (JSON) and the highest orders it saw (fixed-size rows), both bounded.

Nothing here is pickled, and nothing is trusted when read back: contacts prove themselves again, and what is damaged is
left out.
"""

import json
import struct
import threading
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import structlog

from tether.identity import files
from tether.overlay.contact import Address, Contact, read_contact
from tether.overlay.highest import KEYS_MAX

CONTACTS = "contacts.json"
ORDERS = "orders.bin"
CONTACTS_MAX = 64  # any one that lives is enough to join again
CONTACTS_BYTES_MAX = 65_536
_ROW = struct.Struct(">16sQQ")
ROW_BYTES = _ROW.size + 4
ORDERS_BYTES_MAX = 4 * KEYS_MAX * ROW_BYTES  # 9 MiB; then what is outdated goes
APPEND_BYTES_MAX = KEYS_MAX * ROW_BYTES  # most that one save appends

Row = tuple[bytes, int, int]  # key (16 bytes), incarnation, sequence
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
    """Remembers the highest orders over restarts: fixed-size rows, appended, read back by their checksums.

    What a power cut tears off is lost, and no more; records' issue times protect the last seconds anyway.

    Args:
        folder: the node's state folder; None remembers nothing.
    """

    def __init__(self, folder: Path | None) -> None:
        self._path = folder / ORDERS if folder is not None else None
        self._lock = threading.Lock()  # a save may still run in its thread when the last one comes

    def load(self) -> list[Row]:
        """Rows, the one raised longest ago first; the file is written anew without what is outdated.

        A sequence is one less than the highest seen: the very record that held may be stored again by its writer, since
        this storer lost it.

        Raises:
            TetherError: STATE_UNUSABLE where the folder can't be written.
        """
        if self._path is None or not self._path.exists():
            return []
        rows = _newest(files.read(self._path, ORDERS_BYTES_MAX + APPEND_BYTES_MAX))
        files.replace(self._path, _pack(rows), files.PRIVATE)
        return [(key, life, number - 1) for key, life, number in rows]

    def save(self, rows: Sequence[Row]) -> None:
        """Append rows; may run in any thread.

        Raises:
            TetherError: STATE_UNUSABLE where they can't be written.
        """
        if self._path is None or not rows:
            return
        with self._lock:
            try:
                with self._path.open("ab") as file:
                    file.write(_pack(rows))
                    size = file.tell()
            except OSError as error:
                raise files.unusable(self._path, "can't be written", error) from error
            if size > ORDERS_BYTES_MAX:
                files.replace(self._path, _pack(_newest(self._path.read_bytes())), files.PRIVATE)


def _pack(rows: Iterable[Row]) -> bytes:
    """Rows as they stand in the file: each with the checksum of its own bytes."""
    packed = (_ROW.pack(*row) for row in rows)
    return b"".join(row + zlib.crc32(row).to_bytes(4, "big") for row in packed)


def _newest(data: bytes) -> list[Row]:
    """The last row of each key, in the order in which they were raised; rows that are damaged are left out."""
    newest: dict[bytes, Row] = {}
    for start in range(0, len(data) - ROW_BYTES + 1, ROW_BYTES):
        row, check = data[start : start + _ROW.size], data[start + _ROW.size : start + ROW_BYTES]
        if zlib.crc32(row).to_bytes(4, "big") == check:
            key, life, number = _ROW.unpack(row)
            newest.pop(key, None)
            newest[key] = (key, life, number)
    return list(newest.values())[-KEYS_MAX:]
