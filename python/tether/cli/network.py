"""`tether network`: what all trust rests on."""

import os
from pathlib import Path
from typing import Annotated

import typer

from tether.cli.option import Out, Output

app = typer.Typer(rich_markup_mode=None, add_completion=False, no_args_is_help=True)


@app.callback()
def network() -> None:
    """Make a network."""


@app.command("init", epilog="Example:  tether network init --name acme --state ./region")
def init(
    name: Annotated[str, typer.Option(help="Network's name, for people.")] = "tether",
    state: Annotated[Path | None, typer.Option("--state", envvar="TETHER_STATE", help="Folder to make it in.")] = None,
    output: Out = Output.TABLE,
) -> None:
    """Make root document, issuer and an operator. Says so where there is a network already."""
    from tether.cli.output import print_object
    from tether.client.target import default_state
    from tether.node.region import init_network

    folder = state or default_state(os.environ)
    made = init_network(folder, name)
    print_object(
        {"name": made.name, "network_id": made.network_id.hex(), "folder": str(folder), "created": made.created}, output
    )
