"""A store's work as a program of steps, so that one program runs on every database.

A program is a generator: it yields a step, gets back what the database said, and returns its result. It decides and
does no I/O; `sqlite_run` and `postgres_run` carry steps out. SQL in steps is what both dialects understand, with
parameters `$1`, `$2`, …
Source: sans-I/O (sans-io.readthedocs.io); generators as coroutines, PEP 342.
"""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")
Row = Sequence[Any]


@dataclass(frozen=True, slots=True)
class Table:
    """A table as programs see it.

    Attributes:
        name: of the table.
        types: PostgreSQL's type of each column, by name, in the order of rows.
        key: columns that name a row.
        serial: column that the database numbers, or empty; not among those of `types` that are inserted.
        fixed: what an insertion writes into further columns: names, and values as SQL.
    """

    name: str
    types: dict[str, str]
    key: tuple[str, ...]
    serial: str = ""
    fixed: tuple[tuple[str, str], ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns, in the order of rows."""
        return tuple(self.types)

    def of(self, columns: Sequence[str]) -> "Table":
        """The same table with only these columns."""
        return Table(self.name, {column: self.types[column] for column in columns}, self.key, self.serial)


@dataclass(frozen=True, slots=True)
class Fetch:
    """Rows of a query.

    Attributes:
        sql: the query.
        values: its parameters.
    """

    sql: str
    values: Sequence[Any] = ()


@dataclass(frozen=True, slots=True)
class Run:
    """A statement without rows; gets back how many rows it changed."""

    sql: str
    values: Sequence[Any] = ()


@dataclass(frozen=True, slots=True)
class Find:
    """Rows of a table by one column: gets back rows of `table.columns`, in no order."""

    table: Table
    column: str
    keys: Sequence[Any]


@dataclass(frozen=True, slots=True)
class Insert:
    """New rows of `table.columns`.

    Attributes:
        table: where to.
        rows: what.
        absent: leave out rows whose key is there; else such a row is an error.
    """

    table: Table
    rows: Sequence[Row]
    absent: bool = False


@dataclass(frozen=True, slots=True)
class Blind:
    """New rows that may collide, and what is written with them: gets back True, or False and then none of it is there.

    Attributes:
        table: where to; its `serial` grows with every row. Whoever writes rows with these keys holds the same locks.
        rows: what; no two with the same key.
        more: writes of other tables, or of other rows.
    """

    table: Table
    rows: Sequence[Row]
    more: Sequence["Insert | Update | Delete"] = ()


@dataclass(frozen=True, slots=True)
class Update:
    """Sets columns of rows that are there: rows of `table.columns`, with the key's columns last."""

    table: Table
    rows: Sequence[Row]


@dataclass(frozen=True, slots=True)
class Delete:
    """Removes rows by one column."""

    table: Table
    column: str
    keys: Sequence[Any]


@dataclass(frozen=True, slots=True)
class Lock:
    """Gets back the accounts of tenants (created where missing) and the time, until the end alone in writing to them.

    Whoever changes a job, its ledger or its account holds its tenant's lock; tenants are locked in one order.

    Attributes:
        tenants: whose.
    """

    tenants: Sequence[str]


@dataclass(frozen=True, slots=True)
class Now:
    """Gets back the time, milliseconds since the Unix epoch: of the server, where several write."""


@dataclass(frozen=True, slots=True)
class Mutex:
    """Until the end alone among those that name the same number."""

    number: int


@dataclass(frozen=True, slots=True)
class Together:
    """Writes of different rows, whose order does not matter: `Insert`, `Update`, `Delete`."""

    steps: Sequence[Insert | Update | Delete]


Step = Fetch | Run | Find | Insert | Blind | Update | Delete | Lock | Now | Mutex | Together
Program = Generator[Step, Any, T]


class Texts:
    """Statements of one dialect, made once for each table: by a table's identity, so the table stays too."""

    def __init__(self) -> None:
        self._made: dict[tuple[str, int, object], tuple[str, Table]] = {}

    def of(self, what: str, table: Table, detail: object, make: Callable[[], str]) -> str:
        """The statement that does `what` to a table, made by `make` when it is first asked for."""
        key = (what, id(table), detail)
        found = self._made.get(key)
        if found is None:
            found = self._made[key] = make(), table
        return found[0]


def marked(sql: str) -> str:
    """SQL with SQLite's marks for parameters, `?1` for `$1`."""
    return sql.replace("$", "?")
