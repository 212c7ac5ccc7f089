"""Spans to an OTLP receiver, by OpenTelemetry's SDK. Imported only when there is an endpoint.

Source: OTLP 1.x, opentelemetry-proto `trace_service.proto`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)
from opentelemetry.trace import Span as OtelSpan

from tether.observe import attribute
from tether.observe.trace import TraceContext, Value, failure

QUEUE_SPANS_MAX = 4_096  # seconds of spans of a busy gateway; more are dropped and counted by the SDK
BATCH_SPANS_MAX = 512  # the SDK's own default: some 200 KB a message
DELAY_MS = 1_000  # a person who looks at a trace waits a second, not five
EXPORT_S_MAX = 5.0  # a receiver that takes longer is as good as gone

_KINDS = {"server": SpanKind.SERVER, "client": SpanKind.CLIENT, "internal": SpanKind.INTERNAL}


@dataclass(frozen=True, slots=True)
class RecordedSpan:
    """A span that is recorded."""

    span: OtelSpan

    @property
    def context(self) -> TraceContext:
        """What to hand on to whom this span calls."""
        own = self.span.get_span_context()
        return TraceContext(f"{own.trace_id:032x}", f"{own.span_id:016x}", own.trace_flags.sampled)

    def set(self, name: str, value: Value) -> None:
        """Note a fact."""
        self.span.set_attribute(name, value)

    def event(self, name: str) -> None:
        """Note that something happened now."""
        self.span.add_event(name)

    def fail(self, error: BaseException) -> None:
        """Say that it failed, by its reason."""
        kind, text = failure(error)
        self.span.set_attribute(attribute.ERROR_TYPE, kind)
        self.span.set_status(Status(StatusCode.ERROR, text or kind))

    def end(self) -> None:
        """Say that it is over."""
        if self.span.is_recording():
            self.span.end()


class Exporter:
    """Records the spans of one service and sends them in batches, from a thread of the SDK."""

    def __init__(self, endpoint: str, service: str, facts: Mapping[str, str], ratio: float) -> None:
        resource = Resource.create({"service.name": f"tether-{service}", "service.namespace": "tether", **facts})
        sampler = ParentBased(TraceIdRatioBased(ratio))
        self._provider = TracerProvider(sampler=sampler, resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(
            BatchSpanProcessor(
                OTLPSpanExporter(endpoint, insecure=not endpoint.startswith("https://"), timeout=EXPORT_S_MAX),
                max_queue_size=QUEUE_SPANS_MAX,
                max_export_batch_size=BATCH_SPANS_MAX,
                schedule_delay_millis=DELAY_MS,
            )
        )
        self._tracer = self._provider.get_tracer("tether")

    def start(self, name: str, parent: TraceContext | None, kind: str, attributes: Mapping[str, Value]) -> RecordedSpan:
        """Start a span below `parent`, or at the root of a new trace."""
        context = set_span_in_context(NonRecordingSpan(_remote(parent))) if parent is not None else None
        return RecordedSpan(
            self._tracer.start_span(name, context=context, kind=_KINDS[kind], attributes=dict(attributes))
        )

    def close(self, wait_s: float) -> None:
        """Send what waits, for at most `wait_s`, and stop. Blocks."""
        self._provider.force_flush(int(wait_s * 1_000))
        self._provider.shutdown()


def _remote(parent: TraceContext) -> SpanContext:
    flags = TraceFlags(TraceFlags.SAMPLED if parent.sampled else TraceFlags.DEFAULT)
    return SpanContext(int(parent.trace_id, 16), int(parent.span_id, 16), is_remote=True, trace_flags=flags)
