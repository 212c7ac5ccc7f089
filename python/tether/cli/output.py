"""How verbs print: rows as a table for people or as a list of objects for programs."""

import json
from collections.abc import Mapping, Sequence

import typer

from tether.cli.option import Output

GAP_CHARS = 3  # what rich puts between two columns
WORDS_CHARS = 24  # narrower columns of words are a strain to read
PIPE_CHARS = 240  # of a line that no terminal folds


def print_rows(rows: Sequence[Mapping[str, object]], output: Output, columns: Sequence[str] | None = None) -> None:
    """Print `rows`.

    Args:
        rows: objects; each has `name`.
        output: table or json.
        columns: fields of the table, in order; all fields where None. JSON always has all.
    """
    if output is Output.JSON:
        typer.echo(json.dumps(list(rows), indent=2, ensure_ascii=False))
        return
    if not rows:
        typer.echo("none", err=True)
        return
    _print_table(rows, columns or list(rows[0]))


def _print_table(rows: Sequence[Mapping[str, object]], columns: Sequence[str]) -> None:
    """Print a table, or a block of lines per row on a terminal that is too narrow for it, as `psql` does."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    cells = {column: [_cell(row.get(column, "")) for row in rows] for column in columns}
    width = sum(_least_width(column, texts) + GAP_CHARS for column, texts in cells.items())
    console = Console()
    if not console.is_terminal:  # a pipe has no width; nothing may be folded for it
        console = Console(width=max(width, PIPE_CHARS))
    if width > console.width:
        _print_blocks(rows, columns)
        return
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column, texts in cells.items():
        table.add_column(_title(column), overflow="fold", no_wrap=not _wraps(texts))
    for row in zip(*cells.values(), strict=True):
        table.add_row(*(Text(text) for text in row))
    console.print(table)


def _print_blocks(rows: Sequence[Mapping[str, object]], columns: Sequence[str]) -> None:
    for number, row in enumerate(rows):
        if number:
            typer.echo()
        print_object({column: row.get(column, "") for column in columns}, Output.TABLE)


def _title(column: str) -> str:
    return column.replace("_", " ").upper()


def _wraps(texts: Sequence[str]) -> bool:
    """Whether a column holds words, which may stand on several lines; ids and numbers may not."""
    return any(" " in text for text in texts)


def _least_width(column: str, texts: Sequence[str]) -> int:
    """Characters below which a column cannot be read."""
    longest = max(len(text) for text in (_title(column), *texts))
    return min(longest, WORDS_CHARS) if _wraps(texts) else longest


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, list | tuple):
        return ", ".join(_cell(one) for one in value)
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value)


def print_object(found: Mapping[str, object], output: Output) -> None:
    """Print one object: JSON, or a line per field."""
    if output is Output.JSON:
        typer.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    width = max(len(key) for key in found)
    for key, value in found.items():
        typer.echo(f"{key.replace('_', ' '):<{width}}  {_cell(value)}")
