"""`tether prices`: what tokens cost."""

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from tether.cli.option import Bootstrap, Out, Output, Region, State

if TYPE_CHECKING:
    from tether.v1.policy_pb2 import Price

app = typer.Typer(rich_markup_mode=None, add_completion=False, no_args_is_help=True)

Micros = Annotated[int, typer.Option(help="Millionths of the unit of account per thousand tokens.", min=0)]


@app.callback()
def prices() -> None:
    """List and set what tokens cost."""


@app.command("ls", epilog="Example:  tether prices ls --model tether-demo")
def ls(
    model: Annotated[str, typer.Option(help="All prices that this model had, newest first.")] = "",
    state: State = None,
    bootstrap: Bootstrap = None,
    region: Region = "local",
    output: Out = Output.TABLE,
) -> None:
    """List the prices that hold, or all of a model."""
    from tether.cli.operator import connect, pages
    from tether.cli.output import print_rows
    from tether.v1.registry_pb2 import ListPricesRequest

    async def run() -> list["Price"]:
        async with connect(state, bootstrap, region) as operator:
            access = await operator.access()
            return await pages(access.ListPrices, ListPricesRequest(model_id=model), "prices")

    print_rows([_row(one) for one in asyncio.run(run())], output)


@app.command("set", epilog="Example:  tether prices set tether-demo --input-micros 150 --output-micros 600")
def set_(
    model: Annotated[str, typer.Argument(help="Model's name.")],
    input_micros: Micros,
    output_micros: Micros,
    state: State = None,
    bootstrap: Bootstrap = None,
    region: Region = "local",
    output: Out = Output.TABLE,
) -> None:
    """Set a model's price from now on. What ran before keeps the price it was reserved at."""
    from tether.cli.operator import connect
    from tether.cli.output import print_object
    from tether.v1.policy_pb2 import Price
    from tether.v1.registry_pb2 import SetPriceRequest

    wanted = SetPriceRequest(price=Price(model_id=model, input_micros=input_micros, output_micros=output_micros))

    async def run() -> "Price":
        async with connect(state, bootstrap, region) as operator:
            access = await operator.access()
            return (await access.SetPrice(wanted)).price

    print_object(_row(asyncio.run(run())), output)


def _row(price: "Price") -> dict[str, object]:
    return {
        "name": price.model_id,
        "version": price.version,
        "input_micros": price.input_micros,
        "output_micros": price.output_micros,
        "created_at": price.created_at.ToJsonString(),
    }
