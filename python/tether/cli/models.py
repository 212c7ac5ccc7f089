"""`tether models`: what the region can run."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tether.cli.option import Bootstrap, Out, Output, Region, State

if TYPE_CHECKING:
    from tether.v1.registry_pb2 import Model

app = typer.Typer(rich_markup_mode=None, add_completion=False, no_args_is_help=True)


@app.callback()
def models() -> None:
    """List, show and push models."""


@app.command("ls", epilog="Example:  tether models ls -o json")
def ls(state: State = None, bootstrap: Bootstrap = None, region: Region = "local", output: Out = Output.TABLE) -> None:
    """List the versions that are published."""
    from tether.cli.operator import connect, pages
    from tether.cli.output import print_rows
    from tether.v1.registry_pb2 import ListModelsRequest

    async def run() -> list["Model"]:
        async with connect(state, bootstrap, region) as operator:
            registry = await operator.registry()
            return await pages(registry.ListModels, ListModelsRequest(), "models")

    columns = ["name", "format", "context_tokens", "total_bytes", "tier", "capabilities", "deprecated", "created_at"]
    print_rows([_row(one) for one in asyncio.run(run())], output, columns)


@app.command("show", epilog="Example:  tether models show tether-demo:1.0")
def show(
    name: Annotated[str, typer.Argument(help="NAME, or NAME:VERSION.")],
    state: State = None,
    bootstrap: Bootstrap = None,
    region: Region = "local",
    output: Out = Output.TABLE,
) -> None:
    """Show one version with its files and defaults."""
    from tether.cli.operator import connect
    from tether.cli.output import print_object
    from tether.name import model_and_version
    from tether.v1.registry_pb2 import GetModelRequest

    model_id, version = model_and_version(name)

    async def run() -> "Model":
        async with connect(state, bootstrap, region) as operator:
            registry = await operator.registry()
            return (await registry.GetModel(GetModelRequest(model_id=model_id, version=version))).model

    print_object(_details(asyncio.run(run())), output)


@app.command("push", epilog="Example:  tether models push build/demo-model tether-demo:1.1")
def push(
    folder: Annotated[
        Path, typer.Argument(help="Folder as `make demo-model` writes it.", exists=True, file_okay=False)
    ],
    name: Annotated[str, typer.Argument(help="NAME:VERSION.")],
    state: State = None,
    bootstrap: Bootstrap = None,
    region: Region = "local",
    output: Out = Output.TABLE,
) -> None:
    """Sign a model, upload what the registry lacks, and publish it. The same again is no change."""
    from tether.cli.operator import connect
    from tether.cli.output import print_object
    from tether.name import model_and_version
    from tether.registry.push import push as push_model

    model_id, version = model_and_version(name)

    async def run() -> "Model":
        async with connect(state, bootstrap, region) as operator:
            channel, metadata = await operator.registry_channel()
            return await push_model(
                folder,
                model_id,
                version,
                channel=channel,
                metadata=metadata,
                identity=operator.identity,
                progress=_show,
            )

    print_object(_details(asyncio.run(run())), output)


def _show(path: str, sent_bytes: int, total_bytes: int) -> None:
    """Say how far an upload is, on standard error."""
    if total_bytes and sent_bytes >= total_bytes:
        typer.echo(f"  {path}  {total_bytes:,} bytes", err=True)


def _row(model: "Model") -> dict[str, object]:
    return {
        "name": model.name,
        "model_id": model.model_id,
        "version": model.version,
        "format": model.format,
        "digest": model.digest.hex(),
        "context_tokens": model.context_tokens,
        "total_bytes": model.total_bytes,
        "tier": model.tier,
        "capabilities": list(model.capabilities),
        "deprecated": model.deprecated,
        "created_at": model.created_at.ToJsonString(),
    }


def _details(model: "Model") -> dict[str, object]:
    from google.protobuf.json_format import MessageToDict

    from tether.v1.registry_pb2 import Manifest, ManifestBody

    body = ManifestBody.FromString(Manifest.FromString(model.manifest).body)
    files = [f"{one.path} ({one.size_bytes:,} bytes, sha256 {one.sha256.hex()[:16]}…)" for one in body.files]
    return {**_row(model), "licence": body.licence, "files": files, "defaults": MessageToDict(model.defaults)}
