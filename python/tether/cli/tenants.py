"""`tether tenants`: who pays."""

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from tether.cli.option import Bootstrap, Out, Output, Region, State

if TYPE_CHECKING:
    from tether.v1.registry_pb2 import Quota, Tenant
    from tether.v1.registry_pb2_grpc import AccessServiceAsyncStub

app = typer.Typer(rich_markup_mode=None, add_completion=False, no_args_is_help=True)

PerMinute = Annotated[int | None, typer.Option(help="Requests per minute; 0 is no limit.", min=0)]
TokensPerMinute = Annotated[int | None, typer.Option(help="Tokens per minute; 0 is no limit.", min=0)]
TokensPerDay = Annotated[int | None, typer.Option(help="Tokens per day (UTC); 0 is no limit.", min=0)]
Concurrent = Annotated[int | None, typer.Option(help="Jobs at a time; 0 is no limit.", min=0)]
Spend = Annotated[
    int | None,
    typer.Option(help="Spend per day (UTC) in millionths of the unit of account; 0 is no limit.", min=0),
]


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


@app.command("create", epilog="Example:  tether tenants create acme --requests-per-minute 600 --tokens-per-day 5000000")
def create(
    tenant: Annotated[str, typer.Argument(help="Id: lower-case letters, digits and hyphens.")],
    display_name: Annotated[str, typer.Option(help="Name for people.")] = "",
    requests_per_minute: PerMinute = None,
    tokens_per_minute: TokensPerMinute = None,
    tokens_per_day: TokensPerDay = None,
    concurrent_jobs: Concurrent = None,
    spend_per_day_micros: Spend = None,
    state: State = None,
    bootstrap: Bootstrap = None,
    region: Region = "local",
    output: Out = Output.TABLE,
) -> None:
    """Make a tenant. The same again is no change."""
    from tether.cli.operator import connect
    from tether.cli.output import print_object
    from tether.v1.registry_pb2 import CreateTenantRequest, Quota

    limits = {
        "requests_per_minute": requests_per_minute,
        "tokens_per_minute": tokens_per_minute,
        "tokens_per_day": tokens_per_day,
        "concurrent_jobs": concurrent_jobs,
        "spend_per_day_micros": spend_per_day_micros,
    }
    quota = _changed(Quota(), limits)
    request = CreateTenantRequest(tenant_id=tenant, display_name=display_name, quota=quota)

    async def run() -> "Tenant":
        async with connect(state, bootstrap, region) as operator:
            access = await operator.access()
            return (await access.CreateTenant(request)).tenant

    print_object(_row(asyncio.run(run())), output)


@app.command("quota", epilog="Example:  tether tenants quota acme --concurrent-jobs 20 --spend-per-day-micros 25000000")
def quota(
    tenant: Annotated[str, typer.Argument(help="Tenant's id.")],
    requests_per_minute: PerMinute = None,
    tokens_per_minute: TokensPerMinute = None,
    tokens_per_day: TokensPerDay = None,
    concurrent_jobs: Concurrent = None,
    spend_per_day_micros: Spend = None,
    state: State = None,
    bootstrap: Bootstrap = None,
    region: Region = "local",
    output: Out = Output.TABLE,
) -> None:
    """Change a tenant's limits. Those that are not given stay as they are."""
    from tether.cli.operator import connect
    from tether.cli.output import print_object
    from tether.errors import Reason, TetherError
    from tether.v1.registry_pb2 import SetQuotaRequest

    limits = {
        "requests_per_minute": requests_per_minute,
        "tokens_per_minute": tokens_per_minute,
        "tokens_per_day": tokens_per_day,
        "concurrent_jobs": concurrent_jobs,
        "spend_per_day_micros": spend_per_day_micros,
    }
    if all(limit is None for limit in limits.values()):
        text = "no limit is given; `tether tenants quota --help` lists them."
        raise TetherError(Reason.INVALID_FIELD, text, field="quota")

    async def run() -> "Tenant":
        async with connect(state, bootstrap, region) as operator:
            access = await operator.access()
            wanted = _changed(await _quota_of(access, tenant), limits)
            return (await access.SetQuota(SetQuotaRequest(tenant_id=tenant, quota=wanted))).tenant

    print_object(_row(asyncio.run(run())), output)


async def _quota_of(access: "AccessServiceAsyncStub", tenant: str) -> "Quota":
    """Return a tenant's quota; none for a tenant that is not there, which `SetQuota` then says."""
    from tether.cli.operator import pages
    from tether.v1.registry_pb2 import ListTenantsRequest, Quota

    tenants = await pages(access.ListTenants, ListTenantsRequest(), "tenants")
    return next((one.quota for one in tenants if one.name == tenant), Quota())


def _changed(quota: "Quota", limits: Mapping[str, int | None]) -> "Quota":
    """Return a quota with the limits that are given."""
    for field, limit in limits.items():
        if limit is not None:
            setattr(quota, field, limit)
    return quota


def _row(tenant: "Tenant") -> dict[str, object]:
    return {
        "name": tenant.name,
        "display_name": tenant.display_name,
        "requests_per_minute": tenant.quota.requests_per_minute or None,
        "tokens_per_minute": tenant.quota.tokens_per_minute or None,
        "tokens_per_day": tenant.quota.tokens_per_day or None,
        "concurrent_jobs": tenant.quota.concurrent_jobs or None,
        "spend_per_day_micros": tenant.quota.spend_per_day_micros or None,
        "suspended": tenant.suspended,
        "created_at": tenant.created_at.ToJsonString(),
    }
