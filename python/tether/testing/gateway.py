"""A gateway that says what a test wants: the real service and socket, with a script in place of a region."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

from grpc import aio

from tether.v1.infer_pb2 import Infer
from tether.v1.infer_pb2_grpc import InferenceServiceServicer, add_InferenceServiceServicer_to_server

SERVICE = "tether.v1.InferenceService"
JOB = "0123456789abcdef" * 2
Script = Callable[[Infer.Request], AsyncIterator[Infer.Chunk]]


class FakeGateway(InferenceServiceServicer):
    """Answers `Infer` by its `script`, and remembers what it was asked.

    Attributes:
        script: yields the chunks of an answer, or raises TetherError.
        requests: what was asked, in order.
        metadata: what came with each, in order.
        deadlines_s: seconds that each had.
        left: set when a caller has left before the end.
    """

    def __init__(self, script: Script | None = None) -> None:
        self.script: Script = say("Hello", " world")
        self.requests: list[Infer.Request] = []
        self.metadata: list[dict[str, str | bytes]] = []
        self.deadlines_s: list[float | None] = []
        self.left = asyncio.Event()
        self.reset(script)

    def reset(self, script: Script | None = None) -> None:
        """Forget what was asked, and say `script` from now on."""
        self.script = script or say("Hello", " world")
        self.requests, self.metadata, self.deadlines_s = [], [], []
        self.left = asyncio.Event()

    def add_to(self, server: aio.Server) -> list[str]:
        """Add the service; for `Node.serve`."""
        add_InferenceServiceServicer_to_server(self, server)
        return [SERVICE]

    async def Infer(  # noqa: N802  the contract's name
        self, request: Infer.Request, context: aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[Infer.Chunk]:
        """Answer by the script."""
        self.requests.append(request)
        self.metadata.append(dict(context.invocation_metadata() or ()))
        self.deadlines_s.append(context.time_remaining())
        try:
            async for chunk in self.script(request):
                yield chunk
        except (asyncio.CancelledError, GeneratorExit):
            self.left.set()
            raise


def first(request: Infer.Request, text: str = "") -> Infer.Chunk:
    """Return the first chunk of an answer."""
    started = Infer.Started(job_id=JOB, model_id=request.model_id, version=request.version or "1.0")
    named = request.correlation_id or "drawn-by-the-gateway"
    return Infer.Chunk(correlation_id=named, payload=Infer.Payload(text=text), started=started)


def piece(text: str) -> Infer.Chunk:
    """Return a chunk of text."""
    return Infer.Chunk(payload=Infer.Payload(text=text))


def last(tokens: int = 2) -> Infer.Chunk:
    """Return the last chunk of an answer."""
    return Infer.Chunk(
        done=True,
        finish_reason=Infer.FINISH_REASON_STOP,
        usage=Infer.Usage(input_tokens=3, output_tokens=tokens),
        settlement=Infer.SETTLEMENT_COMMITTED,
    )


def say(*texts: str) -> Script:
    """Return a script that says these texts and ends well."""

    async def script(request: Infer.Request) -> AsyncIterator[Infer.Chunk]:
        yield first(request)
        for text in texts:
            yield piece(text)
        yield last(len(texts))

    return script
