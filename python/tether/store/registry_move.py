"""A whole registry as JSON Lines, out of one database and into another of either kind.

The first line says what it is, then come the tables, each with its columns and its rows, and a last line with a
checksum over all before it. Bytes stand as base64 in a list of one. What comes in is all there or not at all, and gets
a revision beyond all that readers may have seen.
Source: jsonlines.org.
"""

import base64
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from tether.errors import Reason, TetherError
from tether.store import registry_row as rows
from tether.store.lines import LINE_CHARS_MAX
from tether.store.registry_work import Work

KIND, FORMAT = "tether-registry", 1
TABLES = {  # in an order in which what others name comes first
    "tenants": (rows.TENANT, ("tenant",)),
    "keys": (rows.KEY, ("key",)),
    "models": (rows.MODEL, ("name",)),
    "policies": (rows.POLICY, ("tenant", "version")),
    "prices": (rows.PRICE, ("model", "version")),
}
_PAGE = 20  # rows in memory at a time, since a manifest may have 3.5 MB


def export(sink: Callable[[str], object]) -> Work[dict[str, int]]:
    """Write a registry out, as it stands in one committed state; returns how many rows each table has.

    Args:
        sink: gets line after line, each with its end.
    """
    whole, counts = hashlib.sha256(), {}

    def put(value: object) -> None:
        line = json.dumps(value, separators=(",", ":"), ensure_ascii=False) + "\n"
        whole.update(line.encode())
        sink(line)

    put({"kind": KIND, "format": FORMAT})
    for table, (columns, key) in TABLES.items():
        put({"table": table, "columns": columns.split(", ")})
        counts[table], last = 0, ()
        while page := (yield _after(table, last)):
            for row in page:
                put([_packed(value) for value in row])
            counts[table] += len(page)
            names = columns.split(", ")
            last = tuple(page[-1][names.index(column)] for column in key)
    sink(json.dumps({"sha256": whole.hexdigest()}) + "\n")
    return counts


def load_lines(lines: Iterable[str], now_ms: int) -> Work[dict[str, int]]:
    """Read a registry into an empty one; returns how many rows each table has.

    Args:
        lines: what `export` wrote.
        now_ms: milliseconds since the Unix epoch.

    Raises:
        TetherError: STORE_CORRUPT for lines that are not whole; STORE_UNUSABLE for a registry that is not empty, or a
            file of another kind.
    """
    for table in TABLES:
        if (yield f"SELECT 1 FROM {table} LIMIT 1", ()):  # noqa: S608  names from this file, here and below
            raise TetherError(Reason.STORE_UNUSABLE, "The registry is not empty: import into a new one.")
    reader = _read(lines)
    _check_head(next(reader, None))
    counts, table, columns = dict.fromkeys(TABLES, 0), "", ""
    for value in reader:
        if isinstance(value, dict):
            table, columns = _table_of(value)
            continue
        if not table or len(value) != columns.count(",") + 1:
            raise _broken("a row stands outside of its table")
        marks = ", ".join("?" * len(value))
        yield f"INSERT INTO {table} ({columns}) VALUES ({marks})", [_unpacked(one) for one in value]  # noqa: S608
        counts[table] += 1
    yield from advance(now_ms)
    return counts


def advance(now_ms: int) -> Work[int]:
    """Raise the revision beyond all that readers may have seen of this registry or of one it replaces.

    Revisions begin at the clock and rise by one with each change, so the clock is ahead of all of them.
    """
    ((revision,),) = yield "SELECT revision FROM revision", ()
    raised = max(int(revision) + 1, now_ms)
    yield "UPDATE revision SET revision = ?", (raised,)
    return raised


def _after(table: str, last: Sequence[object]) -> tuple[str, Sequence[object]]:
    columns, key = TABLES[table]
    names = ", ".join(key)
    beyond = f"WHERE ({names}) > ({', '.join('?' * len(last))}) " if last else ""
    return f"SELECT {columns} FROM {table} {beyond}ORDER BY {names} LIMIT {_PAGE}", last  # noqa: S608


def _read(lines: Iterable[str]) -> Iterator[Any]:
    """Yield the values of all lines but the last, which must be the checksum of the others."""
    whole = hashlib.sha256()
    for number, line in enumerate(lines, 1):
        try:
            value = json.loads(line) if len(line) <= LINE_CHARS_MAX else None
        except (ValueError, RecursionError) as error:
            raise _broken(f"line {number} is no JSON") from error
        if isinstance(value, dict) and "sha256" in value:
            if value["sha256"] != whole.hexdigest():
                raise _broken("its checksum does not hold")
            return
        if not isinstance(value, dict | list):
            raise _broken(f"line {number} is none of an export")
        whole.update(line.encode())
        yield value
    raise _broken("its end is missing")


def _check_head(value: object) -> None:
    if not isinstance(value, dict) or (value.get("kind"), value.get("format")) != (KIND, FORMAT):
        raise TetherError(Reason.STORE_UNUSABLE, "The file is no export of a registry that this Tether can read.")


def _table_of(value: dict[str, Any]) -> tuple[str, str]:
    table = str(value.get("table"))
    if table not in TABLES or value.get("columns") != TABLES[table][0].split(", "):
        raise _broken(f"there is no table {table[:31]!a} of such columns")
    return table, TABLES[table][0]


def _packed(value: object) -> object:
    return [base64.b64encode(value).decode()] if isinstance(value, bytes) else value


def _unpacked(value: object) -> object:
    if isinstance(value, list):
        try:
            return base64.b64decode(value[0], validate=True)
        except (ValueError, TypeError, IndexError) as error:
            raise _broken("bytes are no base64") from error
    return value


def _broken(why: str) -> TetherError:
    return TetherError(Reason.STORE_CORRUPT, f"The export is damaged or cut off: {why}.")
