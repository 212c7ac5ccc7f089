"""`tether serve`: run one service in this process until SIGTERM, or list its settings."""

from pathlib import Path
from typing import Annotated

import typer

from tether.cli.option import Out, Output

app = typer.Typer(rich_markup_mode=None, add_completion=False)

EPILOG = """Examples:

\b
  tether serve gateway --settings         what it can be told, with defaults
  tether serve registry --state r/registry --overlay-port 7500
  tether serve worker --state r/worker-1 --bootstrap 127.0.0.1:7500
  tether serve gateway --config gateway.toml
  TETHER_GATEWAY_LISTEN=127.0.0.1:7400 tether serve gateway --state r/gateway --bootstrap 127.0.0.1:7500

Any setting of the service can be given as --NAME VALUE, in the file, or as TETHER_<SERVICE>_<NAME>.
"""


@app.command(
    epilog=EPILOG,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)
def serve(
    ctx: typer.Context,
    service: Annotated[str, typer.Argument(help="gateway, orchestrator, registry, worker or bridge.")],
    config: Annotated[Path | None, typer.Option("--config", help="TOML file with settings.")] = None,
    settings: Annotated[bool, typer.Option("--settings", help="List the service's settings and exit.")] = False,
    output: Out = Output.TABLE,
) -> None:
    """Run one service until SIGTERM: it drains, and a second SIGTERM ends it at once."""
    from tether.cli.service import run_service, setting_rows

    if settings:
        from tether.cli.output import print_rows

        print_rows(setting_rows(service), output)
        return
    raise typer.Exit(run_service(service, config, ctx.args))
