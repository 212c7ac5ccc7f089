"""What many tests need: a region that really runs, once per session, and a receiver of traces."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

READY_S = 60.0  # a loaded machine with two cores; a quiet one takes two seconds
DRAIN_S = 40.0  # over the grace that running answers have
POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class Running:
    """A region that serves.

    Attributes:
        state: its state folder.
        key: API key of the tenant `demo`.
        endpoints: host:port by name, as in `endpoints.json`.
        model: the demo model's name.
        pid: of the process.
        log: file of what it printed.
    """

    state: Path
    key: str = field(repr=False)
    endpoints: dict[str, str]
    pid: int
    log: Path
    model: str = "tether-demo"

    @property
    def gateway(self) -> str:
        """host:port for gRPC."""
        return self.endpoints["gateway"]

    @property
    def bridge(self) -> str:
        """host:port for HTTP."""
        return self.endpoints["bridge"]

    @property
    def metrics(self) -> str:
        """host:port of the Prometheus page."""
        return self.endpoints["metrics"]

    @property
    def prompt(self) -> str:
        """A prompt that the demo model answers well."""
        return "What does str.split do?"

    @property
    def environ(self) -> dict[str, str]:
        """An environment in which clients and the command line find the region."""
        return os.environ | {"TETHER_STATE": str(self.state)}


@pytest.fixture(scope="session")
def region(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Start `tether up` on free ports, and see it exit 0 when it is told to stop."""
    folder = tmp_path_factory.mktemp("region")
    state, log = folder / "state", folder / "up.log"
    ports = ["--gateway-port", "0", "--bridge-port", "0", "--metrics-port", "0"]
    environ = {key: value for key, value in os.environ.items() if not key.startswith("TETHER_")}
    with log.open("wb") as out:
        command = [sys.executable, "-m", "tether.cli", "up", "--state", str(state), *ports]
        process = subprocess.Popen(command, stdout=out, stderr=out, env=environ)
    try:
        endpoints = _ready(process, state, log)
        key = (state / "demo.key").read_text(encoding="utf-8").strip()
        yield Running(state, key, endpoints, process.pid, log)
    except BaseException:
        process.kill()
        process.wait()
        raise
    process.send_signal(signal.SIGTERM)
    try:
        code = process.wait(DRAIN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        pytest.fail(f"the region did not drain in {DRAIN_S} s:\n{_tail(log)}")
    assert code == 0, _tail(log)


def _ready(process: "subprocess.Popen[bytes]", state: Path, log: Path) -> dict[str, str]:
    """Wait for `endpoints.json`, which is written once all is ready."""
    deadline = time.monotonic() + READY_S
    file = state / "endpoints.json"
    while time.monotonic() < deadline:
        if file.exists() and (state / "demo.key").exists():
            found: dict[str, str] = json.loads(file.read_text(encoding="utf-8"))
            return found
        if process.poll() is not None:
            pytest.fail(f"the region ended with {process.returncode}:\n{_tail(log)}")
        time.sleep(POLL_S)
    pytest.fail(f"the region was not ready in {READY_S} s:\n{_tail(log)}")


def _tail(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")[-6_000:]


@dataclass(slots=True)
class OtlpReceiver:
    """Keeps the spans that exporters send, by the service's name.

    Attributes:
        address: host:port to export to.
        spans: of each service, in the order they came.
    """

    address: str = ""
    spans: dict[str, list[Any]] = field(default_factory=dict)

    async def Export(self, request: Any, _context: object) -> Any:
        from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

        for group in request.resource_spans:
            facts = {one.key: one.value.string_value for one in group.resource.attributes}
            spans = self.spans.setdefault(facts["service.name"], [])
            for scope in group.scope_spans:
                spans.extend(scope.spans)
        return trace_service_pb2.ExportTraceServiceResponse()


@pytest.fixture
async def otlp() -> AsyncIterator[OtlpReceiver]:
    """Serve OTLP's TraceService over gRPC on a free port."""
    from grpc import aio
    from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc

    receiver, server = OtlpReceiver(), aio.server()
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(receiver, server)
    receiver.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    yield receiver
    await server.stop(0)
