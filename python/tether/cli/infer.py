"""`tether infer`: ask a model and print the answer while it comes."""

import asyncio
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tether.cli.option import Out, Output, State

if TYPE_CHECKING:
    from tether.client.stream import Stream


class Priority(StrEnum):
    """Scheduling classes."""

    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"


app = typer.Typer(rich_markup_mode=None, add_completion=False)

DEFAULT_MODEL = "tether-demo"
STDIN_BYTES_MAX = 3_145_728  # the most that a gateway can be set to take

EPILOG = """Examples:

\b
  tether infer "Remind Bob to call Alice on Monday at 5pm."
  echo "What does str.split do?" | tether infer -
  tether infer --model tether-demo:1.0 --temperature 0.7 --seed 7 -o json "hello"
  tether infer --correlation-id order-17 "hello"    # a repeat reads the same answer
  tether infer --schema order.json --receipt paid.bin "Two pizzas to Alice at 7pm."
"""


@app.command(epilog=EPILOG)
def infer(
    prompt: Annotated[str, typer.Argument(help="What to ask; - reads standard input.")],
    model: Annotated[str, typer.Option("-m", "--model", help="Model, or model:version.")] = DEFAULT_MODEL,
    max_tokens: Annotated[int | None, typer.Option(help="Most tokens to generate.", min=1)] = None,
    temperature: Annotated[float | None, typer.Option(help="0 (greedy) to 2.")] = None,
    top_p: Annotated[float | None, typer.Option(help="Over 0, up to 1.")] = None,
    top_k: Annotated[int | None, typer.Option(help="Keep the k likeliest tokens.")] = None,
    stop: Annotated[list[str] | None, typer.Option(help="Text that ends the answer; may be repeated.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the sampler.")] = None,
    chat: Annotated[bool, typer.Option("--chat", help="Send the prompt as a user's message.")] = False,
    correlation_id: Annotated[str, typer.Option(help="Name of the request, so that a repeat is recognised.")] = "",
    retry_token: Annotated[str, typer.Option(help="Second half of that name.")] = "",
    schema: Annotated[Path | None, typer.Option(help="File with a JSON schema that the answer must satisfy.")] = None,
    regex: Annotated[str | None, typer.Option(help="Regular expression that the whole answer must match.")] = None,
    json_object: Annotated[bool, typer.Option("--json-object", help="The answer must be a JSON object.")] = False,
    priority: Annotated[Priority | None, typer.Option(help="Scheduling class.")] = None,
    relay: Annotated[bool, typer.Option("--relay", help="Let an orchestrator relay the chunks.")] = False,
    root: Annotated[
        Path | None, typer.Option(help="Network's root.bin, or a folder with it: fail unless the receipt holds.")
    ] = None,
    receipt: Annotated[Path | None, typer.Option(help="Write the worker's receipt here.")] = None,
    timeout: Annotated[float, typer.Option(help="Seconds for the whole answer.", min=0.001, max=3600)] = 60.0,
    address: Annotated[
        str | None, typer.Option(envvar="TETHER_ADDRESS", help="host:port of a gateway; several with commas.")
    ] = None,
    key: Annotated[
        str | None, typer.Option(envvar="TETHER_KEY", help="API key.", show_default="demo.key of the state folder")
    ] = None,
    state: State = None,
    output: Out = Output.TABLE,
) -> None:
    """Ask a model and stream its answer."""
    from tether.client.aio import Client
    from tether.client.typing import OptionValues

    text = _standard_input() if prompt == "-" else prompt
    options = OptionValues(
        max_tokens=max_tokens,
        temperature=temperature,
        top_p=top_p,
        top_k=top_k,
        stop=stop or (),
        seed=seed,
        correlation_id=correlation_id,
        retry_token=retry_token,
        timeout_s=timeout,
        json_schema=_schema(schema),
        regex=regex,
        json_object=json_object,
        priority=None if priority is None else priority.value,
        path="relay" if relay else None,
    )

    async def run() -> None:
        async with Client(address, key, state=state, root=root) as client:
            question = [{"role": "user", "content": text}] if chat else text
            async with client.stream(question, model=model, **options) as stream:  # type: ignore[arg-type]
                await _print(stream, output)
                if receipt is not None:
                    receipt.write_bytes((await stream.answer()).receipt.SerializeToString())

    asyncio.run(run())


def _schema(path: Path | None) -> str | None:
    """Read a schema.

    Raises:
        TetherError: SCHEMA_INVALID where it is no JSON.
    """
    if path is None:
        return None
    import json

    from tether.errors import Reason, TetherError

    text = path.read_text(encoding="utf-8")
    try:
        json.loads(text)
    except ValueError as error:
        raise TetherError(Reason.SCHEMA_INVALID, f"{path} is no JSON: {error}", field="response_format") from error
    return text


def _standard_input() -> str:
    """Read the prompt from standard input.

    Raises:
        TetherError: TOO_LARGE, or INVALID_FIELD where it is no UTF-8.
    """
    from tether.errors import Reason, TetherError

    raw = sys.stdin.buffer.read(STDIN_BYTES_MAX + 1)
    if len(raw) > STDIN_BYTES_MAX:
        raise TetherError(Reason.TOO_LARGE, f"the prompt has over {STDIN_BYTES_MAX:,} bytes", field="input")
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise TetherError(
            Reason.INVALID_FIELD, f"the prompt is no UTF-8 at byte {error.start}", field="input"
        ) from error


async def _print(stream: "Stream", output: Output) -> None:
    """Print pieces as they come, or one object at the end."""
    if output is Output.TABLE:
        async for piece in stream:
            typer.echo(piece.text, nl=False)
        typer.echo()
        return
    from tether.cli.output import print_object

    answer = await stream.answer()
    fields = ("text", "finish_reason", "model", "correlation_id", "retry_token", "joined", "settled")
    found = {name: getattr(answer, name) for name in fields}
    usage = {"input_tokens": answer.input_tokens, "output_tokens": answer.output_tokens}
    print_object({"name": answer.job_id, **found, **usage}, output)
