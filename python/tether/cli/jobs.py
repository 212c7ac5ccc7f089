"""`tether jobs`: what ran, what runs, and how it ended."""

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from tether.cli.option import Bootstrap, Out, Output, Region, State

if TYPE_CHECKING:
    from tether.v1.infer_pb2 import Job

app = typer.Typer(rich_markup_mode=None, add_completion=False, no_args_is_help=True)


@app.callback()
def jobs() -> None:
    """List and show jobs."""


@app.command("ls", epilog="Example:  tether jobs ls --tenant demo --limit 20 -o json")
def ls(
    tenant: Annotated[str, typer.Option(help="Only this tenant's.")] = "",
    limit: Annotated[int, typer.Option(help="Most to list.", min=1, max=100_000)] = 100,
    state: State = None,
    bootstrap: Bootstrap = None,
    region: Region = "local",
    output: Out = Output.TABLE,
) -> None:
    """List jobs, newest first."""
    from tether.cli.operator import connect, pages
    from tether.cli.output import print_rows
    from tether.v1.control_pb2 import ListJobsRequest

    async def run() -> list["Job"]:
        async with connect(state, bootstrap, region) as operator:
            control = await operator.control()
            return await pages(control.ListJobs, ListJobsRequest(tenant_id=tenant), "jobs", limit)

    columns = ["name", "state", "tenant_id", "model", "input_tokens", "output_tokens", "epoch", "created_at", "error"]
    print_rows([_row(one) for one in asyncio.run(run())], output, columns)


@app.command("show", epilog="Example:  tether jobs show 0123456789abcdef0123456789abcdef")
def show(
    job: Annotated[str, typer.Argument(help="Job's id, 32 hex digits.")],
    state: State = None,
    bootstrap: Bootstrap = None,
    region: Region = "local",
    output: Out = Output.TABLE,
) -> None:
    """Show one job."""
    from tether.cli.operator import connect
    from tether.cli.output import print_object
    from tether.v1.control_pb2 import LookupJobRequest

    async def run() -> "Job":
        async with connect(state, bootstrap, region) as operator:
            control = await operator.control()
            return (await control.LookupJob(LookupJobRequest(job_id=job))).job

    print_object(_row(asyncio.run(run())), output)


def _row(job: "Job") -> dict[str, object]:
    from tether.v1.infer_pb2 import JobState

    return {
        "name": job.name,
        "state": JobState.Name(job.state).removeprefix("JOB_STATE_").lower(),
        "tenant_id": job.tenant_id,
        "model": f"{job.model_id}:{job.version}",
        "correlation_id": job.correlation_id,
        "retry_token": job.retry_token,
        "epoch": job.epoch,
        "worker_id": job.worker_id,
        "held_tokens": job.held_tokens,
        "input_tokens": job.usage.input_tokens,
        "output_tokens": job.usage.output_tokens,
        "created_at": job.created_at.ToJsonString(),
        "ended_at": job.ended_at.ToJsonString() if job.HasField("ended_at") else None,
        "error": job.error,
        "receipt": bool(job.receipt.signature),
    }
