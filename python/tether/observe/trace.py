"""Traces: one span per service and request, in one trace from gateway to worker.

Off unless there is an endpoint, and then nothing of OpenTelemetry is even imported: a span is a small object that hands
on the caller's `traceparent`. Parents travel by hand, because interceptors cost more than the spans and break
cancellation.
Source: W3C Trace Context; OTLP 1.x over gRPC.
"""

import asyncio
import re
import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from tether.errors import Reason, TetherError

if TYPE_CHECKING:
    from tether.observe.otlp import Exporter

TRACEPARENT = "traceparent"
CLOSE_S_MAX = 5.0  # for the last batch; a receiver that is gone must not hold up the end

Value = str | int | float | bool | tuple[str, ...]
_FORM = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?")


@dataclass(frozen=True, slots=True)
class TraceContext:
    """Where a span stands.

    Attributes:
        trace_id: 32 lower-case hex digits.
        span_id: 16 lower-case hex digits.
        sampled: whether the trace is recorded.
    """

    trace_id: str
    span_id: str
    sampled: bool = True

    @property
    def traceparent(self) -> str:
        """The value of the `traceparent` header."""
        return f"00-{self.trace_id}-{self.span_id}-{'01' if self.sampled else '00'}"


def parse(traceparent: str) -> TraceContext | None:
    """Read a `traceparent` value, or return None where it is none."""
    match = _FORM.fullmatch(traceparent) if len(traceparent) <= 256 else None
    return TraceContext(match[1], match[2], bool(int(match[3], 16) & 1)) if match else None


def extract(metadata: Iterable[tuple[str, str | bytes]], trace_id: str = "") -> TraceContext | None:
    """Find the caller's span: the `traceparent` metadata, else the request's own trace id under a span that we draw.

    Args:
        metadata: of the call.
        trace_id: what the request's field says; empty for nothing.
    """
    for key, value in metadata:
        if key == TRACEPARENT and isinstance(value, str) and (found := parse(value)) is not None:
            return found
    return parse(f"00-{trace_id}-{secrets.token_hex(8)}-01") if trace_id else None


def inject(context: TraceContext | None) -> tuple[tuple[str, str], ...]:
    """Return the metadata that hands a span on to the callee."""
    return ((TRACEPARENT, context.traceparent),) if context is not None else ()


class Span(Protocol):
    """Something that takes time."""

    @property
    def context(self) -> TraceContext | None:
        """What to hand on to whom this span calls."""

    def set(self, name: str, value: Value) -> None:
        """Note a fact; names are those of `tether.observe.attribute`."""

    def event(self, name: str) -> None:
        """Note that something happened now."""

    def fail(self, error: BaseException) -> None:
        """Say that it failed."""

    def end(self) -> None:
        """Say that it is over; the same again does nothing."""


@dataclass(frozen=True, slots=True)
class _Unseen:
    """A span that nobody records: it hands on what it got."""

    context: TraceContext | None

    def set(self, name: str, value: Value) -> None:
        """Do nothing."""

    def event(self, name: str) -> None:
        """Do nothing."""

    def fail(self, error: BaseException) -> None:
        """Do nothing."""

    def end(self) -> None:
        """Do nothing."""


_NOWHERE = _Unseen(None)


class Tracing:
    """Makes the spans of one service. Made without an exporter it records nothing."""

    def __init__(self, exporter: "Exporter | None" = None) -> None:
        self._exporter = exporter

    @classmethod
    def open(cls, endpoint: str, service: str, facts: Mapping[str, str] | None = None, ratio: float = 1.0) -> "Tracing":
        """Start to record, or not.

        Args:
            endpoint: host:port or URL of an OTLP receiver (gRPC); empty is off.
            service: name of the service, such as `gateway`.
            facts: more about the process, such as its region.
            ratio: share of new traces that are recorded, 0 to 1; a caller's choice is kept.

        Raises:
            TetherError: INVALID_FIELD where the packages for it are missing.
        """
        if not endpoint:
            return cls()
        try:
            from tether.observe.otlp import Exporter  # noqa: PLC0415  half a second and 30 MB, only when asked for
        except ImportError as error:
            message = "otlp_endpoint needs more packages: pip install 'tether-mesh[otel]'"
            raise TetherError(Reason.INVALID_FIELD, message, field="otlp_endpoint") from error
        return cls(Exporter(endpoint, service, facts or {}, ratio))

    @property
    def on(self) -> bool:
        """Whether spans are recorded."""
        return self._exporter is not None

    def start(
        self,
        name: str,
        parent: TraceContext | None = None,
        *,
        kind: str = "internal",
        attributes: Mapping[str, Value] | None = None,
    ) -> Span:
        """Start a span that the caller ends.

        Args:
            name: what is done, such as `infer`; never an id.
            parent: the caller's span.
            kind: `server`, `client` or `internal`.
            attributes: facts that are known now.
        """
        if self._exporter is None:
            return _Unseen(parent) if parent is not None else _NOWHERE
        return self._exporter.start(name, parent, kind, attributes or {})

    @contextmanager
    def span(
        self,
        name: str,
        parent: TraceContext | None = None,
        *,
        kind: str = "internal",
        attributes: Mapping[str, Value] | None = None,
    ) -> Iterator[Span]:
        """Record a block; what it raises fails the span."""
        span = self.start(name, parent, kind=kind, attributes=attributes)
        try:
            yield span
        except BaseException as error:
            span.fail(error)
            raise
        finally:
            span.end()

    async def close(self) -> None:
        """Send what waits, for a bounded time, and stop."""
        if self._exporter is not None:
            exporter, self._exporter = self._exporter, None
            await asyncio.to_thread(exporter.close, CLOSE_S_MAX)


def failure(error: BaseException) -> tuple[str, str]:
    """Return the type and the text of a failure as a span tells them: reasons, never causes."""
    if isinstance(error, TetherError):
        return error.reason.name, error.message
    if isinstance(error, asyncio.CancelledError):
        return "cancelled", ""
    return type(error).__name__, ""
