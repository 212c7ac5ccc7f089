"""InferenceService at the gateway: gRPC calls ↔ admitted requests and streams. Infer takes and gives raw bytes."""

import asyncio
from collections.abc import Coroutine
from typing import Any, cast

import grpc
import structlog
from grpc import aio

from tether.errors import TetherError
from tether.observe import attribute
from tether.observe.log import bind_request
from tether.observe.trace import Tracing, extract
from tether.v1 import infer_pb2
from tether_gateway import metrics
from tether_gateway.admission import Asked
from tether_gateway.conductor import Conductor
from tether_gateway.governor import Governor
from tether_gateway.resume import Resumes
from tether_gateway.streams import Streams

SERVICE = "tether.v1.InferenceService"
CORRELATION_KEY, RETRY_KEY, JOB_KEY = "tether-correlation-id", "tether-retry-token", "tether-job-id"
RECEIPT_KEY = "tether-receipt-bin"
_log = structlog.get_logger("tether.gateway")
Context = aio.ServicerContext[Any, Any]


class InferenceServicer:
    """Serves clients.

    Args:
        governor: decides.
        streams: serve admitted requests.
        resumes: serve readers that come back.
        conductor: knows the jobs that run here.
        tracing: a span for each request.
    """

    def __init__(
        self, governor: Governor, streams: Streams, resumes: Resumes, conductor: Conductor, tracing: Tracing
    ) -> None:
        self._tracing = tracing
        self._resumes = resumes
        self._governor = governor
        self._streams = streams
        self._conductor = conductor
        self._running = 0
        self.idle = asyncio.Event()
        self.idle.set()

    def add_to(self, server: aio.Server) -> list[str]:
        """Register the service; returns its full name."""
        handlers: dict[str, Any] = {
            "Infer": grpc.unary_stream_rpc_method_handler(self.Infer),  # no serializers: bytes in, bytes out
            "Resume": grpc.unary_stream_rpc_method_handler(
                self.Resume, request_deserializer=infer_pb2.ResumeRequest.FromString
            ),
            "Cancel": grpc.unary_unary_rpc_method_handler(
                self.Cancel,
                request_deserializer=infer_pb2.CancelRequest.FromString,
                response_serializer=infer_pb2.CancelResponse.SerializeToString,
            ),
            "GetJob": grpc.unary_unary_rpc_method_handler(
                self.GetJob,
                request_deserializer=infer_pb2.GetJobRequest.FromString,
                response_serializer=infer_pb2.GetJobResponse.SerializeToString,
            ),
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        return [SERVICE]

    async def Infer(self, request: bytes, context: Context) -> None:
        """Serve one answer; see infer.proto."""
        await self._counted(self._infer(request, context))

    async def Resume(self, request: infer_pb2.ResumeRequest, context: Context) -> None:
        """Read a job on; see infer.proto."""
        await self._counted(self._resume(request, context))

    async def Cancel(self, request: infer_pb2.CancelRequest, context: Context) -> infer_pb2.CancelResponse:
        """End a job for good; see infer.proto."""
        tenant = self._governor.tenant(asked_of(context))
        found = await self._governor.lookup(tenant, request)
        job = bytes.fromhex(found.name)
        flight = self._conductor.get(job)
        prompt = flight.input_tokens if flight is not None else 0
        held = await self._governor.cancel(tenant, found, self._conductor.position(job), prompt)
        if held.state == infer_pb2.JOB_STATE_CANCELLED:
            self._conductor.cancelled(job)
        return infer_pb2.CancelResponse(job=held)

    async def GetJob(self, request: infer_pb2.GetJobRequest, context: Context) -> infer_pb2.GetJobResponse:
        """Return a job of the caller's tenant; see infer.proto."""
        tenant = self._governor.tenant(asked_of(context))
        return infer_pb2.GetJobResponse(job=await self._governor.lookup(tenant, request))

    def _enter(self, step: int) -> None:
        self._running += step
        metrics.STREAMS.set(self._running)
        (self.idle.clear if self._running else self.idle.set)()

    async def _counted(self, call: Coroutine[Any, Any, None]) -> None:
        outcome = "gone"
        self._enter(1)
        try:
            with metrics.SECONDS.time():
                await call
            outcome = "ok"
        except TetherError as error:
            outcome = error.reason.name.lower()
            raise
        finally:
            self._enter(-1)
            metrics.REQUESTS.labels(outcome).inc()

    async def _resume(self, request: infer_pb2.ResumeRequest, context: Context) -> None:
        asked = asked_of(context)
        parent = extract(tuple(asked.metadata.items()), "")
        with self._tracing.span("resume", parent, kind="server") as span:
            here = span.context or parent
            traceparent = here.traceparent if here is not None else ""
            await self._resumes.serve(request, asked, CallSink(context), traceparent)

    async def _infer(self, request: bytes, context: Context) -> None:
        asked = asked_of(context)
        admitted = self._governor.admit(request, asked, self._conductor.knows)
        parent = extract(tuple(asked.metadata.items()), admitted.trace_id)
        with self._tracing.span("infer", parent, kind="server") as span:
            here = span.context or parent
            bind_request(admitted.correlation_id, here.trace_id if here is not None else "")
            span.set(attribute.REQUEST_MODEL, admitted.header.model_id)
            span.set(attribute.CORRELATION, admitted.correlation_id)
            await self._streams.serve(admitted, CallSink(context), here.traceparent if here is not None else "")


class CallSink:
    """A gRPC call as the sink of a stream."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._begun = False
        self.write = context.write

    async def begin(self, names: infer_pb2.Job) -> None:
        """Send names of request and job, once."""
        if self._begun:
            return
        self._begun = True
        metadata: list[tuple[str, str | bytes]] = [
            (CORRELATION_KEY, names.correlation_id),
            (RETRY_KEY, names.retry_token),
            (JOB_KEY, names.name),
        ]
        if names.HasField("receipt"):
            metadata.append((RECEIPT_KEY, names.receipt.SerializeToString()))
        await self._context.send_initial_metadata(tuple(metadata))


def asked_of(context: Context) -> Asked:
    """What came with a call."""
    metadata = cast("tuple[tuple[str, str | bytes], ...]", context.invocation_metadata() or ())
    texts = {key: value for key, value in metadata if isinstance(value, str)}
    return Asked(texts, source_of(context.peer()), context.time_remaining())


def source_of(peer: str) -> str:
    """Where a call comes from, without its port: `ipv4:127.0.0.1` of `ipv4:127.0.0.1:5`."""
    return peer.rpartition(":")[0] or peer
