"""`tether doctor`: what is there, what is missing, and what to do about it."""

import os
import platform
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, entry_points, version
from pathlib import Path

import typer

from tether.cli.option import Out, Output, State
from tether.errors import TetherError

app = typer.Typer(rich_markup_mode=None, add_completion=False)

PACKAGES = ("grpcio", "protobuf", "kademlia", "pynacl", "onnxruntime", "tokenizers", "uvloop")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        name: what.
        ok: whether it is as it must be.
        found: what was found.
        advice: what to do where it is not.
    """

    name: str
    ok: bool
    found: str
    advice: str = ""


@app.command(epilog="Example:  tether doctor -o json")
def doctor(
    state: State = None,
    output: Out = Output.TABLE,
) -> None:
    """Check this machine, the installation, and the region in the state folder. Exits 1 where something is wrong."""
    from tether.cli.output import print_rows
    from tether.client.target import default_state

    folder = state or default_state(os.environ)
    findings = [*_machine(), *_packages(), *_state(folder), *_region(folder)]
    rows: list[dict[str, object]] = [
        {"name": one.name, "ok": one.ok, "found": one.found, "advice": one.advice} for one in findings
    ]
    print_rows(rows, output)
    if not all(one.ok for one in findings):
        typer.echo("Something is missing: see the advice above.", err=True)
        raise typer.Exit(1)


def _machine() -> Iterator[Finding]:
    python_ok = sys.version_info >= (3, 11)
    yield Finding("python", python_ok, platform.python_version(), "" if python_ok else "install Python 3.11 or newer")
    yield _tried("native", _native_version, "run `make setup`, or install the wheel for this platform")


def _native_version() -> str:
    from tether import _native

    return _native.__version__


def _packages() -> Iterator[Finding]:
    for name in PACKAGES:
        yield _tried(name, lambda name=name: version(name), "pip install 'tether-mesh-services[onnx]'")  # type: ignore[misc]
    services = sorted(point.name for point in entry_points(group="tether.services"))
    advice = "" if services else "pip install 'tether-mesh-services[onnx]'"
    yield Finding("services", bool(services), ", ".join(services), advice)


def _tried(name: str, look: Callable[[], str], advice: str) -> Finding:
    """Look, and turn what is missing into advice."""
    try:
        return Finding(name, ok=True, found=look())
    except (ImportError, PackageNotFoundError) as error:
        return Finding(name, ok=False, found=f"missing: {error}", advice=advice)


def _state(folder: Path) -> Iterator[Finding]:
    if not folder.exists():
        yield Finding("state", ok=True, found=f"{folder} is not there yet", advice="`tether up` makes it")
        return
    writable = os.access(folder, os.W_OK | os.X_OK)
    yield Finding("state", writable, str(folder), "" if writable else "give a folder that you may write with --state")
    key = folder / "demo.key"
    if key.exists():
        private = key.stat().st_mode & 0o077 == 0
        yield Finding("demo.key", private, oct(key.stat().st_mode & 0o777), "" if private else f"chmod 600 {key}")


def _region(folder: Path) -> Iterator[Finding]:
    """Say which endpoints of the state folder answer."""
    from tether.client.target import read_endpoints

    try:
        found = read_endpoints(folder)
    except TetherError as error:
        yield Finding("endpoints.json", ok=False, found=error.message, advice="delete it and run `tether up`")
        return
    if not found:
        yield Finding("region", ok=True, found="none runs here", advice="`tether up` starts one")
    for name in ("gateway", "bridge", "metrics"):
        if name in found:
            answers = _answers(found[name])
            yield Finding(name, answers, found[name], "" if answers else "its process is gone; run `tether up` again")


def _answers(address: str) -> bool:
    """Whether something accepts connections at `address`."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=1.0):  # loopback answers in microseconds
            return True
    except OSError:
        return False
