"""A whole region in one process: five services on one event loop, over real loopback gRPC and a real overlay.

The services are found by their entry points, so this module knows none of them. The registry starts first, since the
others bootstrap from its overlay address and need its snapshot; then the rest start together.
Source: docs/design/design.md §2.
"""

import asyncio
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import import_module, resources
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tether.app import App
from tether.cli.child import Child
from tether.config import ServiceConfig, load
from tether.errors import Reason, TetherError

if TYPE_CHECKING:
    from tether.node.lock import FolderLock

GROUP = "tether.services"
KEY_FILE = "demo.key"
ENDPOINTS_FILE = "endpoints.json"
TENANT = "demo"


@dataclass(frozen=True, slots=True)
class Plan:
    """What `tether up` was asked for.

    Attributes:
        state: state folder of the region.
        region: its slug.
        workers: how many.
        gateway_port: gRPC port, 0 for any.
        bridge_port: HTTP port, 0 for any.
        metrics_port: Prometheus port, 0 for any.
        overlay_port: UDP port of the node that others bootstrap from, 0 for any.
        extra: further settings by service.
        children: whether workers are processes of their own.
    """

    state: Path
    region: str = "local"
    workers: int = 1
    gateway_port: int = 7400
    bridge_port: int = 7480
    metrics_port: int = 7490
    overlay_port: int = 0
    extra: dict[str, dict[str, object]] = field(default_factory=dict)
    children: bool = False


def services() -> dict[str, EntryPoint]:
    """Return the installed services by name.

    Raises:
        TetherError: STATE_UNUSABLE where `tether-mesh-services` is not installed.
    """
    found = {point.name: point for point in entry_points(group=GROUP)}
    if not found:
        message = "no service is installed: pip install 'tether-mesh-services[onnx]'"
        raise TetherError(Reason.STATE_UNUSABLE, message)
    return found


def config_class(service: str) -> type[ServiceConfig]:
    """Return the settings class of an installed service."""
    point = services()[service]
    cls: type[ServiceConfig] = import_module(point.module.rpartition(".")[0] + ".config").Config
    return cls


def configure(service: str, flags: dict[str, object], file: Path | None = None) -> ServiceConfig:
    """Read the settings of a service.

    Raises:
        TetherError: INVALID_FIELD, naming all that is wrong at once.
    """
    return load(config_class(service), service=service, file=file, flags=flags)


def build(service: str, config: ServiceConfig) -> App:
    """Compose a service."""
    app: App = services()[service].load()(config)
    return app


def demo_folder() -> Path:
    """Return the folder of the demo model, which is shipped with the worker.

    Raises:
        TetherError: ARTIFACT_CORRUPT where the installation lacks it.
    """
    package = services()["worker"].module.rpartition(".")[0]
    folder = Path(str(resources.files(package))) / "demo"
    if not (folder / "config.json").is_file():
        raise TetherError(Reason.ARTIFACT_CORRUPT, f"the demo model is missing from {package}: install it again")
    return folder


class Region:
    """All services of one region; itself an `App`."""

    name = "region"

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._apps: list[App] = []
        self.children: list[Child] = []
        self._lock: FolderLock | None = None
        self._bootstrap: tuple[str, ...] = ()
        workers = (f"worker-{number + 1}" for number in range(plan.workers))
        self._names = ["registry", "orchestrator", *workers, "gateway", "bridge"]

    @property
    def slug(self) -> str:
        """Its slug."""
        return self._plan.region

    @property
    def workers(self) -> int:
        """How many workers it has."""
        return self._plan.workers

    async def start(self) -> None:
        """Start all services; returns when the region can serve.

        Raises:
            TetherError: whatever kept a service from starting.
        """
        from tether.node.lock import FolderLock
        from tether.node.region import prepare

        prepare(self._plan.state, self._plan.region, self._roles())
        self._lock = FolderLock(self._plan.state)
        self._endpoints_file.unlink(missing_ok=True)
        try:
            await self._start_all()
        except TetherError as error:
            raise _as_typed(error) from error
        _write_json(self._endpoints_file, self.endpoints())

    async def _start_all(self) -> None:
        """Start the registry, then the rest, while the demo key is made."""
        registry = self._build("registry", {"overlay_port": self._plan.overlay_port, **self._registry_flags()})
        await registry.start()
        self._bootstrap = (registry.endpoints()["registry-overlay"],)
        rest = [self._build(name, self._flags(name)) for name in self._names[1:]]
        await _together([self._make_key(), *(app.start() for app in rest)])

    def _roles(self) -> dict[str, str]:
        return {name: name.partition("-")[0] for name in self._names}

    def _build(self, name: str, flags: dict[str, object]) -> App:
        service = name.partition("-")[0]
        common = {"state": self._plan.state / name, "region": self._plan.region}
        given = {**common, **flags, **self._plan.extra.get(service, {})}
        app: App
        if self._plan.children and service == "worker":
            app = Child(name, given, self._plan.state / f"{name}.log")
            self.children.append(app)
        else:
            app = build(service, configure(service, given))
        self._apps.append(app)
        return app

    def _registry_flags(self) -> dict[str, object]:
        return {"demo_model": demo_folder(), "metrics_port": self._plan.metrics_port}

    def _flags(self, name: str) -> dict[str, object]:
        own: dict[str, dict[str, object]] = {
            "gateway": {"listen": f"127.0.0.1:{self._plan.gateway_port}"},
            "bridge": {"http": f"127.0.0.1:{self._plan.bridge_port}"},
        }
        return {"bootstrap": self._bootstrap, **own.get(name, {})}

    async def _make_key(self) -> None:
        """Make the demo tenant's key, unless the folder has one that the registry knows."""
        from tether.cli.operator import connect, pages
        from tether.v1.registry_pb2 import CreateKeyRequest, ListKeysRequest

        path = self._plan.state / KEY_FILE
        kept = path.read_text(encoding="utf-8").strip() if path.exists() else ""
        async with connect(self._plan.state, list(self._bootstrap), self._plan.region) as operator:
            access = await operator.access()
            known = await pages(access.ListKeys, ListKeysRequest(tenant_id=TENANT), "keys")
            if any(kept.startswith(f"tk_{key.name}_") and not key.revoked for key in known):
                return
            made = await access.CreateKey(CreateKeyRequest(tenant_id=TENANT, label="made by tether up"))
        _write_secret(path, made.token)

    async def revive(self) -> None:
        """Start workers again that were killed."""
        await asyncio.gather(*(child.revive() for child in self.children if not child.alive))

    async def drain(self, grace_s: float) -> None:
        """Drain from the edge inwards, so that what runs can finish."""
        self._endpoints_file.unlink(missing_ok=True)
        for kind in (("bridge",), ("gateway",), ("worker",), ("orchestrator", "registry")):
            await asyncio.gather(*(app.drain(grace_s) for app in self._apps if app.name.startswith(kind)))

    async def close(self) -> None:
        """Stop all services, the registry last, and let the state folder go."""
        while self._apps:
            await self._apps.pop().close()
        if self._lock is not None:
            self._endpoints_file.unlink(missing_ok=True)
            self._lock.close()
            self._lock = None

    def endpoints(self) -> dict[str, str]:
        """Return host:port by name, of all services."""
        found: dict[str, str] = {}
        for app in self._apps:
            found.update(app.endpoints())
        found["overlay"] = found.get("registry-overlay", "")
        return found

    @property
    def _endpoints_file(self) -> Path:
        return self._plan.state / ENDPOINTS_FILE


def _as_typed(error: TetherError) -> TetherError:
    """Name the flag of `tether up` where a service named its own."""
    if error.reason is Reason.PORT_IN_USE and error.metadata.get("flag") == "--listen":
        message = error.message.replace("--listen", "--gateway-port")
        return TetherError(error.reason, message, metadata={**error.metadata, "flag": "--gateway-port"})
    return error


async def _together(starts: Sequence[Any]) -> None:
    """Start side by side; the first failure is raised once all have ended."""
    results = await asyncio.gather(*starts, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result


def _write_json(path: Path, found: dict[str, str]) -> None:
    """Write at once, so that a reader never sees half of it."""
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(found, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    fresh.replace(path)


def _write_secret(path: Path, text: str) -> None:
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text + "\n")
    fresh.replace(path)
