"""`tether policy`: what tenants may run where and how."""

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tether.cli.option import Bootstrap, Out, Output, Region, State

if TYPE_CHECKING:
    from tether.policy import Decision
    from tether.v1.policy_pb2 import Policy

app = typer.Typer(rich_markup_mode=None, add_completion=False, no_args_is_help=True)

SHAPE = """Example:

\b
  cat > eu.yaml <<END
  rules:
    - name: stay-in-europe
      residency: [eu-west, eu-north]
    - name: small-model-when-full
      models: [llama3.1-70b]
      degrade: [{model_id: llama3.1-8b, max_tokens: 512}]
  END
  tether policy set eu.yaml --tenant acme --note "contract of May"
  tether policy test --tenant acme --model llama3.1-70b

The file is YAML or JSON in the shape of policy.proto; docs/policy.md explains every field. A file that names its
`version`, as `tether policy show` prints it, replaces that version only.
"""

Tenant = Annotated[str, typer.Option(help="Tenant that it is for; without it, the one for all.")]
File = Annotated[Path, typer.Argument(help="YAML or JSON file, or - for standard input.", allow_dash=True)]


@app.callback()
def policy() -> None:
    """Set, show and test what tenants may run where and how."""


@app.command("set", epilog=SHAPE)
def set_(
    file: File,
    tenant: Tenant = "",
    note: Annotated[str, typer.Option(help="Why, at most 256 bytes.")] = "",
    state: State = None,
    bootstrap: Bootstrap = None,
    region: Region = "local",
    output: Out = Output.TABLE,
) -> None:
    """Set a policy: the file's rules replace the ones that hold."""
    from tether.cli.operator import connect
    from tether.cli.output import print_object
    from tether.v1.registry_pb2 import SetPolicyRequest

    wanted = _read(file)
    wanted.tenant_id = _one_tenant(wanted.tenant_id, tenant)
    wanted.note = note or wanted.note
    request = SetPolicyRequest(policy=wanted, expected_version=wanted.version)

    async def run() -> "Policy":
        async with connect(state, bootstrap, region) as operator:
            access = await operator.access()
            return (await access.SetPolicy(request)).policy

    print_object(_row(asyncio.run(run())), output)


@app.command("show", epilog="Example:  tether policy show --tenant acme > acme.yaml")
def show(
    tenant: Tenant = "",
    version: Annotated[int, typer.Option(help="Version; 0 is the newest.", min=0, max=2**32 - 1)] = 0,
    state: State = None,
    bootstrap: Bootstrap = None,
    region: Region = "local",
    output: Out = Output.TABLE,
) -> None:
    """Show a policy as a file that can be edited and set again."""
    from tether.cli.operator import connect
    from tether.cli.output import print_object
    from tether.cli.policy_file import plain, text_of
    from tether.v1.registry_pb2 import GetPolicyRequest

    async def run() -> "Policy":
        async with connect(state, bootstrap, region) as operator:
            access = await operator.access()
            return (await access.GetPolicy(GetPolicyRequest(tenant_id=tenant, version=version))).policy

    found = asyncio.run(run())
    if output is Output.JSON:
        print_object(plain(found), output)
    else:
        typer.echo(text_of(found), nl=False)


@app.command("ls", epilog="Example:  tether policy ls --versions-of acme")
def ls(
    versions_of: Annotated[str, typer.Option(help="All versions of this tenant's; * is the one for all.")] = "",
    state: State = None,
    bootstrap: Bootstrap = None,
    region: Region = "local",
    output: Out = Output.TABLE,
) -> None:
    """List the policies that hold, or all versions of one."""
    from tether.cli.operator import connect, pages
    from tether.cli.output import print_rows
    from tether.v1.registry_pb2 import ListPoliciesRequest

    async def run() -> list["Policy"]:
        async with connect(state, bootstrap, region) as operator:
            access = await operator.access()
            return await pages(access.ListPolicies, ListPoliciesRequest(versions_of=versions_of), "policies")

    print_rows([_row(one) for one in asyncio.run(run())], output)


@app.command("test", epilog="Example:  tether policy test --tenant acme --model llama3.1-8b --file eu.yaml")
def try_(
    tenant: Annotated[str, typer.Option(help="Tenant that asks.")],
    model: Annotated[str, typer.Option(help="Model that is asked for.")],
    priority: Annotated[str, typer.Option(help="low, normal or high.")] = "normal",
    sealed: Annotated[bool, typer.Option("--sealed", help="The request is sealed.")] = False,
    file: Annotated[
        list[Path] | None,
        typer.Option(help="Evaluate this file instead of what is set, offline; may be given for each policy."),
    ] = None,
    state: State = None,
    bootstrap: Bootstrap = None,
    region: Region = "local",
    output: Out = Output.TABLE,
) -> None:
    """Tell what the rules say of a request, and which of them. Exits with 1 where they refuse it."""
    from tether.cli.output import print_object
    from tether.policy import Policies, Subject, evaluate

    subject = Subject(tenant, model, _priority(priority))
    holding = [_read(one) for one in file] if file else asyncio.run(_holding(tenant, state, bootstrap, region))
    shown = _decision(evaluate(Policies(holding), subject), sealed=sealed)
    print_object(shown, output)
    raise typer.Exit(0 if shown["allowed"] else 1)


async def _holding(tenant: str, state: Path | None, bootstrap: list[str] | None, region: str) -> list["Policy"]:
    """Return the policies that count for a tenant."""
    from tether.cli.operator import connect
    from tether.errors import Reason, TetherError
    from tether.v1.registry_pb2 import GetPolicyRequest

    found: list[Policy] = []
    async with connect(state, bootstrap, region) as operator:
        access = await operator.access()
        for whose in ("", tenant):
            try:
                found.append((await access.GetPolicy(GetPolicyRequest(tenant_id=whose))).policy)
            except TetherError as error:
                if error.reason is not Reason.ACCESS_UNKNOWN:  # none is set
                    raise
    return found


def _read(file: Path) -> "Policy":
    from tether.cli.policy_file import FILE_BYTES_MAX, parse
    from tether.errors import Reason, TetherError

    where = "standard input" if str(file) == "-" else str(file)
    stream = sys.stdin.buffer if str(file) == "-" else file.open("rb")
    with stream:
        raw = stream.read(FILE_BYTES_MAX + 1)
    try:
        return parse(raw.decode(), where)
    except UnicodeDecodeError as error:
        raise TetherError(Reason.INVALID_FIELD, f"{where} is not UTF-8 at byte {error.start}.", field="file") from error


def _one_tenant(in_file: str, given: str) -> str:
    from tether.errors import Reason, TetherError

    if in_file and given and in_file != given:
        text = f"the file is for tenant {in_file[:63]!a}, and --tenant says {given[:63]!a}."
        raise TetherError(Reason.INVALID_FIELD, text, field="tenant")
    return given or in_file


def _priority(word: str) -> int:
    from tether.errors import Reason, TetherError
    from tether.v1.infer_pb2 import Infer

    known = {"low": Infer.PRIORITY_LOW, "normal": Infer.PRIORITY_NORMAL, "high": Infer.PRIORITY_HIGH}
    if word not in known:
        raise TetherError(Reason.INVALID_FIELD, f"--priority {word[:31]!a} is none of low, normal, high.")
    return int(known[word])


def _decision(decision: "Decision", *, sealed: bool) -> dict[str, object]:
    """Return a decision as an object."""
    from tether.errors import TetherError
    from tether.policy import enforce
    from tether.policy.rule import words

    refused = None
    try:
        enforce(decision, sealed=sealed)
    except TetherError as error:
        refused = error.message
    sets = ("regions", "gpu_classes", "residency")
    chosen = {
        what: words(what, getattr(decision, what)).removeprefix(what.replace("_", " ") + " ")
        for what in ("priority_max", "retain", "away", "without_store")
    }
    return {
        "allowed": refused is None,
        "refused": refused,
        **{what: _sorted(getattr(decision, what)) for what in sets},
        "encryption_required": decision.encryption_required,
        "path": words("path", decision.path).removeprefix("path ") if decision.path else None,
        **chosen,
        "weight": decision.weight,
        "points": dict(decision.points),
        "degrade": words("degrade", decision.degrade).removeprefix("degrade to ") or None,
        "queue_wait_max_s": decision.queue_wait_max_s,
        "hedge_after_s": decision.hedge_after_s,
        "why": list(decision.why),
    }


def _sorted(names: frozenset[str] | None) -> list[str] | None:
    return None if names is None else sorted(names)


def _row(one: "Policy") -> dict[str, object]:
    return {
        "name": one.tenant_id or "*",
        "version": one.version,
        "rules": [rule.name for rule in one.rules],
        "note": one.note,
        "author": one.author,
        "created_at": one.created_at.ToJsonString(),
    }
