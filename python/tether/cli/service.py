"""Turns `--name value` arguments into settings and runs one service."""

import json
from pathlib import Path

import typer

from tether.errors import Reason, TetherError


def run_service(service: str, file: Path | None, arguments: list[str]) -> int:
    """Run `service` until a signal and return the exit code.

    Raises:
        TetherError: INVALID_FIELD where the service or a setting is wrong.
    """
    from tether.app import run, serve
    from tether.cli.region import build, configure, services
    from tether.name import did_you_mean
    from tether.observe.log import configure_logging

    if service not in services():
        known = ", ".join(sorted(services()))
        hint = did_you_mean(service, list(services()))
        raise TetherError(Reason.INVALID_FIELD, f"there is no service {service!r}; there are {known}.{hint}")
    config = configure(service, parse_flags(arguments), file)
    configure_logging(config.log_level)
    app = build(service, config)

    def ready() -> None:
        typer.echo(json.dumps({"service": service, "ready": True, **app.endpoints()}))

    return run(serve(app, config.drain_grace_s, ready))


def parse_flags(arguments: list[str]) -> dict[str, object]:
    """Read `--name value`, `--name=value` and bare `--name` (true); a repeated name makes a list.

    Raises:
        TetherError: INVALID_FIELD for what is no flag.
    """
    found: dict[str, list[str]] = {}
    queue = list(arguments)
    while queue:
        word = queue.pop(0)
        if not word.startswith("--"):
            raise TetherError(Reason.INVALID_FIELD, f"{word!r} is no setting; settings are --name value")
        name, equals, value = word[2:].partition("=")
        if not equals:
            value = queue.pop(0) if queue and not queue[0].startswith("--") else "true"
        found.setdefault(name.replace("-", "_"), []).append(value)
    return {name: _flag_value(name, values) for name, values in found.items()}


LISTS = frozenset({"bootstrap", "models", "accelerators", "cors_origins"})  # settings that hold several values


def _flag_value(name: str, values: list[str]) -> object:
    if name in LISTS:
        return tuple(part for value in values for part in value.split(",") if part)
    return values[-1]
