"""`tether receipt`: what a worker signed, checked with the network's root document and nothing else."""

import base64
import binascii
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tether.cli.option import Out, Output, State

if TYPE_CHECKING:
    from tether.v1.infer_pb2 import Infer

app = typer.Typer(rich_markup_mode=None, add_completion=False, no_args_is_help=True)
RECEIPT_BYTES_MAX = 1_048_576  # a receipt has about a kilobyte; a file of this size is something else

EPILOG = """Examples:

\b
  tether infer --receipt paid.bin "hello" && tether receipt verify paid.bin
  tether jobs show JOB -o json > job.json && tether receipt verify job.json
  tether receipt verify paid.bin --root root.bin -o json
"""


@app.callback()
def receipts() -> None:
    """Check what workers signed."""


@app.command(epilog=EPILOG)
def verify(
    file: Annotated[Path, typer.Argument(help="A receipt as written by `tether infer --receipt`, or JSON with one.")],
    root: Annotated[
        Path | None, typer.Option(help="Root document, or a folder with it.", show_default="the state folder's")
    ] = None,
    state: State = None,
    output: Out = Output.TABLE,
) -> None:
    """Check a receipt offline. Tells who ran what, for whom, and what came out; exits with 0 only where it holds."""
    import os

    from tether.cli.output import print_object
    from tether.client.aio import load_root
    from tether.client.receipt import verify_receipt
    from tether.client.target import default_state

    trust = load_root(root or (state or default_state(os.environ)) / "network")
    body = verify_receipt(_read(file), trust, time.time())
    print_object(_fields(body), output)


def _read(file: Path) -> "Infer.Receipt":
    """Read a receipt: serialized, or JSON of a receipt, a job, or an answer.

    Raises:
        TetherError: MALFORMED.
    """
    from google.protobuf.message import DecodeError

    from tether.errors import Reason, TetherError
    from tether.v1.infer_pb2 import Infer

    with file.open("rb") as stream:
        raw = stream.read(RECEIPT_BYTES_MAX + 1)
    if len(raw) > RECEIPT_BYTES_MAX:
        raise TetherError(Reason.TOO_LARGE, f"{file} is too large for a receipt.")
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError):
        found = None
    try:
        return Infer.Receipt.FromString(raw) if not isinstance(found, dict) else _of_json(found)
    except (DecodeError, binascii.Error, KeyError, TypeError, AttributeError) as fault:
        raise TetherError(Reason.MALFORMED, f"{file} holds no receipt.") from fault


def _of_json(found: dict[str, object]) -> "Infer.Receipt":
    from tether.v1.infer_pb2 import Infer

    inner = found.get("receipt", found)
    if not isinstance(inner, dict):
        return Infer.Receipt.FromString(base64.b64decode(str(inner), validate=True))
    fields = {name: base64.b64decode(str(inner[name]), validate=True) for name in ("body", "signature", "credential")}
    return Infer.Receipt(**fields)


def _fields(body: "Infer.ReceiptBody") -> dict[str, object]:
    """What a person wants to know of it."""
    from tether.client.result import FINISH

    return {
        "job": body.job_id.hex(),
        "attempt": body.epoch,
        "attempts": max(1, body.attempts),
        "tenant": body.tenant_id,
        "correlation_id": body.correlation_id,
        "worker": body.worker_id,
        "model": f"{body.model_id}:{body.version}",
        "model_digest": body.model_digest.hex(),
        "seed": body.parameters.seed,
        "whole": body.complete,
        "finish_reason": FINISH.get(body.finish_reason, ""),
        "input_tokens": body.usage.input_tokens,
        "output_tokens": body.usage.output_tokens,
        "handed_prefixes": len(body.handed),
        "output_bytes": body.end.bytes,
        "input_commitment": body.input_commitment.hex(),
        "output_commitment": body.output_commitment.hex(),
        "ended_at": body.ended_at.ToJsonString(),
    }
