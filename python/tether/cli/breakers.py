"""`tether breakers`: which models and workers are kept from work, and why."""

import asyncio
from typing import TYPE_CHECKING

import typer

from tether.cli.option import Bootstrap, Out, Output, Region, State

if TYPE_CHECKING:
    from tether.v1.control_pb2 import Breaker

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command(epilog="Example:  tether breakers -o json")
def breakers(
    state: State = None, bootstrap: Bootstrap = None, region: Region = "local", output: Out = Output.TABLE
) -> None:
    """List the circuit breakers of an orchestrator: models that fail in a region, workers that are ejected."""
    from tether.cli.operator import connect
    from tether.cli.output import print_rows
    from tether.v1.control_pb2 import ListBreakersRequest

    async def run() -> list["Breaker"]:
        async with connect(state, bootstrap, region) as operator:
            control = await operator.control()
            return list((await control.ListBreakers(ListBreakersRequest())).breakers)

    print_rows([_row(one) for one in asyncio.run(run())], output)


def _row(one: "Breaker") -> dict[str, object]:
    return {
        "name": one.worker_id or one.model_id,
        "region": one.region,
        "state": one.state,
        "error_rate": one.error_rate,
        "trips": one.trips,
        "why": one.why,
    }
