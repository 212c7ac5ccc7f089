"""Seeing a region: one trace over its services, the Prometheus page, and JSON logs."""

import asyncio
import json
import os
import sys
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.conftest import OtlpReceiver, Running

SERVICES = ("gateway", "orchestrator", "worker")
LIMIT_S = 90


async def up_once(state: Path, **environ: str) -> tuple[int, str, str]:
    """Run `tether up --once` and return exit code, output and log."""
    ports = ("--gateway-port", "0", "--bridge-port", "0", "--metrics-port", "0")
    words = (sys.executable, "-m", "tether.cli", "up", "--once", "--state", str(state), *ports, "--log-level", "info")
    process = await asyncio.create_subprocess_exec(*words, env=os.environ | environ, stdout=-1, stderr=-1)
    try:
        out, err = await asyncio.wait_for(process.communicate(), LIMIT_S)
    except TimeoutError:
        process.kill()
        await process.wait()
        pytest.fail("tether up --once did not end")
    return process.returncode or 0, out.decode(), err.decode()


def roots_to(span: Any, spans: dict[bytes, Any]) -> list[str]:
    """Return the names from a span up to its root."""
    names = [span.name]
    while span.parent_span_id in spans:
        span = spans[span.parent_span_id]
        names.append(span.name)
    return names


async def test_one_request_is_one_trace_over_three_services(otlp: "OtlpReceiver", tmp_path: Path) -> None:
    environ = {f"TETHER_{service.upper()}_OTLP_ENDPOINT": otlp.address for service in SERVICES}
    code, out, err = await up_once(tmp_path / "state", **environ)
    assert code == 0, out + err
    seen = {service: otlp.spans.get(f"tether-{service}", []) for service in SERVICES}
    assert all(seen.values()), {service: len(spans) for service, spans in seen.items()}
    (root,) = [span for span in seen["gateway"] if not span.parent_span_id]
    spans = {span.span_id: span for one in seen.values() for span in one if span.trace_id == root.trace_id}
    for service in ("orchestrator", "worker"):
        inside = [span for span in seen[service] if span.trace_id == root.trace_id]
        assert inside, f"{service} has no span in the trace"
        assert any(roots_to(span, spans)[-1] == root.name for span in inside)


async def test_log_lines_are_json_and_hold_no_key(tmp_path: Path) -> None:
    code, _, err = await up_once(tmp_path / "state")
    assert code == 0, err
    lines = [json.loads(line) for line in err.splitlines() if line]
    assert lines
    assert all({"event", "level", "timestamp"} <= set(line) for line in lines)
    key = (tmp_path / "state" / "demo.key").read_text().strip()
    assert key.rpartition("_")[2] not in err


def test_metrics_page_counts_what_services_did(region: "Running") -> None:
    with urllib.request.urlopen(f"http://{region.metrics}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    for part in ("gateway", "orchestrator", "registry", "worker", "overlay"):
        assert f"\ntether_{part}_" in text, part
    labels = [line for line in text.splitlines() if line.startswith("tether_") and "{" in line]
    assert labels
    assert not any(word in line for line in labels for word in ("tenant=", "worker_id=", "job=", "node="))
