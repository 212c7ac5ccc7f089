"""`tether up`: a region in one process, a first answer, and what to try next."""

import json
import shlex
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from tether.cli.region import Region

app = typer.Typer(rich_markup_mode=None, add_completion=False)

CHAOS_STEP_MS = 10.0  # the answer takes two seconds: slow enough to watch, and to be cut in its middle
EPILOG = """Examples:

\b
  tether up                               a region, a first answer, then serves until Ctrl-C
  tether up --workers 3                   three workers, so that one may die
  tether up --once                        stream one answer, drain, exit 0
  tether up --workers 3 --chaos           kill the worker that answers, and see that nothing is lost
  tether up --gateway-port 0 --bridge-port 0 --metrics-port 0 --state ./scratch
"""


@app.command(epilog=EPILOG)
def up(
    workers: Annotated[int, typer.Option(help="How many workers.", min=1, max=64)] = 1,
    region: Annotated[str, typer.Option(help="Region's slug, such as eu-west.")] = "local",
    state: Annotated[
        Path | None,
        typer.Option(envvar="TETHER_STATE", help="Folder for keys and data.", show_default="the user's state folder"),
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Stream one answer, drain, exit.")] = False,
    chaos: Annotated[
        bool, typer.Option("--chaos", help="Run workers as processes and kill -9 the one that answers.")
    ] = False,
    gateway_port: Annotated[int, typer.Option(help="gRPC port; 0 is any free one.", min=0, max=65535)] = 7400,
    bridge_port: Annotated[int, typer.Option(help="HTTP port; 0 is any free one.", min=0, max=65535)] = 7480,
    metrics_port: Annotated[int, typer.Option(help="Prometheus port; 0 is any free one.", min=0, max=65535)] = 7490,
    overlay_port: Annotated[int, typer.Option(help="UDP port to bootstrap from; 0 is any.", min=0, max=65535)] = 0,
    prompt: Annotated[str | None, typer.Option(help="What to ask first.", show_default="an example")] = None,
    drain_grace: Annotated[float, typer.Option(help="Seconds that running answers have after Ctrl-C.")] = 30.0,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "warning",
) -> None:
    """Start a whole region in one process, stream a first answer, and serve until Ctrl-C."""
    began_s = time.monotonic()
    import os

    from tether.app import run
    from tether.cli.region import Plan, Region
    from tether.client.target import default_state
    from tether.observe.log import configure_logging

    configure_logging("error" if chaos and log_level == "warning" else log_level)  # the loss of a worker is the point
    plan = Plan(
        state=(state or default_state(os.environ)).absolute(),
        region=region,
        workers=workers,
        gateway_port=gateway_port,
        bridge_port=bridge_port,
        metrics_port=metrics_port,
        overlay_port=overlay_port,
        children=chaos,
        extra={"worker": {"step_delay_ms": CHAOS_STEP_MS}} if chaos else {},
    )
    if chaos:
        check_chaos(workers, prompt)
        sys.exit(run(_serve_chaos(Region(plan), plan.state, began_s, drain_grace, once=once)))
    sys.exit(run(_serve(Region(plan), plan.state, began_s, prompt, drain_grace, once=once)))


def check_chaos(workers: int, prompt: str | None) -> None:
    """Pass where somebody is left to go on, and the prompt is the one whose answer is long enough.

    Raises:
        TetherError: INVALID_FIELD.
    """
    from tether.errors import Reason, TetherError

    if workers < 2:
        raise TetherError(Reason.INVALID_FIELD, "--chaos kills a worker: give --workers 2 or more", field="workers")
    if prompt is not None:
        raise TetherError(Reason.INVALID_FIELD, "--chaos asks its own prompt: leave --prompt out", field="prompt")


async def _serve_chaos(region: "Region", state: Path, began_s: float, grace_s: float, *, once: bool) -> int:
    """Start, kill the worker that answers, show what came of it, and serve until told to stop."""
    from tether.cli.chaos import show
    from tether.cli.lifetime import hold

    wrong: list[str] = []

    async def greet() -> None:
        _print_ready(region, state, time.monotonic() - began_s)
        wrong.extend(await show(state, region.slug, region.children))
        if not once:
            await region.revive()
            _print_next(region, state)

    code = await hold(region, grace_s, greet, once=once)
    return 1 if wrong else code


async def _serve(
    region: "Region", state: Path, began_s: float, prompt: str | None, grace_s: float, *, once: bool
) -> int:
    """Start, answer, and serve until told to stop."""
    from tether.cli.first import first_answer
    from tether.cli.lifetime import hold

    async def greet() -> None:
        _print_ready(region, state, time.monotonic() - began_s)
        await first_answer(state, region.slug, prompt or _examples()[0], began_s)
        if not once:
            _print_next(region, state)

    return await hold(region, grace_s, greet, once=once)


def _examples() -> list[str]:
    """Return prompts that the demo model answers well."""
    from tether.cli.region import demo_folder

    found = json.loads((demo_folder() / "examples.json").read_text(encoding="utf-8"))
    return [one["prompt"] for one in found["examples"]]


def _print_ready(region: "Region", state: Path, seconds: float) -> None:
    found = region.endpoints()
    typer.secho(f"Tether is up after {seconds:.2f} s", bold=True, nl=False)
    typer.echo(f", {region.workers} worker{'s' if region.workers > 1 else ''}, state in {state}")
    typer.echo(f"  gateway  {found['gateway']}  gRPC")
    typer.echo(f"  bridge   http://{found['bridge']}/v1  OpenAI HTTP")
    typer.echo(f"  metrics  http://{found['metrics']}/metrics")
    typer.echo(f"  overlay  {found['overlay']}  others join with --bootstrap")
    typer.echo("  Services bind loopback only for now: nobody but this machine can reach them.")


def _print_next(region: "Region", state: Path) -> None:
    """Print commands that work when pasted into another terminal."""
    found = region.endpoints()
    tether = shutil.which("tether") or sys.argv[0]
    tether = tether if shutil.which("tether") == tether and ".venv" not in tether else _relative(tether)
    key_file = shlex.quote(str(state / "demo.key"))
    prompts = _examples()
    typer.secho("\nNext, in another terminal:", bold=True)
    typer.echo(f"  export TETHER_STATE={shlex.quote(str(state))}")
    typer.echo(f"  {tether} infer {shlex.quote(prompts[1 % len(prompts)])}")
    typer.echo(f"  {tether} workers ls")
    chat = json.dumps({"model": "tether-demo", "messages": [{"role": "user", "content": prompts[2 % len(prompts)]}]})
    typer.echo(
        f'  curl http://{found["bridge"]}/v1/chat/completions -H "authorization: Bearer $(cat {key_file})" '
        f"-H 'content-type: application/json' -d {shlex.quote(chat)}"
    )
    body = json.dumps({"modelId": "tether-demo", "input": {"text": prompts[0]}, "parameters": {"maxTokens": 64}})
    typer.echo(
        f'  grpcurl -plaintext -H "authorization: Bearer $(cat {key_file})" -d {shlex.quote(body)} '
        f"{found['gateway']} tether.v1.InferenceService/Infer"
    )
    typer.echo("Ctrl-C drains and stops.")


def _relative(path: str) -> str:
    """Return `path` as seen from here, where that is shorter."""
    try:
        return str(Path(path).relative_to(Path.cwd()))
    except ValueError:
        return path
