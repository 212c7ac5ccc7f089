"""Turns `--name value` arguments into settings and runs one service; lists the settings there are."""

import inspect
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from tether.errors import Reason, TetherError

if TYPE_CHECKING:
    from tether.config import ServiceConfig


def run_service(service: str, file: Path | None, arguments: list[str]) -> int:
    """Run `service` until a signal and return the exit code.

    Raises:
        TetherError: INVALID_FIELD where the service or a setting is wrong.
    """
    from tether.app import run, serve
    from tether.cli.region import build, configure
    from tether.observe.log import configure_logging

    _check_known(service)
    config = configure(service, parse_flags(arguments), file)
    configure_logging(config.log_level)
    app = build(service, config)

    def ready() -> None:
        typer.echo(json.dumps({"service": service, "ready": True, **app.endpoints()}))

    return run(serve(app, config.drain_grace_s, ready))


def _check_known(service: str) -> None:
    """Pass where a service of that name is installed."""
    from tether.cli.region import services
    from tether.name import did_you_mean

    if service not in services():
        known = ", ".join(sorted(services()))
        hint = did_you_mean(service, list(services()))
        raise TetherError(Reason.INVALID_FIELD, f"there is no service {service!r}; there are {known}.{hint}")


def setting_rows(service: str) -> list[dict[str, object]]:
    """Return a row per setting of a service: flag, variable, default and meaning, as its settings class states them.

    Raises:
        TetherError: INVALID_FIELD where there is no such service.
    """
    from tether.cli.region import config_class
    from tether.config import flag, variable

    _check_known(service)
    cls = config_class(service)
    words = _meanings(cls)
    return [
        {
            "name": flag(name),
            "default": "required" if field.is_required() else _plain(field.get_default(call_default_factory=True)),
            "meaning": words.get(name, ""),
            "variable": variable(service, name),
        }
        for name, field in cls.model_fields.items()
    ]


def _meanings(cls: "type[ServiceConfig]") -> dict[str, str]:
    """Return what the `Attributes:` of a settings class and of its bases say, by field."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        _, _, listed = inspect.cleandoc(base.__dict__.get("__doc__") or "").partition("Attributes:\n")
        entries = re.findall(r"^    (\w+): (.*(?:\n {5,}.*)*)", listed, re.MULTILINE)
        found.update({name: " ".join(text.split()) for name, text in entries})
    return found


def _plain(value: object) -> object:
    """Return a default as JSON has it."""
    if isinstance(value, tuple):
        return list(value)
    return value if isinstance(value, str | int | float | dict | None) else str(value)


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


LISTS = frozenset(  # settings that hold several values
    {"bootstrap", "models", "accelerators", "cors_origins", "usage_sinks", "usage_formats"}
)


def _flag_value(name: str, values: list[str]) -> object:
    if name in LISTS:
        return tuple(part for value in values for part in value.split(",") if part)
    return values[-1]
