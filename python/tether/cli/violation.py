"""How verbs that check something end: facts, a line for each violation, and exit code 1 where there is any."""

from collections.abc import Sequence
from typing import NoReturn

import typer

from tether.cli.option import Output


def report(facts: dict[str, object], violations: Sequence[str], output: Output) -> NoReturn:
    """Print what was found and exit.

    Args:
        facts: what was looked at.
        violations: for people; empty when all holds.
        output: table or json.

    Raises:
        typer.Exit: always; with 1 where there are violations.
    """
    from tether.cli.output import print_object

    if output is Output.JSON:
        print_object({**facts, "violations": list(violations)}, output)
    else:
        print_object({**facts, "violations": len(violations)}, output)
        for one in violations:
            typer.secho(one, fg="red")
    raise typer.Exit(1 if violations else 0)
