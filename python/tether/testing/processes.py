"""A region of real processes on this machine, for tests and benches: started, awaited, killed, cleaned up.

Each service is its own process with its own state folder and finds the others through the overlay alone. A service says
that it is ready with one line of JSON on its standard output; nothing here sleeps and hopes.
"""

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from tether.node.region import prepare

READY_S = 30.0  # a loaded machine with two cores starts all five in a tenth of this
STOP_S = 20.0


@dataclass(slots=True)
class Process:
    """One running service.

    Attributes:
        name: folder's name, such as `worker-1`.
        child: the process.
        endpoints: what it said when it was ready.
        log: file of its standard error.
    """

    name: str
    child: "subprocess.Popen[str]"
    log: Path
    endpoints: dict[str, str] = field(default_factory=dict)

    def kill(self) -> None:
        """End it as `kill -9` does."""
        self.child.kill()
        self.child.wait(STOP_S)

    def stop(self) -> int:
        """Ask it to drain, and return its exit code."""
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)
        return self.child.wait(STOP_S)

    def cpu_s(self) -> float:
        """Return the CPU seconds it has used, user and system (Linux)."""
        fields = Path(f"/proc/{self.child.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class ProcessRegion:
    """Services of one region as processes.

    Args:
        folder: gets a state folder per service, and their logs.
        region: its slug.
    """

    def __init__(self, folder: Path, region: str = "local") -> None:
        self.folder = folder
        self.region = region
        self.running: dict[str, Process] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def bootstrap(self) -> str:
        """host:port of the registry's overlay node."""
        return self.running["registry"].endpoints["registry-overlay"]

    def start(self, name: str, settings: Mapping[str, object] | None = None) -> Process:
        """Start the service `name`, such as `worker-2`, and return once it is ready.

        Raises:
            RuntimeError: with the end of its log, where it ended or was not ready in time.
        """
        process = self.launch(name, settings)
        self.wait(process)
        return process

    def launch(self, name: str, settings: Mapping[str, object] | None = None) -> Process:
        """Start the service `name` without waiting for it."""
        service = name.partition("-")[0]
        prepare(self.folder, self.region, {name: service})
        given = {"state": self.folder / name, "region": self.region, **(settings or {})}
        if self.running and "bootstrap" not in given:
            given["bootstrap"] = self.bootstrap
        arguments = [f"--{key.replace('_', '-')}={value}" for key, value in given.items()]
        log = self.folder / f"{name}.log"
        with log.open("ab") as errors:
            child = subprocess.Popen(  # noqa: S603 - our own services
                [sys.executable, "-m", f"tether_{service}", *arguments],
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        process = Process(name, child, log)
        self.running[name] = process
        return process

    def wait(self, process: Process) -> None:
        """Return once `process` has said that it is ready.

        Raises:
            RuntimeError: with the end of its log.
        """
        line = _line(process, time.monotonic() + READY_S)
        found = json.loads(line) if line.startswith("{") else {}
        if not found.get("ready"):
            process.child.kill()
            process.child.wait(STOP_S)
            tail = process.log.read_text(encoding="utf-8", errors="replace")[-4000:]
            raise RuntimeError(f"{process.name} did not get ready (said {line!r}):\n{tail}")
        process.endpoints = {key: value for key, value in found.items() if isinstance(value, str)}

    def start_all(self, workers: Sequence[Mapping[str, object]] = ({},), **settings: Mapping[str, object]) -> None:
        """Start registry, orchestrator, workers, gateway and bridge.

        Args:
            workers: settings of each worker.
            settings: settings by service.
        """
        self.start("registry", settings.get("registry"))
        names = ["orchestrator", "gateway", "bridge"]
        launched = [self.launch(name, settings.get(name)) for name in names]
        launched += [self.launch(f"worker-{number + 1}", given) for number, given in enumerate(workers)]
        for process in launched:
            self.wait(process)

    def stop(self) -> None:
        """Drain all, the registry last; what does not end is killed."""
        for process in reversed(self.running.values()):
            try:
                process.stop()
            except subprocess.TimeoutExpired:
                process.kill()
            if process.child.stdout is not None:
                process.child.stdout.close()
        self.running.clear()


def _line(process: Process, deadline_s: float) -> str:
    """Return the next line of its output, or nothing at its end or at the deadline."""
    stream = process.child.stdout
    if stream is None:
        return ""
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        if not selector.select(max(deadline_s - time.monotonic(), 0)):
            return ""
    return stream.readline().strip()
