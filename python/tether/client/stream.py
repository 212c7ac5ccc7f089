"""One answer as it comes, over as many calls as it takes: a stream that is cut goes on at another gateway.

Before the first chunk the request is simply sent again under its own name, which joins the job that is there. After it
`Resume` reads on from the last chunk's continuation, and carries the request, so that the job can run again when nobody
has it any more.
Source: docs/design/streams.md §2, §4.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Self

import structlog
from grpc import aio

from tether.client.gateways import Gateways
from tether.client.receipt import ReceiptCheck
from tether.client.result import Answer, Gathered, Piece
from tether.client.retry import Patience, fresh, resumable
from tether.errors import Reason, TetherError
from tether.rpc.status import from_rpc_error
from tether.v1.infer_pb2 import CancelRequest, Infer, ResumeRequest
from tether.v1.infer_pb2_grpc import InferenceServiceStub

FRESH_TRIES = 1  # beside one for each gateway: a person at a terminal wants to be told
LEAVE_S = 1.0  # a cancel that takes longer is left to the grace of the gateway
_log = structlog.get_logger("tether.client")


@dataclass(frozen=True, slots=True)
class Calls:
    """How a client calls.

    Attributes:
        gateways: where.
        metadata: sent with each call.
    """

    gateways: Gateways
    metadata: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a stream is to bring.

    Attributes:
        request: to run, or None where a job is only read.
        ours: whether the request was named here: leaving it early ends its job.
        continuation: where to begin to read.
        job_id: 32 hex digits of the job to read, or empty.
        name: correlation id of the job to read, or empty.
        limit_s: time for all of it, or None as the request says.
    """

    request: Infer.Request | None = None
    ours: bool = False
    continuation: bytes = b""
    job_id: str = ""
    name: str = ""
    limit_s: float | None = None

    @property
    def timeout_s(self) -> float | None:
        """Time for all of it, seconds, or None."""
        if self.request is None or not self.request.HasField("timeout"):
            return self.limit_s
        return self.request.timeout.ToMilliseconds() / 1_000

    @property
    def correlation_id(self) -> str:
        """Name of the request, or empty."""
        return self.name if self.request is None else self.request.correlation_id

    def rest(self, continuation: bytes, timeout_s: float | None) -> ResumeRequest:
        """The request for what comes behind `continuation`."""
        if continuation:
            found = ResumeRequest(continuation=continuation, request=self.request)
        else:
            found = ResumeRequest(job_id=self.job_id, correlation_id=self.name)
        if timeout_s is not None:
            found.timeout.FromMilliseconds(max(1, int(timeout_s * 1_000)))
        return found


class Stream:
    """An async iterator of pieces and an async context manager.

    It never just ends: what cannot be finished raises TetherError.

    Args:
        calls: where to ask, and what is sent with each call.
        wanted: a request, or a job to read on.
        resume: whether a cut stream goes on by itself.
        check: checks the receipt at the end, or None.
    """

    def __init__(self, calls: Calls, wanted: Wanted, *, resume: bool, check: ReceiptCheck | None) -> None:
        self._calls, self._wanted, self._resume, self._check = calls, wanted, resume, check
        now_s = time.monotonic()
        self._patience = Patience(None if wanted.timeout_s is None else now_s + wanted.timeout_s, now_s)
        self._gathered = Gathered(anywhere=wanted.request is None, continuation=wanted.continuation)
        self._at = ""
        self._refused = False
        self.cuts: list[Reason] = []
        self._call = self._open()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *raised: object) -> None:
        self.cancel()
        left_early = self._gathered.last is None and not self._refused
        if left_early and self._resume and self._wanted.ours:
            await self._call_off()

    def __aiter__(self) -> AsyncIterator[Piece]:
        return self._pieces()

    async def _pieces(self) -> AsyncIterator[Piece]:
        while self._gathered.last is None:
            error: TetherError | None = None
            try:
                async for chunk in self._call:
                    piece = self._gathered.add(chunk)
                    self._patience.progressed(time.monotonic())
                    if piece.done:
                        self._checked()
                    yield piece
                self._gathered.answer()  # raises where the end is missing
            except aio.AioRpcError as fault:
                error = from_rpc_error(fault)
            except TetherError as fault:
                error = fault
            if error is not None:
                await self._go_on(error)

    async def _go_on(self, error: TetherError) -> None:
        """Take the stream up again after `error`, or raise it."""
        again = self._resume and self._may(error)
        wait_s = self._patience.wait_s(error, time.monotonic(), random.random()) if again else None  # noqa: S311 - spreads
        if wait_s is None:
            self._refused = True
            raise error
        self._call.cancel()
        self._calls.gateways.failed(self._at)
        await asyncio.sleep(wait_s)
        self.cuts.append(error.reason)
        self._gathered.reopened()
        self._call = self._open()

    def _may(self, error: TetherError) -> bool:
        """Whether `error` is one after which another try makes sense."""
        if self._gathered.continuation:
            return resumable(error)
        tries = self._patience.failures <= FRESH_TRIES + len(self._calls.gateways)
        return not self._gathered.delivered and tries and fresh(error)

    def _open(self) -> Any:  # noqa: ANN401 - a call of one of two methods
        """Ask: for the answer at first, then for the rest of it."""
        timeout_s = self._patience.left_s(time.monotonic())
        stub, wanted = self._stub(), self._wanted
        if wanted.request is not None and not self._gathered.continuation:
            return stub.Infer(wanted.request, metadata=self._calls.metadata, timeout=timeout_s)
        request = wanted.rest(self._gathered.continuation, timeout_s)
        return stub.Resume(request, metadata=self._calls.metadata, timeout=timeout_s)

    def _stub(self) -> Any:  # noqa: ANN401 - the generated stub has no common type for sync and async
        self._at = self._calls.gateways.current
        return InferenceServiceStub(self._calls.gateways.channel())

    def _checked(self) -> None:
        if self._check is not None:
            self._check.check(self._gathered, time.time())

    async def _call_off(self) -> None:
        """End the job for good: nobody else knows its name."""
        request = CancelRequest(correlation_id=self._wanted.correlation_id)
        try:
            await self._stub().Cancel(request, metadata=self._calls.metadata, timeout=LEAVE_S)
        except aio.AioRpcError as fault:
            if from_rpc_error(fault).reason is not Reason.JOB_UNKNOWN:
                _log.info("a job that was left could not be cancelled; it ends by itself", code=fault.code().name)

    async def answer(self) -> Answer:
        """Read to the end and return the whole answer.

        Raises:
            TetherError: whatever ended the stream.
        """
        if self._gathered.last is None:
            async for _ in self:
                pass
        self._checked()  # again, for whoever asks for the answer after its receipt was refused
        return self._gathered.answer()

    @property
    def job_id(self) -> str:
        """Job's id, 32 hex digits; empty before the first piece."""
        return self._gathered.started.job_id

    @property
    def model(self) -> str:
        """`name:version` that runs; `:` before the first piece."""
        return f"{self._gathered.started.model_id}:{self._gathered.started.version}"

    @property
    def correlation_id(self) -> str:
        """Name of the request, as sent or drawn."""
        return self._gathered.correlation_id or self._wanted.correlation_id

    @property
    def resumes(self) -> int:
        """How often it was taken up again; `cuts` says after what."""
        return len(self.cuts)

    @property
    def continuation(self) -> bytes:
        """Where another reader could go on: see `Client.resume`. Empty before the first piece."""
        return self._gathered.continuation

    def cancel(self) -> None:
        """Leave the stream. Does nothing at its end."""
        self._call.cancel()
