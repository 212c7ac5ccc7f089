"""What `tether up --chaos` shows: an answer whose worker is killed with -9 while it streams, and that nothing was lost.

The same request runs twice, with one seed: first undisturbed, then on screen while its worker dies. The bytes must be
equal, the receipt must hold and say who made which part, and the bill must be for the answer once.
"""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from tether.cli.first import READY_S_MAX, explain_workers, when_ready
from tether.cli.infer import DEFAULT_MODEL
from tether.client.aio import Client, load_root
from tether.client.receipt import verify_receipt
from tether.client.result import Piece
from tether.client.target import read_endpoints
from tether.errors import Reason, TetherError
from tether.v1.infer_pb2 import Infer, Job, JobState

if TYPE_CHECKING:
    from tether.cli.child import Child
    from tether.client.stream import Stream

PROMPT = "Recite the zen of python."  # the longest answer that the demo model has by heart
SEED, TEMPERATURE = 20_261_121, 0.7  # drawn answers, so that equal bytes say something
KILL_AT_TOKEN = 60  # a quarter of it
ANSWER_S = 60.0


@dataclass
class Shown:
    """What came of the answer on screen.

    Attributes:
        text: all of it.
        victim: the worker that was killed.
        pid: of its process.
        at_tokens: tokens that had come when it was killed.
        gap_ms: longest wait for a piece after the kill.
        job: as it stands in the store.
        receipt: what the worker signed.
        resumes: how often the client had to take the stream up again.
    """

    text: str = ""
    victim: str = ""
    pid: int = 0
    at_tokens: int = 0
    gap_ms: float = 0.0
    job: Job = field(default_factory=Job)
    receipt: Infer.ReceiptBody = field(default_factory=Infer.ReceiptBody)
    resumes: int = 0


async def show(state: Path, region: str, workers: "list[Child]") -> list[str]:
    """Run the demonstration.

    Args:
        state: state folder of the region.
        region: its slug.
        workers: child processes.

    Returns:
        What does not hold; empty when nothing was lost.

    Raises:
        TetherError: where no worker gets ready, or the answer cannot be finished.
    """
    key = (state / "demo.key").read_text(encoding="utf-8").strip()
    async with Client(read_endpoints(state)["gateway"], key) as client:
        undisturbed = await _undisturbed(client, state, region)
        typer.secho(f"\n> {PROMPT}", fg="cyan")
        homes = await _homes(state, region, workers)
        shown = await _disturbed(client, state, homes)
    wrong = judge(shown, undisturbed)
    _tell(shown, undisturbed, wrong)
    return wrong


async def _undisturbed(client: Client, state: Path, region: str) -> str:
    """The answer that nothing disturbs, once a worker is ready."""
    found: list[str] = []

    async def ask() -> None:
        async with _stream(client) as stream:
            found.append((await stream.answer()).text)

    async def why() -> str:
        return await explain_workers(state, region)

    await when_ready(ask, why, READY_S_MAX)
    return found[0]


def _stream(client: Client) -> "Stream":
    return client.stream(
        PROMPT, model=DEFAULT_MODEL, seed=SEED, temperature=TEMPERATURE, max_tokens=400, timeout_s=ANSWER_S
    )


async def _disturbed(client: Client, state: Path, homes: "dict[str, Child]") -> Shown:
    """Stream on screen, and kill the worker that streams.

    Raises:
        TetherError: WORKER_LOST where that is none of these; or what ended the answer.
    """
    shown, last_s = Shown(), 0.0
    async with _stream(client) as stream:
        async for piece in stream:
            now_s = time.monotonic()
            if shown.victim:
                shown.gap_ms = max(shown.gap_ms, (now_s - last_s) * 1_000)
            _show(piece, killed=bool(shown.victim))
            shown.text, last_s = shown.text + piece.text, now_s
            if not shown.victim and piece.tokens >= KILL_AT_TOKEN and not piece.done:
                victim = await _worker_of(client, stream.job_id, homes)
                victim.kill()
                last_s = time.monotonic()
                shown.victim, shown.pid, shown.at_tokens = victim.name, victim.pid, piece.tokens
                typer.secho(f" ✂ kill -9 {victim.pid} ({victim.name}) ", fg="white", bg="red", nl=False)
        answer = await stream.answer()
        shown.resumes = stream.resumes
    typer.echo()
    shown.receipt = verify_receipt(answer.receipt, load_root(state / "network"), time.time())
    shown.job = await client.job(job_id=answer.job_id)
    return shown


def _show(piece: Piece, *, killed: bool) -> None:
    typer.secho(piece.text, fg="yellow" if killed else "green", nl=False)


async def _homes(state: Path, region: str, workers: "list[Child]") -> "dict[str, Child]":
    """The children by their workers' names, looked up before it must go fast."""
    from tether.cli.operator import connect, pages
    from tether.v1.control_pb2 import ListWorkersRequest

    async with connect(state, None, region) as operator:
        found: list[Any] = await pages((await operator.control()).ListWorkers, ListWorkersRequest(), "workers")
    addresses = {one.report.address: one.name for one in found}
    homes = {addresses.get(address): child for child in workers for address in child.endpoints().values()}
    return {name: child for name, child in homes.items() if name is not None}


async def _worker_of(client: Client, job_id: str, homes: "dict[str, Child]") -> "Child":
    """The child that runs a job."""
    job = await client.job(job_id=job_id)
    if job.worker_id not in homes:
        raise TetherError(Reason.WORKER_LOST, "The worker that answers is none of this region's.")
    return homes[job.worker_id]


def judge(shown: Shown, undisturbed: str) -> list[str]:
    """What does not hold. Pure.

    Args:
        shown: what came while the worker died.
        undisturbed: the answer of a run that nothing disturbed.
    """
    generated = shown.receipt.usage.output_tokens + sum(
        part.end.tokens - part.start.tokens for part in shown.receipt.handed
    )
    claims = {
        "no worker was killed: the answer was too short": bool(shown.victim),
        "no other worker went on: the answer was whole when its worker was killed": shown.receipt.epoch > 1,
        "the bytes differ from the undisturbed run": shown.text == undisturbed,
        "the client saw the failure": shown.resumes == 0,
        "the receipt is not of the whole answer": shown.receipt.complete
        and shown.receipt.end.bytes == len(shown.text.encode()),
        "the receipt does not say who made which part": generated == shown.receipt.end.tokens,
        "the job is not settled": shown.job.state == JobState.JOB_STATE_DONE,
        "the bill is not for the answer": shown.job.usage.output_tokens == shown.receipt.end.tokens,
    }
    return [words for words, holds in claims.items() if not holds]


def _tell(shown: Shown, undisturbed: str, wrong: list[str]) -> None:
    receipt, handed = shown.receipt, shown.receipt.handed
    before = sum(part.end.tokens - part.start.tokens for part in handed)
    same = "equal" if shown.text == undisturbed else "NOT equal"
    lines = {
        "killed": f"{shown.victim} (pid {shown.pid}) with SIGKILL, {shown.at_tokens} tokens into its answer",
        "went on": f"on another worker; the client waited {shown.gap_ms:.0f} ms at most, and saw nothing of it",
        "bytes": f"{len(shown.text.encode())} of {len(undisturbed.encode())}, {same} to an undisturbed run",
        "receipt": f"holds; {before} tokens of attempt 1 handed over, {receipt.usage.output_tokens} made by attempt "
        f"{receipt.epoch}",
        "bill": f"one job, {shown.job.usage.output_tokens} output tokens, once",
    }
    for name, words in lines.items():
        typer.echo(f"  {name:<9}{words}")
    for words in wrong:
        typer.secho(f"  WRONG    {words}", fg="red")
    typer.secho("  Something was lost." if wrong else "  Nothing was lost, nothing came twice.", bold=True)
