"""How verbs print: rows as a table for people or as a list of objects for programs."""

import json
from collections.abc import Mapping, Sequence

import typer

from tether.cli.option import Output


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
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in columns:
        table.add_column(column.replace("_", " ").upper(), overflow="fold")
    for row in rows:
        table.add_row(*(Text(_cell(row.get(column, ""))) for column in columns))
    console = Console(soft_wrap=False)
    if not console.is_terminal:  # a pipe has no width; nothing may be folded for it
        console = Console(width=max(console.width, 240))
    console.print(table)


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
