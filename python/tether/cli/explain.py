"""`tether explain`: a dry run of placement, term by term."""

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from tether.cli.option import Bootstrap, Out, Output, Region, State

if TYPE_CHECKING:
    from tether.v1.placement_pb2 import ExplainResponse

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command(epilog="Example:  tether explain tether-demo")
def explain(
    model: Annotated[str, typer.Argument(help="NAME, or NAME:VERSION.")],
    tenant: Annotated[str, typer.Option(help="Tenant that would ask.")] = "demo",
    limit: Annotated[int, typer.Option(help="Most candidates.", min=1, max=1000)] = 20,
    state: State = None,
    bootstrap: Bootstrap = None,
    region: Region = "local",
    output: Out = Output.TABLE,
) -> None:
    """Show how a request would be placed: every candidate, every term, every rule that removed one."""
    from tether.cli.operator import connect
    from tether.name import model_and_version
    from tether.v1.placement_pb2 import ExplainRequest, Header

    model_id, version = model_and_version(model)
    header = Header(tenant_id=tenant, model_id=model_id, version=version, correlation_id="explain")

    async def run() -> "ExplainResponse":
        async with connect(state, bootstrap, region) as operator:
            placement = await operator.placement()
            return await placement.Explain(ExplainRequest(header=header, limit=limit))

    _print(asyncio.run(run()), output)


def _print(found: "ExplainResponse", output: Output) -> None:
    from tether.cli.output import print_rows

    rows = workers(found)
    if output is Output.JSON:
        print_rows([request(found), *rows], output)
        return
    for line in lines(found):
        typer.echo(line, err=True)
    columns = list(dict.fromkeys(key for row in rows for key in row))
    print_rows(rows, output, columns)


def workers(found: "ExplainResponse") -> list[dict[str, object]]:
    """A row for each candidate, best first, and for each worker that a rule removed."""
    rows: list[dict[str, object]] = [
        {
            "name": one.worker_id,
            "score": one.score,
            **{term.name: term.value for term in one.terms},
            "in_flight": one.in_flight,
            "removed_by": None,
            "detail": "",
        }
        for one in found.candidates
    ]
    return rows + [{"name": one.worker_id, "removed_by": one.rule, "detail": one.detail} for one in found.removed]


def request(found: "ExplainResponse") -> dict[str, object]:
    """What is said of the request itself."""
    from tether.v1.infer_pb2 import Infer

    return {
        "name": f"{found.model_id}:{found.version}",
        "policy": list(found.policy),
        "degraded": [
            {
                "asked": f"{one.asked_model_id}:{one.asked_version}",
                "lowered": list(one.parameters),
                "rule": one.rule,
            }
            for one in found.degraded
        ],
        "path": Infer.Path.Name(found.path).removeprefix("PATH_").lower(),
        "queued": found.queued,
    }


def lines(found: "ExplainResponse") -> list[str]:
    """The same for people; what has nothing to say is left out."""
    said = request(found)
    told = [f"{said['name']}, {said['path']} path, {found.queued} waiting"]
    told += [f"policy: {line}" for line in found.policy]
    for one in found.degraded:
        lowered = f", lower {' and '.join(one.parameters)}" if one.parameters else ""
        told.append(f"if nothing has room: as {one.rule} says{lowered}")
    return told
