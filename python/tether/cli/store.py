"""`tether store`: make, check, move and promote the databases that a region stands on."""

import asyncio
import os
from collections.abc import Coroutine
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from tether.cli.option import Out, Output, State

app = typer.Typer(rich_markup_mode=None, add_completion=False, no_args_is_help=True)

T = TypeVar("T")

EPILOG = """Examples:

\b
  tether store check                                      the jobs of the region in the state folder
  tether store check --which registry --store postgresql://tether@db/tether
  tether store export jobs.jsonl && TETHER_STORE=postgresql://tether@db/tether tether store import jobs.jsonl
  tether store promote --store postgresql://tether@replica/tether --old postgresql://tether@primary/tether

A password belongs into TETHER_STORE, or into ~/.pgpass, not onto the command line, where others see it.
"""


class Which(StrEnum):
    """Which of the stores."""

    JOBS = "jobs"
    REGISTRY = "registry"


DATABASES = {Which.JOBS: ("orchestrator", "jobs.db"), Which.REGISTRY: ("registry", "registry.db")}

Store = Annotated[
    str,
    typer.Option(
        "--store",
        envvar="TETHER_STORE",
        help="Database file or postgresql://user@host/db.",
        show_default="the file in the state folder",
    ),
]
WhichOne = Annotated[Which, typer.Option("--which", help="jobs, with quotas and usage, or registry.")]


@app.callback(epilog=EPILOG)
def store() -> None:
    """Make, migrate, check, export, import and promote the stores of jobs and of the registry."""


@app.command("init", epilog="Example:  tether store init --store postgresql://tether@db/tether")
def init(store: Store = "", which: WhichOne = Which.JOBS, state: State = None, output: Out = Output.TABLE) -> None:
    """Make a store. One that is there keeps what it holds, and its schema is brought up to date."""
    from tether.store.manage import init_jobs
    from tether.store.registry_manage import init_registry

    where = _address(store, which, state)
    if which is Which.REGISTRY:
        _print({"revision": _run(init_registry(where))}, which, output)
        return
    facts = _run(init_jobs(where))
    shown = {"store_id": facts.store_id.hex(), "schema": facts.schema, "generation": facts.generation}
    _print({**shown, "fenced": facts.fenced}, which, output)


@app.command("migrate", epilog="Example:  tether store migrate --which registry")
def migrate(store: Store = "", which: WhichOne = Which.JOBS, state: State = None, output: Out = Output.TABLE) -> None:
    """Bring a schema up to date. Safe while others do the same; a schema of a newer Tether is refused."""
    from tether.store.manage import migrate_jobs
    from tether.store.registry_manage import migrate_registry

    where = _address(store, which, state)
    if which is Which.REGISTRY:
        _print({"revision": _run(migrate_registry(where))}, which, output)
    else:
        _print({"applied": _run(migrate_jobs(where))}, which, output)


@app.command("check", epilog="Example:  tether store check && tether store check --which registry")
def check(
    store: Store = "",
    which: WhichOne = Which.JOBS,
    tenant: Annotated[str, typer.Option(help="Only this tenant's books; for jobs.")] = "",
    state: State = None,
    output: Out = Output.TABLE,
) -> None:
    """Look for damage and for rows changed by hand. Names what no write of ours can have left; exits with 1 then."""
    from tether.cli.violation import report
    from tether.store.manage import check_jobs
    from tether.store.registry_manage import check_registry

    where = _address(store, which, state)
    if which is Which.REGISTRY:
        report({"name": str(which)}, _run(check_registry(where)), output)
    found = _run(check_jobs(where, tenant))
    report({"name": str(which), "jobs": found.jobs, "entries": found.entries}, found.violations, output)


@app.command("export", epilog="Example:  tether store export jobs.jsonl")
def export(
    file: Annotated[Path, typer.Argument(help="JSON Lines file to make; it holds what the store holds.")],
    store: Store = "",
    which: WhichOne = Which.JOBS,
    state: State = None,
    output: Out = Output.TABLE,
) -> None:
    """Write a store into a file, as it stands at one moment."""
    from tether.store.manage import export_jobs
    from tether.store.registry_manage import export_registry

    where = _address(store, which, state)
    if which is Which.REGISTRY:
        _print({"rows": _run(export_registry(where, file))}, which, output)
        return
    moved = _run(export_jobs(where, file))
    _print({"store_id": moved.store_id.hex(), "rows": moved.rows}, which, output)


@app.command("import", epilog="Example:  tether store import jobs.jsonl --store postgresql://tether@db/tether")
def import_(
    file: Annotated[Path, typer.Argument(help="What `tether store export` wrote.", exists=True, dir_okay=False)],
    store: Store = "",
    which: WhichOne = Which.JOBS,
    state: State = None,
    output: Out = Output.TABLE,
) -> None:
    """Read an export into an empty store. SQLite or PostgreSQL, it becomes the store that was exported."""
    from tether.store.manage import import_jobs
    from tether.store.registry_manage import import_registry

    where = _address(store, which, state)
    if which is Which.REGISTRY:
        _print({"rows": _run(import_registry(where, file))}, which, output)
        return
    moved = _run(import_jobs(where, file))
    _print({"store_id": moved.store_id.hex(), "rows": moved.rows, "written": moved.written}, which, output)


@app.command("promote", epilog="Example:  tether store promote --store postgresql://tether@replica/tether")
def promote(
    store: Store = "",
    which: WhichOne = Which.JOBS,
    old: Annotated[
        str, typer.Option(help="The store that it replaces: it refuses writes from now on. Leave out where it is gone.")
    ] = "",
    state: State = None,
    output: Out = Output.TABLE,
) -> None:
    """Let a replica or copy take over. It is written from now on, and the old store (--old) is fenced."""
    from tether.errors import Reason, TetherError
    from tether.store.manage import promote_jobs
    from tether.store.registry_manage import promote_registry

    where = _address(store, which, state)
    if which is Which.REGISTRY and old:
        raise TetherError(Reason.INVALID_FIELD, "--old fences a store of jobs; a registry's has no fence.", field="old")
    if which is Which.REGISTRY:
        _print({"revision": _run(promote_registry(where))}, which, output)
    else:
        _print({"generation": _run(promote_jobs(where, old))}, which, output)


def _address(store: str, which: Which, state: Path | None) -> str | Path:
    """Return the store that is meant: as given, or the file in the state folder."""
    if store:
        return _checked(store)
    from tether.client.target import default_state

    folder, file = DATABASES[which]
    home = state or default_state(os.environ)
    inside = home / folder / file
    return inside if inside.parent.is_dir() else home / file  # a state folder of one service holds the file itself


def _checked(store: str) -> str:
    """Refuse an address of some other database: its words may hold a password, so it is never taken for a file."""
    from tether.errors import Reason, TetherError
    from tether.store.registry_open import is_postgres

    if "://" in store and not is_postgres(store):
        text = "The store's address must be a file or postgresql://user@host/db."
        raise TetherError(Reason.STORE_UNUSABLE, text, field="store")
    return store


def _run(work: Coroutine[Any, Any, T]) -> T:
    """Run the work of a verb; what is wrong with an address or a driver is said without the address."""
    import structlog

    from tether.observe.log import configure_logging
    from tether.store.registry_open import explained

    if not structlog.is_configured():  # a verb's own output stays clean: what went wrong is raised
        configure_logging("critical")
    with explained():
        return asyncio.run(work)


def _print(found: dict[str, object], which: Which, output: Output) -> None:
    from tether.cli.output import print_object

    print_object({"name": str(which), **found}, output)
