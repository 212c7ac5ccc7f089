"""The first answer of `tether up`: streamed, after a bounded wait for a worker that has its model ready.

A region is up before its model is loaded. A short wait hides that; after it the worker's own words say what is wrong.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from tether.cli.infer import DEFAULT_MODEL
from tether.client.aio import Client
from tether.client.target import read_endpoints
from tether.errors import Reason, TetherError

if TYPE_CHECKING:
    from tether.v1.control_pb2 import Worker

READY_S_MAX = 20.0  # the demo model loads in half a second; a failed load is tried four times in it
_AGAIN_S = 0.25  # soon after it is loaded
_ANSWER_S = 60.0


async def first_answer(state: Path, region: str, prompt: str, began_s: float) -> None:
    """Stream a first answer and say how fast it was.

    Args:
        state: state folder of the region.
        region: its slug.
        prompt: what to ask.
        began_s: when the region began to start, monotonic seconds.

    Raises:
        TetherError: NO_WORKER with what the workers say, where none got its model ready; what the stream raised.
    """

    async def why() -> str:
        return await explain_workers(state, region)

    typer.secho(f"\n> {prompt}", fg="cyan")
    await when_ready(lambda: _stream(state, prompt, began_s), why, READY_S_MAX)


async def when_ready(work: Callable[[], Awaitable[None]], why: Callable[[], Awaitable[str]], limit_s: float) -> None:
    """Do `work`, again while it finds no worker.

    Args:
        work: raises NO_WORKER before it has said anything.
        why: what is wrong, asked once the time is over.
        limit_s: how long, seconds.

    Raises:
        TetherError: NO_WORKER and why, or what `work` raised otherwise.
    """
    until_s, told = time.monotonic() + limit_s, False
    while True:
        try:
            return await work()
        except TetherError as error:
            if error.reason is not Reason.NO_WORKER:
                raise
            if time.monotonic() >= until_s:
                message = f"No worker got ready in {limit_s:.0f} s: {await why()}"
                raise TetherError(Reason.NO_WORKER, message) from error
            if not told:
                typer.echo(f"  {error.message.rstrip('.')}. Waiting up to {limit_s:.0f} s ...", err=True)
            told = True
        await asyncio.sleep(_AGAIN_S)


def explain(workers: Iterable["Worker"], model: str) -> str:
    """Why no worker has a model ready, by their own reports.

    Args:
        workers: as an orchestrator lists them.
        model: its name.
    """
    reports = [worker.report for worker in workers]
    waiting = [one for report in reports for one in report.model_cache if one.model.model_id == model]
    failed = [one for one in waiting if one.error]
    if failed:
        where = "see the workers' log lines 'model cannot be loaded', and their folders in the state folder"
        return (
            f"{len(failed)} of {len(reports)} workers could not load {model}: {failed[0].error.rstrip('.')} ({where})"
        )
    if waiting:
        return (
            f"{len(waiting)} of {len(reports)} workers still load {model}; `tether workers ls` shows when one is ready"
        )
    if reports:
        return f"none of {len(reports)} workers serves {model}; see `tether models ls` and `tether workers ls`"
    return "no worker has a link to the orchestrator; see the workers' log"


async def explain_workers(state: Path, region: str) -> str:
    """Why no worker of a region has the demo model ready."""
    return explain(await _workers(state, region), DEFAULT_MODEL)


async def _workers(state: Path, region: str) -> list["Worker"]:
    from tether.cli.operator import connect, pages
    from tether.v1.control_pb2 import ListWorkersRequest

    async with connect(state, None, region) as operator:
        return await pages((await operator.control()).ListWorkers, ListWorkersRequest(), "workers")


async def _stream(state: Path, prompt: str, began_s: float) -> None:
    sent_s = time.monotonic()
    first_s = 0.0
    key = (state / "demo.key").read_text(encoding="utf-8").strip()
    async with (
        Client(read_endpoints(state)["gateway"], key) as client,
        client.stream(prompt, model=DEFAULT_MODEL, timeout_s=_ANSWER_S) as stream,
    ):
        async for piece in stream:
            first_s = first_s or time.monotonic()
            typer.secho(piece.text, fg="green", nl=False)
        answer = await stream.answer()
    took_s = max(time.monotonic() - first_s, 1e-9)
    typer.echo(
        f"\n  {answer.output_tokens} tokens from {answer.model}, first after {(first_s - sent_s) * 1000:.0f} ms"
        f" ({first_s - began_s:.2f} s from the start), {answer.output_tokens / took_s:.0f} tokens/s"
    )
