"""`tether keys`: how tenants prove who they are."""

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from tether.cli.option import Bootstrap, Out, Output, Region, State

if TYPE_CHECKING:
    from tether.v1.registry_pb2 import CreateKeyResponse, Key

app = typer.Typer(rich_markup_mode=None, add_completion=False, no_args_is_help=True)


@app.callback()
def keys() -> None:
    """List, make and revoke API keys."""


@app.command("ls", epilog="Example:  tether keys ls --tenant demo")
def ls(
    tenant: Annotated[str, typer.Option(help="Only this tenant's.")] = "",
    state: State = None,
    bootstrap: Bootstrap = None,
    region: Region = "local",
    output: Out = Output.TABLE,
) -> None:
    """List keys, without their secrets."""
    from tether.cli.operator import connect, pages
    from tether.cli.output import print_rows
    from tether.v1.registry_pb2 import ListKeysRequest

    async def run() -> list["Key"]:
        async with connect(state, bootstrap, region) as operator:
            access = await operator.access()
            return await pages(access.ListKeys, ListKeysRequest(tenant_id=tenant), "keys")

    print_rows([_row(one) for one in asyncio.run(run())], output)


@app.command("create", epilog="Example:  export TETHER_KEY=$(tether keys create --tenant demo --quiet)")
def create(
    tenant: Annotated[str, typer.Option(help="Tenant that the key acts for.")],
    label: Annotated[str, typer.Option(help="Label for people.")] = "",
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Print the token alone.")] = False,
    state: State = None,
    bootstrap: Bootstrap = None,
    region: Region = "local",
    output: Out = Output.TABLE,
) -> None:
    """Make a key. Its token is shown once."""
    from tether.cli.operator import connect
    from tether.cli.output import print_object
    from tether.v1.registry_pb2 import CreateKeyRequest

    async def run() -> "CreateKeyResponse":
        async with connect(state, bootstrap, region) as operator:
            access = await operator.access()
            return await access.CreateKey(CreateKeyRequest(tenant_id=tenant, label=label))

    made = asyncio.run(run())
    if quiet:
        typer.echo(made.token)
        return
    print_object({**_row(made.key), "token": made.token}, output)


@app.command("revoke", epilog="Example:  tether keys revoke 0123456789abcdef")
def revoke(
    key: Annotated[str, typer.Argument(help="Key's id, 16 hex digits.")],
    state: State = None,
    bootstrap: Bootstrap = None,
    region: Region = "local",
    output: Out = Output.TABLE,
) -> None:
    """End a key; every gateway refuses it within a second."""
    from tether.cli.operator import connect
    from tether.cli.output import print_object
    from tether.v1.registry_pb2 import RevokeKeyRequest

    async def run() -> "Key":
        async with connect(state, bootstrap, region) as operator:
            access = await operator.access()
            return (await access.RevokeKey(RevokeKeyRequest(key_id=key))).key

    print_object(_row(asyncio.run(run())), output)


def _row(key: "Key") -> dict[str, object]:
    return {
        "name": key.name,
        "tenant_id": key.tenant_id,
        "label": key.label,
        "revoked": key.revoked,
        "created_at": key.created_at.ToJsonString(),
        "expires_at": key.expires_at.ToJsonString() if key.HasField("expires_at") else None,
    }
