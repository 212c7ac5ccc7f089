"""Options that many verbs share, with the words that explain them."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Output(StrEnum):
    """How lists are printed."""

    TABLE = "table"
    JSON = "json"


State = Annotated[
    Path | None,
    typer.Option(
        "--state",
        envvar="TETHER_STATE",
        help="State folder of the region (`tether up`) or of an operator.",
        show_default="the user's state folder",
    ),
]
Bootstrap = Annotated[
    list[str] | None,
    typer.Option(
        "--bootstrap",
        envvar="TETHER_BOOTSTRAP",
        help="host:port of an overlay node; needed where the state folder has no endpoints.json.",
    ),
]
Region = Annotated[str, typer.Option("--region", envvar="TETHER_REGION", help="Region to look in.")]
Out = Annotated[Output, typer.Option("-o", "--output", help="table for people, json for programs.")]
