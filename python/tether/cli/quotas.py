"""`tether quotas`: what tenants hold and have used, and whether it adds up."""

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from tether.cli.option import Bootstrap, Out, Output, Region, State

if TYPE_CHECKING:
    from tether.v1.control_pb2 import Account, VerifyQuotasResponse
    from tether.v1.registry_pb2 import Quota

app = typer.Typer(rich_markup_mode=None, add_completion=False, no_args_is_help=True)

Tenant = Annotated[str, typer.Option(help="Only this tenant's.")]


@app.callback()
def quotas() -> None:
    """Show what tenants hold and have used, and check that it adds up."""


@app.command("show", epilog="Example:  tether quotas show --tenant demo")
def show(
    tenant: Tenant = "",
    state: State = None,
    bootstrap: Bootstrap = None,
    region: Region = "local",
    output: Out = Output.TABLE,
) -> None:
    """Show what tenants hold and have used. Beside it stand their limits, which `tether tenants quota` sets."""
    from tether.cli.operator import connect, pages
    from tether.cli.output import print_rows
    from tether.v1.control_pb2 import ListAccountsRequest
    from tether.v1.registry_pb2 import ListTenantsRequest

    async def run() -> tuple[list["Account"], dict[str, "Quota"]]:
        async with connect(state, bootstrap, region) as operator:
            control, access = await operator.control(), await operator.access()
            accounts = await pages(control.ListAccounts, ListAccountsRequest(tenant_id=tenant), "accounts")
            tenants = await pages(access.ListTenants, ListTenantsRequest(), "tenants")
            return accounts, {one.name: one.quota for one in tenants}

    accounts, limits = asyncio.run(run())
    print_rows([_row(one, limits.get(one.tenant_id)) for one in accounts], output)


@app.command("verify", epilog="Example:  tether quotas verify && echo all adds up")
def verify(
    tenant: Tenant = "",
    state: State = None,
    bootstrap: Bootstrap = None,
    region: Region = "local",
    output: Out = Output.TABLE,
) -> None:
    """Check that the books add up.

    Holds must be those of open jobs, and what is settled must be what was used. Exits with 1 where not.
    """
    from tether.cli.operator import connect
    from tether.cli.violation import report
    from tether.v1.control_pb2 import VerifyQuotasRequest

    async def run() -> "VerifyQuotasResponse":
        async with connect(state, bootstrap, region) as operator:
            control = await operator.control()
            return await control.VerifyQuotas(VerifyQuotasRequest(tenant_id=tenant))

    found = asyncio.run(run())
    report({"jobs": found.jobs, "entries": found.entries}, found.violations, output)


def _row(account: "Account", quota: "Quota | None") -> dict[str, object]:
    return {
        "name": account.tenant_id,
        "open_jobs": account.open_jobs,
        "concurrent_jobs": (quota and quota.concurrent_jobs) or None,
        "held_tokens": account.held_tokens,
        "tokens_today": account.tokens_today,
        "tokens_per_day": (quota and quota.tokens_per_day) or None,
        "spend_today_micros": account.spend_today_micros,
        "spend_per_day_micros": (quota and quota.spend_per_day_micros) or None,
        "input_tokens": account.input_tokens,
        "output_tokens": account.output_tokens,
        "spend_micros": account.spend_micros,
    }
