"""`tether`: finds the verb, runs it, and turns errors into one line and an exit code from the table."""

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

import tether
from tether.errors import Reason, TetherError

VERBS = {
    "up": "Start a whole region in one process and stream a first answer.",
    "serve": "Run one service.",
    "infer": "Ask a model and stream its answer.",
    "models": "List, show and push models.",
    "workers": "List workers.",
    "explain": "Show how a request would be placed, term by term.",
    "jobs": "List and show jobs.",
    "receipt": "Check a worker's signed receipt offline.",
    "dead-letters": "List, show, analyze, requeue and drop dead letters.",
    "breakers": "List what is kept from work: models that fail, workers that are ejected.",
    "tenants": "List and make tenants, set quotas.",
    "keys": "List, make and revoke API keys.",
    "quotas": "Show what tenants hold and have used, and check that it adds up.",
    "policy": "Set, show and test what tenants may run where and how.",
    "prices": "List and set what tokens cost.",
    "store": "Make, migrate, check, export, import and promote stores.",
    "network": "Make a network: root document and issuer.",
    "node": "Issue credentials to nodes.",
    "doctor": "Check this machine and the region in the state folder.",
}

EPILOG = """Examples:

\b
  tether up                               a region on this machine, and a first answer
  tether infer "What does str.split do?"  ask it, from another terminal
  tether up --workers 3 --chaos           kill the worker that answers, and see that nothing is lost
  tether workers ls -o json               see who runs what

Clients and verbs find the region by --state, TETHER_STATE, TETHER_ADDRESS and TETHER_KEY.
"""


class Verbs(TyperGroup):
    """Imports a verb's module when the verb is used."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ANN401 - typer does not export its context's type
        """Return the verbs in the order of the table."""
        del ctx
        return list(VERBS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ANN401
        """Return a verb's command, or None."""
        del ctx
        if cmd_name not in VERBS:
            return None
        command = typer.main.get_command(import_module(f"tether.cli.{cmd_name.replace('-', '_')}").app)
        command.name = cmd_name
        command.short_help = VERBS[cmd_name]
        return command

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:  # noqa: ANN401
        """Find the verb that the words name.

        Raises:
            TetherError: INVALID_FIELD with the nearest verb, where there is none of that name.
        """
        if args and args[0] not in VERBS and not args[0].startswith("-"):
            from tether.name import did_you_mean

            hint = did_you_mean(args[0], VERBS) or " `tether --help` lists the verbs."
            raise TetherError(Reason.INVALID_FIELD, f"there is no verb {args[0]!r}.{hint}")
        return super().resolve_command(ctx, args)


app = typer.Typer(
    cls=Verbs,
    epilog=EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"tether {tether.__version__}")
        raise typer.Exit


def _color() -> bool | None:
    """Return False where the user wants no colours (no-color.org), else None: a terminal decides."""
    return False if os.environ.get("NO_COLOR") else None


@app.callback()
def verbs(
    ctx: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Tether: a gRPC-first network for AI inference."""
    del version
    ctx.color = _color()


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with the code of what happened.

    Args:
        arguments: words after the program's name; the process's own where None.
    """
    try:
        app(arguments, prog_name="tether")
    except TetherError as error:
        _fail(error)
    except OSError as error:  # of a folder or file that the user named; parts that know more say more
        text = f"{error.filename or 'the system'}: {error.strerror or error}"
        _fail(TetherError(Reason.STATE_UNUSABLE, text))
    except KeyboardInterrupt:
        sys.exit(130)


def _fail(error: TetherError) -> NoReturn:
    typer.secho(f"tether: {error}", fg="red", err=True, color=_color())
    sys.exit(error.row.exit)
