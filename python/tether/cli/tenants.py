"""`tether tenants`: who pays."""

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from tether.cli.option import Bootstrap, Out, Output, Region, State

if TYPE_CHECKING:
    from tether.v1.registry_pb2 import Tenant

app = typer.Typer(rich_markup_mode=None, add_completion=False, no_args_is_help=True)


@app.callback()
def tenants() -> None:
    """List and make tenants, set quotas."""


@app.command("ls", epilog="Example:  tether tenants ls")
def ls(state: State = None, bootstrap: Bootstrap = None, region: Region = "local", output: Out = Output.TABLE) -> None:
    """List tenants."""
    from tether.cli.operator import connect, pages
    from tether.cli.output import print_rows
    from tether.v1.registry_pb2 import ListTenantsRequest

    async def run() -> list["Tenant"]:
        async with connect(state, bootstrap, region) as operator:
            access = await operator.access()
            return await pages(access.ListTenants, ListTenantsRequest(), "tenants")

    print_rows([_row(one) for one in asyncio.run(run())], output)


@app.command("create", epilog="Example:  tether tenants create acme --requests-per-minute 600")
def create(
    tenant: Annotated[str, typer.Argument(help="Id: lower-case letters, digits and hyphens.")],
    display_name: Annotated[str, typer.Option(help="Name for people.")] = "",
    requests_per_minute: Annotated[int, typer.Option(help="Limit; 0 is none.", min=0)] = 0,
    state: State = None,
    bootstrap: Bootstrap = None,
    region: Region = "local",
    output: Out = Output.TABLE,
) -> None:
    """Make a tenant. The same again is no change."""
    from tether.cli.operator import connect
    from tether.cli.output import print_object
    from tether.v1.registry_pb2 import CreateTenantRequest, Quota

    quota = Quota(requests_per_minute=requests_per_minute)
    request = CreateTenantRequest(tenant_id=tenant, display_name=display_name, quota=quota)

    async def run() -> "Tenant":
        async with connect(state, bootstrap, region) as operator:
            access = await operator.access()
            return (await access.CreateTenant(request)).tenant

    print_object(_row(asyncio.run(run())), output)


@app.command("quota", epilog="Example:  tether tenants quota acme --requests-per-minute 60")
def quota(
    tenant: Annotated[str, typer.Argument(help="Tenant's id.")],
    requests_per_minute: Annotated[int, typer.Option(help="Limit; 0 is none.", min=0)],
    state: State = None,
    bootstrap: Bootstrap = None,
    region: Region = "local",
    output: Out = Output.TABLE,
) -> None:
    """Set a tenant's quota."""
    from tether.cli.operator import connect
    from tether.cli.output import print_object
    from tether.v1.registry_pb2 import Quota, SetQuotaRequest

    request = SetQuotaRequest(tenant_id=tenant, quota=Quota(requests_per_minute=requests_per_minute))

    async def run() -> "Tenant":
        async with connect(state, bootstrap, region) as operator:
            access = await operator.access()
            return (await access.SetQuota(request)).tenant

    print_object(_row(asyncio.run(run())), output)


def _row(tenant: "Tenant") -> dict[str, object]:
    return {
        "name": tenant.name,
        "display_name": tenant.display_name,
        "requests_per_minute": tenant.quota.requests_per_minute or None,
        "suspended": tenant.suspended,
        "created_at": tenant.created_at.ToJsonString(),
    }
