"""`tether workers`: who runs what."""

import asyncio
from typing import TYPE_CHECKING

import typer

from tether.cli.option import Bootstrap, Out, Output, Region, State

if TYPE_CHECKING:
    from tether.v1.control_pb2 import Worker

COLUMNS = (
    "name",
    "standing",
    "region",
    "gpu_class",
    "slots_free",
    "slots",
    "queue",
    "in_flight",
    "models",
    "silent_ms",
)

app = typer.Typer(rich_markup_mode=None, add_completion=False, no_args_is_help=True)


@app.callback()
def workers() -> None:
    """List workers."""


@app.command("ls", epilog="Example:  tether workers ls -o json")
def ls(state: State = None, bootstrap: Bootstrap = None, region: Region = "local", output: Out = Output.TABLE) -> None:
    """List the workers that an orchestrator of the region knows."""
    from tether.cli.operator import connect, pages
    from tether.cli.output import print_rows
    from tether.v1.control_pb2 import ListWorkersRequest

    async def run() -> list["Worker"]:
        async with connect(state, bootstrap, region) as operator:
            control = await operator.control()
            return await pages(control.ListWorkers, ListWorkersRequest(), "workers")

    print_rows([_row(one) for one in asyncio.run(run())], output, COLUMNS)


def _row(worker: "Worker") -> dict[str, object]:
    from tether.v1.control_pb2 import WorkerStanding

    report = worker.report
    return {
        "name": worker.name,
        "standing": WorkerStanding.Name(worker.standing).removeprefix("WORKER_STANDING_").lower(),
        "region": report.region,
        "address": report.address,
        "gpu_class": report.gpu_class,
        "accelerators": list(report.accelerators),
        "slots": report.capacity.slots,
        "slots_free": report.capacity.slots_free,
        "queue": report.capacity.queue_depth,
        "tokens_per_second": report.capacity.tokens_per_second,
        "in_flight": worker.in_flight,
        "models": [f"{one.model_id}:{one.version}" for one in report.supported],
        "vram_free_bytes": report.vram_free_bytes,
        "ram_free_bytes": report.ram_free_bytes,
        "incarnation": report.incarnation,
        "draining": report.draining,
        "silent_ms": worker.silent_ms,
    }
