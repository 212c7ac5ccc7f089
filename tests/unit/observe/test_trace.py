"""Traces: off at no cost; on, they reach a real OTLP receiver as one tree."""

import asyncio
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.trace.v1 import trace_pb2

from tether.errors import Reason, TetherError
from tether.observe import attribute, trace
from tether.observe.trace import TraceContext, Tracing

if TYPE_CHECKING:
    from tests.conftest import OtlpReceiver

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


async def test_one_trace_goes_through_three_services(otlp: "OtlpReceiver") -> None:
    names = ("gateway", "orchestrator", "worker")
    services = [Tracing.open(otlp.address, name, {"tether.region": "local"}) for name in names]
    caller = trace.parse(PARENT)
    for name, tracing in zip(names, services, strict=True):
        with tracing.span(name, caller, kind="server", attributes={attribute.OPERATION: "chat"}) as span:
            span.set(attribute.OUTPUT_TOKENS, 3)
            caller = trace.extract(trace.inject(span.context))
    for tracing in services:
        await tracing.close()
    spans = [otlp.spans[f"tether-{name}"][0] for name in names]
    assert {span.trace_id.hex() for span in spans} == {PARENT[3:35]}
    assert [span.parent_span_id.hex() for span in spans] == [
        PARENT[36:52],
        spans[0].span_id.hex(),
        spans[1].span_id.hex(),
    ]
    facts = {one.key: one.value for one in spans[0].attributes}
    assert facts[attribute.OPERATION].string_value == "chat"
    assert facts[attribute.OUTPUT_TOKENS].int_value == 3


async def test_failed_span_tells_its_reason_and_no_cause(otlp: "OtlpReceiver") -> None:
    tracing = Tracing.open("http://" + otlp.address, "gateway")
    with pytest.raises(TetherError), tracing.span("typed"):
        raise TetherError(Reason.NO_WORKER, "None here.")
    with pytest.raises(ValueError, match="secret"), tracing.span("untyped"):
        raise ValueError("secret")
    await tracing.close()
    typed, untyped = otlp.spans["tether-gateway"]
    assert (typed.status.code, typed.status.message) == (trace_pb2.Status.STATUS_CODE_ERROR, "None here.")
    assert untyped.status.code == trace_pb2.Status.STATUS_CODE_ERROR
    assert "secret" not in str(untyped)


async def test_caller_that_does_not_sample_is_obeyed(otlp: "OtlpReceiver") -> None:
    tracing = Tracing.open(otlp.address, "gateway")
    with tracing.span("hidden", trace.parse(PARENT[:-2] + "00")) as span:
        assert span.context is not None
        assert span.context.sampled is False
    with tracing.span("seen"):
        pass
    await tracing.close()
    assert [span.name for span in otlp.spans["tether-gateway"]] == ["seen"]


async def test_receiver_that_is_gone_does_not_hold_up_the_end() -> None:
    tracing = Tracing.open("127.0.0.1:9", "gateway")
    with tracing.span("lost"):
        pass
    async with asyncio.timeout(trace.CLOSE_S_MAX + 10):
        await tracing.close()


def test_off_imports_nothing_of_opentelemetry() -> None:
    code = (
        "import sys; from tether.observe.trace import Tracing; t = Tracing.open('', 'x');"
        "t.start('a').end(); sys.exit(any(m.startswith('opentelemetry') for m in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


async def test_off_hands_the_caller_on() -> None:
    tracing = Tracing.open("", "gateway")
    assert not tracing.on
    with tracing.span("a", trace.parse(PARENT)) as span:
        span.set("x", 1)
        span.event("y")
        assert trace.inject(span.context) == ((trace.TRACEPARENT, PARENT),)
    with tracing.span("b") as span:
        assert trace.inject(span.context) == ()
    await tracing.close()


def test_metadata_goes_before_the_field() -> None:
    field = "a" * 32
    found = trace.extract([("other", b"x"), (trace.TRACEPARENT, PARENT)], field)
    assert found is not None
    assert found.traceparent == PARENT
    alone = trace.extract([(trace.TRACEPARENT, "broken")], field)
    assert alone is not None
    assert alone.trace_id == field
    assert trace.extract([]) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "00-" + "0" * 32 + "-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-" + "0" * 16 + "-01",
        "ff" + PARENT[2:],
        PARENT.upper(),
        PARENT + "x",
        PARENT + "-" + "a" * 300,
    ],
)
def test_broken_traceparent_is_none(text: str) -> None:
    assert trace.parse(text) is None


@given(st.text(max_size=80))
def test_parse_of_anything_ends(text: str) -> None:
    found = trace.parse(text)
    assert found is None or isinstance(found, TraceContext)
