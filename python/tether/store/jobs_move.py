"""A whole job store as JSON Lines, out of one database and into another of either kind.

The first line says what it is, then come the tables, each with its columns, its rows and a checksum, and a last line
that nothing was cut off. It is read and written row by row. What comes in is all there or not at all.
Source: jsonlines.org; docs/design/design.md §5.
"""

import base64
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from tether.errors import Reason, TetherError
from tether.store.jobs_table import (
    ACCOUNTS,
    ATTEMPTS,
    JOBS,
    LEASES,
    LEDGER,
    LEDGER_SUMS,
    LETTERS_WHOLE,
    META,
    NUMBERS,
    OUTCOMES,
    USAGE_HOURS,
    USAGE_WHOLE,
)
from tether.store.step import Delete, Fetch, Insert, Program, Run, Table

KIND, FORMAT = "tether-jobs", 1
TABLES = (
    META, NUMBERS, JOBS, OUTCOMES, ATTEMPTS, LEDGER, LEDGER_SUMS, ACCOUNTS, USAGE_WHOLE, USAGE_HOURS, LETTERS_WHOLE,
    LEASES,
)  # fmt: skip
_PAGE = 500  # rows in memory at a time
_OWN = frozenset({"meta", "numbers"})  # every store has them from the beginning


@dataclass(slots=True)
class Moved:
    """What was moved.

    Attributes:
        rows: rows of each table.
        store_id: of the store, 16 bytes.
        written: False where all of it had been there already.
    """

    rows: dict[str, int] = field(default_factory=dict)
    store_id: bytes = b""
    written: bool = True


def export(sink: Callable[[str], object]) -> Program[Moved]:
    """Write a store out, as it stands in one committed state.

    Args:
        sink: gets line after line, each with its end.
    """
    moved, whole = Moved(), hashlib.sha256()

    def put(value: object) -> bytes:
        line = json.dumps(value, separators=(",", ":"), ensure_ascii=False) + "\n"
        sink(line)
        whole.update(line.encode())
        return line.encode()

    put({"kind": KIND, "format": FORMAT})
    for table in TABLES:
        digest, count, last = hashlib.sha256(), 0, None
        put({"table": table.name, "columns": table.columns})
        while rows := (yield _after(table, last)):
            for row in rows:
                digest.update(put([_packed(value) for value in row]))
            count, last = count + len(rows), _key(table, rows[-1])
            if table is META:
                moved.store_id = dict(rows)["store_id"]
        put({"end": table.name, "rows": count, "sha256": digest.hexdigest()})
        moved.rows[table.name] = count
    sink(json.dumps({"whole": True, "sha256": whole.hexdigest()}) + "\n")
    return moved


def load_lines(lines: Iterator[str], *, serial: bool) -> Program[Moved]:
    """Read a store in.

    Args:
        lines: what `export` wrote.
        serial: whether the database keeps the next numbers of rows apart, as PostgreSQL does.

    Returns:
        What was moved; not `written` where the same store was there already.

    Raises:
        TetherError: STORE_CORRUPT for lines that are not whole; STORE_UNUSABLE for a store that is not empty.
    """
    reader = _Lines(lines)
    head = reader.next()
    if not isinstance(head, dict) or (head.get("kind"), head.get("format")) != (KIND, FORMAT):
        raise TetherError(Reason.STORE_UNUSABLE, "The file is no export of a job store that this Tether can read")
    moved, there = Moved(), (yield from _is_filled())
    for table in TABLES:
        yield from _load_table(reader, table, moved, there=there)
        if table is META:
            moved.written = not there
            if there and moved.store_id != dict((yield Fetch("SELECT name, value FROM meta")))["store_id"]:
                raise TetherError(Reason.STORE_UNUSABLE, "The store is not empty: import into a new one")
    reader.finish()
    if serial and not there:
        for table in TABLES:
            if "number" in table.types:
                yield Fetch(_SERIAL.format(table.name))
    return moved


_SERIAL = (
    "SELECT setval(pg_get_serial_sequence('{0}', 'number'), (SELECT coalesce(max(number), 0) + 1 FROM {0}), false)"
)


def _load_table(reader: "_Lines", table: Table, moved: Moved, *, there: bool) -> Program[None]:
    head = reader.next()
    if not isinstance(head, dict) or head.get("table") != table.name:
        raise _broken(reader.number)
    columns = head.get("columns")
    if not isinstance(columns, list) or not set(columns) <= set(table.columns):
        raise TetherError(Reason.STORE_UNUSABLE, f"The file has a table {table.name} that this Tether does not know")
    target, count, fresh = table.of(columns), 0, table.name in _OWN and not there
    for rows in reader.pages():
        count += len(rows)
        if table is META:
            moved.store_id = dict(rows).get("store_id", b"")
        if fresh:
            yield Delete(table, table.key[0], [row[columns.index(table.key[0])] for row in rows])
        if not there:
            yield Insert(target, rows)
    if table is NUMBERS and not there:
        yield Run("UPDATE numbers SET value = value + 1 WHERE name = 'generation'")
        yield Run("DELETE FROM numbers WHERE name = 'fenced'")
    moved.rows[table.name] = count


def _is_filled() -> Program[bool]:
    for table in TABLES:
        if table.name not in _OWN and (yield Fetch(f"SELECT 1 FROM {table.name} LIMIT 1")):  # noqa: S608
            return True
    return False


class _Lines:
    """Lines with their checksums."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines
        self._whole, self._table = hashlib.sha256(), hashlib.sha256()
        self._end: dict[str, object] = {}
        self.number = 0

    def next(self) -> object:
        """The next line's value."""
        line = next(self._lines, "")
        self.number += 1
        try:
            value: object = json.loads(line)
        except ValueError as error:
            raise _broken(self.number) from error
        if isinstance(value, dict) and "whole" in value:
            self._end = value
            return value
        self._whole.update(line.encode())
        if isinstance(value, list):
            self._table.update(line.encode())
        return value

    def pages(self) -> Iterator[list[list[Any]]]:
        """Rows up to a table's end."""
        self._table = hashlib.sha256()
        count, page = 0, []
        while isinstance(value := self.next(), list):
            page.append([_unpacked(one) for one in value])
            count += 1
            if len(page) == _PAGE:
                yield page
                page = []
        if not isinstance(value, dict) or (value.get("rows"), value.get("sha256")) != (count, self._table.hexdigest()):
            raise _broken(self.number)
        if page:
            yield page

    def finish(self) -> None:
        """The last line must be there, and right."""
        self.next()
        if self._end.get("sha256") != self._whole.hexdigest():
            raise _broken(self.number)


def _after(table: Table, last: Sequence[Any] | None) -> Fetch:
    keys = ", ".join(table.key)
    columns = ", ".join(table.columns)
    if last is None:
        return Fetch(f"SELECT {columns} FROM {table.name} ORDER BY {keys} LIMIT {_PAGE}")  # noqa: S608
    marks = ", ".join(f"${at}" for at in range(1, len(table.key) + 1))
    query = f"SELECT {columns} FROM {table.name} WHERE ({keys}) > ({marks}) ORDER BY {keys} LIMIT {_PAGE}"  # noqa: S608
    return Fetch(query, last)


def _key(table: Table, row: Sequence[Any]) -> list[Any]:
    return [row[table.columns.index(column)] for column in table.key]


def _packed(value: object) -> object:
    """Bytes as a list of one text, so that no text is taken for them."""
    return [base64.b64encode(value).decode()] if isinstance(value, bytes) else value


def _unpacked(value: object) -> object:
    return base64.b64decode(value[0]) if isinstance(value, list) else value


def _broken(number: int) -> TetherError:
    return TetherError(Reason.STORE_CORRUPT, f"The export is damaged or cut off at line {number}")
