"""`tether dead-letters`: jobs that cannot succeed and frames that broke the protocol, and what to do about them."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tether.cli.option import Bootstrap, Out, Output, Region, State

if TYPE_CHECKING:
    from tether.v1.control_pb2 import DeadAttempt, DeadLetter, DeadLetterGroup
    from tether.v1.infer_pb2 import Job

app = typer.Typer(rich_markup_mode=None, add_completion=False, no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="Name as `tether dead-letters ls` shows it: a job's id, or frame-….")]
HOURS_MAX = 1_000_000  # a century; a Duration does not hold any number
REQUEST_BYTES_MAX = 2 << 20  # a request has at most 1 MiB of input


@app.callback()
def dead_letters() -> None:
    """List, show, analyze, requeue and drop dead letters."""


@app.command("ls", epilog="Example:  tether dead-letters ls --reason POISON --limit 20")
def ls(
    tenant: Annotated[str, typer.Option(help="Only this tenant's.")] = "",
    reason: Annotated[str, typer.Option(help="Only with this reason, such as POISON.")] = "",
    model: Annotated[str, typer.Option(help="Only of this model.")] = "",
    limit: Annotated[int, typer.Option(help="Most to list.", min=1, max=100_000)] = 100,
    state: State = None,
    bootstrap: Bootstrap = None,
    region: Region = "local",
    output: Out = Output.TABLE,
) -> None:
    """List dead letters, newest first."""
    from tether.cli.operator import connect, pages
    from tether.cli.output import print_rows
    from tether.v1.control_pb2 import ListDeadLettersRequest

    request = ListDeadLettersRequest(tenant_id=tenant, reason=reason.upper(), model_id=model)

    async def run() -> list["DeadLetter"]:
        async with connect(state, bootstrap, region) as operator:
            control = await operator.control()
            return await pages(control.ListDeadLetters, request, "dead_letters", limit)

    columns = ["name", "reason", "tenant_id", "model", "attempts", "kept", "requeues", "created_at", "message"]
    print_rows([_row(one) for one in asyncio.run(run())], output, columns)


@app.command("show", epilog="Example:  tether dead-letters show 0123456789abcdef0123456789abcdef --save request.bin")
def show(
    name: Name,
    save: Annotated[Path | None, typer.Option(help="Write the request or frame that is kept to this file.")] = None,
    state: State = None,
    bootstrap: Bootstrap = None,
    region: Region = "local",
    output: Out = Output.TABLE,
) -> None:
    """Show one with its attempts. Content is never printed; --save writes it where the tenant's policy kept it."""
    from tether.cli.operator import connect
    from tether.cli.output import print_object
    from tether.errors import Reason, TetherError
    from tether.v1.control_pb2 import GetDeadLetterRequest

    async def run() -> "DeadLetter":
        async with connect(state, bootstrap, region) as operator:
            control = await operator.control()
            return (await control.GetDeadLetter(GetDeadLetterRequest(name=name))).dead_letter

    found = asyncio.run(run())
    if save is not None:
        content = found.request or found.frame
        if not content:
            raise TetherError(Reason.ANSWER_NOT_KEPT, "nothing is kept of it; `retain: request` in a policy keeps it.")
        _write_private(save, content)
    print_object(_details(found), output)


@app.command("analyze", epilog="Example:  tether dead-letters analyze --by worker --within 24")
def analyze(
    by: Annotated[str, typer.Option(help="reason, model, worker or fingerprint; all four without it.")] = "",
    within: Annotated[
        float, typer.Option(help="Only those of the last so many hours; 0 is all.", min=0, max=HOURS_MAX)
    ] = 0,
    state: State = None,
    bootstrap: Bootstrap = None,
    region: Region = "local",
    output: Out = Output.TABLE,
) -> None:
    """Count dead letters by what they share. Largest first: look there before you requeue."""
    from google.protobuf.duration_pb2 import Duration

    from tether.cli.operator import connect
    from tether.cli.output import print_rows
    from tether.v1.control_pb2 import AnalyzeDeadLettersRequest

    span = Duration(seconds=round(within * 3_600)) if within else None
    request = AnalyzeDeadLettersRequest(by=by, within=span)

    async def run() -> list["DeadLetterGroup"]:
        async with connect(state, bootstrap, region) as operator:
            control = await operator.control()
            return list((await control.AnalyzeDeadLetters(request)).groups)

    print_rows([_group(one) for one in asyncio.run(run())], output)


@app.command("requeue", epilog="Example:  tether dead-letters requeue 0123456789abcdef0123456789abcdef")
def requeue(
    name: Name,
    request: Annotated[
        Path | None, typer.Option(help="The request as it was first sent, serialized, where none is kept.", exists=True)
    ] = None,
    state: State = None,
    bootstrap: Bootstrap = None,
    region: Region = "local",
    output: Out = Output.TABLE,
) -> None:
    """Run a dead job again under its own name. A client that resumes it gets the answer."""
    from tether.cli.operator import connect
    from tether.cli.output import print_object
    from tether.v1.control_pb2 import RequeueDeadLetterRequest

    content = _read(request) if request is not None else b""

    async def run() -> "Job":
        async with connect(state, bootstrap, region) as operator:
            control = await operator.control()
            return (await control.RequeueDeadLetter(RequeueDeadLetterRequest(name=name, request=content))).job

    print_object(_job(asyncio.run(run())), output)


@app.command("drop", epilog="Example:  tether dead-letters drop 0123456789abcdef0123456789abcdef")
def drop(
    name: Name,
    state: State = None,
    bootstrap: Bootstrap = None,
    region: Region = "local",
    output: Out = Output.TABLE,
) -> None:
    """Forget one with all that is kept of it. The job stays dead."""
    from tether.cli.operator import connect
    from tether.cli.output import print_object
    from tether.v1.control_pb2 import DropDeadLetterRequest

    async def run() -> None:
        async with connect(state, bootstrap, region) as operator:
            control = await operator.control()
            await control.DropDeadLetter(DropDeadLetterRequest(name=name))

    asyncio.run(run())
    print_object({"name": name, "dropped": True}, output)


def _read(file: Path) -> bytes:
    from tether.errors import Reason, TetherError

    with file.open("rb") as stream:
        content = stream.read(REQUEST_BYTES_MAX + 1)
    if len(content) > REQUEST_BYTES_MAX:
        raise TetherError(Reason.TOO_LARGE, f"{file} has over {REQUEST_BYTES_MAX} bytes: it is no request.")
    return content


def _write_private(file: Path, content: bytes) -> None:
    """Write a file that only its owner can read; none that is there is replaced."""
    import os

    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
        stream.write(content)


def _row(one: "DeadLetter") -> dict[str, object]:
    return {
        "name": one.name,
        "reason": one.reason,
        "tenant_id": one.job.tenant_id,
        "model": f"{one.job.model_id}:{one.job.version}" if one.HasField("job") else "",
        "attempts": len(one.attempts),
        "kept": one.kept,
        "requeues": one.requeues,
        "requeued_at": one.requeued_at.ToJsonString() if one.HasField("requeued_at") else None,
        "peer_id": one.peer_id,
        "trace_id": one.trace_id,
        "created_at": one.created_at.ToJsonString(),
        "message": one.message,
    }


def _details(one: "DeadLetter") -> dict[str, object]:
    from tether.v1.infer_pb2 import JobState

    job = one.job
    state = JobState.Name(job.state).removeprefix("JOB_STATE_").lower() if one.HasField("job") else None
    own = {"state": state, "correlation_id": job.correlation_id, "request_bytes": len(one.request)}
    return {**_row(one), **own, "frame_bytes": len(one.frame), "attempts": [_attempt(each) for each in one.attempts]}


def _attempt(one: "DeadAttempt") -> dict[str, object]:
    return {
        "epoch": one.epoch,
        "worker_id": one.worker_id,
        "worker_incarnation": one.worker_incarnation,
        "fingerprint": one.fingerprint.hex(),
        "gained_tokens": one.gained.tokens,
        "error": one.error,
        "placed_at": one.placed_at.ToJsonString(),
        "ended_at": one.ended_at.ToJsonString() if one.HasField("ended_at") else None,
    }


def _group(one: "DeadLetterGroup") -> dict[str, object]:
    return {
        "name": one.value,
        "by": one.by,
        "count": one.count,
        "first_at": one.first_at.ToJsonString(),
        "last_at": one.last_at.ToJsonString(),
        "example": one.example,
    }


def _job(job: "Job") -> dict[str, object]:
    from tether.v1.infer_pb2 import JobState

    return {
        "name": job.name,
        "state": JobState.Name(job.state).removeprefix("JOB_STATE_").lower(),
        "tenant_id": job.tenant_id,
        "model": f"{job.model_id}:{job.version}",
        "epoch": job.epoch,
    }
