"""`tether node`: who may act as what, and where."""

import os
from pathlib import Path
from typing import Annotated

import typer

from tether.cli.option import Out, Output

app = typer.Typer(rich_markup_mode=None, add_completion=False, no_args_is_help=True)

DAY_S = 86_400

EPILOG = """Example:

\b
  tether node issue --role worker --region eu-west --state ./region/worker-7 --network ./region
"""


@app.callback()
def node() -> None:
    """Issue credentials to nodes."""


@app.command("issue", epilog=EPILOG)
def issue(
    role: Annotated[list[str], typer.Option(help="gateway, orchestrator, registry, worker, bridge or operator.")],
    state: Annotated[Path, typer.Option("--state", help="The node's own folder; its key is made there.")],
    region: Annotated[str, typer.Option(help="Region that it may act in.")] = "local",
    network: Annotated[
        Path | None,
        typer.Option("--network", envvar="TETHER_STATE", help="Folder of `tether network init` or `tether up`."),
    ] = None,
    days: Annotated[int, typer.Option(help="Days that the credential holds.", min=1, max=3650)] = 90,
    label: Annotated[str, typer.Option(help="Name for people.")] = "",
    output: Out = Output.TABLE,
) -> None:
    """Sign a credential with the local issuer key and put it into the node's folder."""
    from tether.cli.output import print_object
    from tether.client.target import default_state
    from tether.name import region as checked_region
    from tether.node.region import issue_node

    home = network or default_state(os.environ)
    made = issue_node(home, state, roles=role, region=checked_region(region), label=label, ttl_s=days * DAY_S)
    print_object({"name": made.node_id, "roles": sorted(role), "region": region, "folder": str(state)}, output)
