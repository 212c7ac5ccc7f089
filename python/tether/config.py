"""Settings of a service: one frozen object, read whole and checked whole before any port is bound.

A value comes from the file, the environment (`TETHER_<SERVICE>_<FIELD>`, derived from the field) or a flag, the later
one winning. All that is wrong is reported at once, each with where it came from and what is allowed.
Source: The Twelve-Factor App, III; TOML 1.0.
"""

import ipaddress
import json
import os
import re
import tomllib
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import pydantic
from pydantic import AfterValidator, Field
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from tether import name
from tether.errors import Reason, TetherError

SERVICES = ("gateway", "orchestrator", "registry", "worker", "bridge")
FILE_BYTES_MAX = 1 << 20  # a settings file is a page or two; more is the wrong file
PORT_MAX = 65_535

# What Kubernetes puts into the environment of every pod beside a Service named `tether-gateway`.
_KUBERNETES = re.compile(r"SERVICE_(?:HOST|PORT(?:_\w+)?)|PORT(?:_\d+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)?")

ConfigT = TypeVar("ConfigT", bound="ServiceConfig")


def split_address(address: str) -> tuple[str, int]:
    """Split `host:port` or `[v6]:port`.

    Raises:
        ValueError: it is no address.
    """
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > PORT_MAX:
        raise ValueError("must be host:port with a port from 0 to 65535, such as 127.0.0.1:7400")
    bare = host.removeprefix("[").removesuffix("]")
    if ":" in host and bare == host:
        raise ValueError("an IPv6 host stands in brackets, such as [::1]:7400")
    return bare, int(port)


def is_loopback(host: str) -> bool:
    """Tell whether `host` is this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _loopback(address: str) -> str:
    host, _ = split_address(address)
    if not is_loopback(host):
        raise ValueError("services bind loopback only until mTLS is there; use 127.0.0.1, ::1 or localhost")
    return address


def _reachable(address: str) -> str:
    _, port = split_address(address)
    if port == 0:
        raise ValueError("must name the port of a running node")
    return address


def _region(slug: str) -> str:
    if not name.is_region(slug):
        raise ValueError("must be lower-case letters, digits and inner hyphens, 1 to 31 bytes, such as eu-west")
    return slug


def _endpoint(url: str) -> str:
    if url:
        split_address(url.removeprefix("https://").removeprefix("http://").rstrip("/"))
    return url


LoopbackAddress = Annotated[str, AfterValidator(_loopback)]
NodeAddress = Annotated[str, AfterValidator(_reachable)]
Region = Annotated[str, AfterValidator(_region)]
Port = Annotated[int, Field(ge=0, le=PORT_MAX)]


class ServiceConfig(BaseSettings):
    """What every service is told; each service adds its own fields.

    Attributes:
        state: this node's own folder.
        region: region slug.
        listen: host:port of the gRPC server; loopback only until mTLS is there; port 0 is any free one.
        overlay_port: UDP port on loopback; 0 is any free one.
        bootstrap: host:port of overlay nodes, the only addresses in any setting.
        metrics_port: port of the Prometheus page on loopback; unset is off.
        otlp_endpoint: host:port or http(s) URL of an OTLP receiver; empty is off.
        log_level: least level that is logged.
        drain_grace_s: seconds that running jobs have after SIGTERM.
    """

    model_config = SettingsConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, hide_input_in_errors=True)

    state: Path
    region: Region = "local"  # one machine is a region of its own
    listen: LoopbackAddress = "127.0.0.1:0"  # any free port: others find it through the overlay
    overlay_port: Port = 0
    bootstrap: tuple[NodeAddress, ...] = Field(default=(), max_length=16)  # a handful is enough to join
    metrics_port: Port | None = None
    otlp_endpoint: Annotated[str, AfterValidator(_endpoint)] = ""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    drain_grace_s: float = Field(default=30.0, ge=0, le=3_600)  # a guess: most answers end within it

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take values from `load` alone, which remembers where each came from."""
        return (init_settings,)


@dataclass(frozen=True, slots=True)
class _Given:
    """A value and where it came from."""

    value: object
    source: str


def load(
    cls: type[ConfigT],
    *,
    service: str,
    file: Path | None = None,
    flags: Mapping[str, object] | None = None,
    environ: Mapping[str, str] | None = None,
) -> ConfigT:
    """Read a service's settings: file, then environment, then flags; the later one wins.

    Args:
        cls: the service's settings class.
        service: its name, such as `gateway`; names the variables and the file's optional table.
        file: TOML file, or None.
        flags: values by field name; None is "not given".
        environ: environment; the process's own where None.

    Raises:
        TetherError: INVALID_FIELD, naming all that is wrong at once.
    """
    wrong: list[tuple[str, str]] = []
    given: dict[str, _Given] = {}
    for source in (
        _from_file(cls, service, file, wrong),
        _from_environment(cls, service, os.environ if environ is None else environ, wrong),
        _from_flags(cls, flags or {}, wrong),
    ):
        given.update(source)
    config = _built(cls, given, service, wrong)
    if config is None or wrong:
        raise _refusal(service, wrong)
    return config


def variable(service: str, field: str) -> str:
    """Name the environment variable of a field: `TETHER_GATEWAY_OVERLAY_PORT`."""
    return f"TETHER_{service}_{field}".upper()


def flag(field: str) -> str:
    """Name the flag of a field: `--overlay-port`."""
    return "--" + field.replace("_", "-")


def _from_file(
    cls: type[ServiceConfig], service: str, file: Path | None, wrong: list[tuple[str, str]]
) -> Iterator[tuple[str, _Given]]:
    """Yield the values of the file's top level and of the table named after the service."""
    if file is None:
        return
    try:
        table = _read(file)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        wrong.append(("config", f"config file {file}: {why}"))
        return
    own = table.get(service, {})
    if not isinstance(own, dict):
        wrong.append((service, f"{service} (in {file}): must be a table"))
        own = {}
    for part in ({key: value for key, value in table.items() if key not in SERVICES}, own):
        for key, value in part.items():
            if _known(cls, key, f"{key} (in {file})", list(cls.model_fields), wrong):
                yield key, _Given(value, f"in {file}")


def _read(file: Path) -> dict[str, Any]:
    """Parse a TOML file of a sane size."""
    with file.open("rb") as stream:
        text = stream.read(FILE_BYTES_MAX + 1)
    if len(text) > FILE_BYTES_MAX:
        raise ValueError(f"is over {FILE_BYTES_MAX} bytes")
    return tomllib.loads(text.decode())


def _from_environment(
    cls: type[ServiceConfig], service: str, environ: Mapping[str, str], wrong: list[tuple[str, str]]
) -> Iterator[tuple[str, _Given]]:
    """Yield the values of the variables that begin with the service's prefix."""
    prefix = variable(service, "")
    fields = {variable(service, field): field for field in cls.model_fields}
    for key, text in sorted(environ.items()):
        if not key.startswith(prefix) or (key not in fields and _KUBERNETES.fullmatch(key.removeprefix(prefix))):
            continue
        if _known(cls, fields.get(key, key), f"{key} (environment)", list(fields), wrong):
            field = fields[key]
            yield field, _Given(_decoded(text, cls.model_fields[field].annotation), f"from {key}")


def _from_flags(
    cls: type[ServiceConfig], flags: Mapping[str, object], wrong: list[tuple[str, str]]
) -> Iterator[tuple[str, _Given]]:
    """Yield the flags that were given."""
    for key, value in flags.items():
        if value is not None and _known(cls, key, flag(key), [flag(field) for field in cls.model_fields], wrong):
            yield key, _Given(value, f"from {flag(key)}")


def _known(cls: type[ServiceConfig], field: str, shown: str, names: list[str], wrong: list[tuple[str, str]]) -> bool:
    """Tell whether a setting exists; note the nearest names where it does not."""
    if field in cls.model_fields:
        return True
    suggestion = name.did_you_mean(shown.split(" ", maxsplit=1)[0], names)
    wrong.append((field, f"{shown}: there is no such setting.{suggestion}"))
    return False


def _decoded(text: str, annotation: object) -> object:
    """Turn a variable's text into a list or a table where the field holds one: JSON, or values between commas."""
    if not _is_compound(annotation):
        return text
    if text.lstrip().startswith(("[", "{")):
        try:
            return json.loads(text)
        except ValueError:
            return text
    return [part.strip() for part in text.split(",") if part.strip()]


def _is_compound(annotation: object) -> bool:
    """Tell whether a field holds a list or a table."""
    origin = typing.get_origin(annotation) or annotation
    if origin in (typing.Union, types.UnionType, Annotated):
        return any(_is_compound(part) for part in typing.get_args(annotation))
    return isinstance(origin, type) and issubclass(origin, tuple | list | dict | set | frozenset | pydantic.BaseModel)


def _built(
    cls: type[ConfigT], given: Mapping[str, _Given], service: str, wrong: list[tuple[str, str]]
) -> ConfigT | None:
    """Build the settings, noting every value that breaks its rule."""
    values: dict[str, Any] = {field: item.value for field, item in given.items()}
    try:
        return cls(**values)
    except pydantic.ValidationError as error:
        for problem in error.errors(include_url=False, include_context=False):
            path = ".".join(str(part) for part in problem["loc"])
            field = str(problem["loc"][0]) if problem["loc"] else ""
            source = given[field].source if field in given else _sources(service, field)
            wrong.append((path, f"{path} ({source}): {problem['msg'].removeprefix('Value error, ')}"))
        return None


def _sources(service: str, field: str) -> str:
    """Say where a missing value can be given."""
    return f"not set; give {flag(field)} or {variable(service, field)}" if field else "together"


def _refusal(service: str, wrong: list[tuple[str, str]]) -> TetherError:
    """Report all that is wrong as one error."""
    lines = "; ".join(line for _, line in wrong)
    count = "a setting is" if len(wrong) == 1 else f"{len(wrong)} settings are"
    facts = {field or "settings": line for field, line in wrong}
    return TetherError(Reason.INVALID_FIELD, f"{count} wrong for {service}: {lines}", field=wrong[0][0], metadata=facts)
