"""The asyncio client: `Client.stream` yields pieces, `Client.infer` returns the whole answer.

A stream that is cut goes on by itself, at another gateway when needed. Leaving a stream's context ends its job, unless
the request has a name of the caller's own: then it may be taken up again by that name.
"""

import os
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self, TypeAlias, Unpack

from grpc import aio

from tether.client.gateways import Gateways
from tether.client.receipt import ReceiptCheck
from tether.client.request import Message, Options, build_request
from tether.client.result import Answer
from tether.client.stream import Calls, Stream, Wanted
from tether.client.target import Target, resolve
from tether.client.typing import OptionValues
from tether.errors import Reason, TetherError
from tether.identity import Trust
from tether.rpc.status import from_rpc_error
from tether.v1.infer_pb2 import CancelRequest, GetJobRequest, Infer, Job
from tether.v1.infer_pb2_grpc import InferenceServiceStub

Prompt: TypeAlias = str | Sequence[Message] | Infer.Tensors

_UNARY_TIMEOUT_S = 10.0  # a gateway answers these from one row; ten seconds is a dead one
_UNARY_TRIES = 3  # gateways asked for one job


class Client:
    """A client of one Tether network.

    Args:
        address: host:port of a gateway, several separated by commas; None takes `TETHER_ADDRESS` or the state folder.
        key: API key; None takes `TETHER_KEY` or the state folder.
        state: state folder of a `tether up` on this machine.
        resume: whether a cut stream goes on by itself. Requests without a name are given one for that.
        root: file or folder of the network's root document (`root.bin`): every whole answer must then have a receipt
            that holds by it.

    Raises:
        TetherError: INVALID_FIELD without an address, KEY_MISSING without a key, STATE_UNUSABLE without such a root.
    """

    def __init__(
        self,
        address: str | None = None,
        key: str | None = None,
        *,
        state: Path | None = None,
        resume: bool = True,
        root: Path | None = None,
    ) -> None:
        self._target: Target = resolve(address, key, state, os.environ)
        self._gateways = Gateways(self._target.addresses)
        self._resume = resume
        self._check = None if root is None else ReceiptCheck(load_root(root))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *raised: object) -> None:
        await self.close()

    def stream(self, prompt: Prompt, *, model: str, **options: Unpack[OptionValues]) -> Stream:
        """Start an answer.

        Args:
            prompt: text, a conversation of `{"role", "content"}`, or tensors.
            model: model's name, or `name:version`.
            options: see `Options`.

        Raises:
            TetherError: INVALID_FIELD where a value does not fit its field; the rest is raised while reading.
        """
        request = build_request(model, prompt, Options(**options))
        named = bool(request.correlation_id or request.retry_token)
        if self._resume and not named:
            request.correlation_id = uuid.uuid4().hex
        return self._stream(Wanted(request, ours=not named))

    async def infer(self, prompt: Prompt, *, model: str, **options: Unpack[OptionValues]) -> Answer:
        """Return a whole answer.

        Raises:
            TetherError: whatever ended it.
        """
        async with self.stream(prompt, model=model, **options) as stream:
            return await stream.answer()

    def resume(
        self, *, continuation: bytes = b"", job_id: str = "", correlation_id: str = "", timeout_s: float | None = None
    ) -> Stream:
        """Read a job on that another reader began, or from its start.

        Args:
            continuation: of the last piece that was read; the answer goes on behind it.
            job_id: 32 hex digits, to read from the start.
            correlation_id: name of the request, to read from the start.
            timeout_s: time for the rest of the answer, seconds.

        Raises:
            TetherError: while reading: JOB_UNKNOWN, CURSOR_INVALID, STREAM_DIVERGED, or whatever ended the job.
        """
        return self._stream(Wanted(continuation=continuation, job_id=job_id, name=correlation_id, limit_s=timeout_s))

    async def cancel(self, *, job_id: str = "", correlation_id: str = "", retry_token: str = "") -> Job:
        """End a job for good and return the outcome that holds.

        Raises:
            TetherError: JOB_UNKNOWN, or what kept the gateway from answering.
        """
        request = CancelRequest(job_id=job_id, correlation_id=correlation_id, retry_token=retry_token)
        return await self._job(lambda stub: stub.Cancel, request)

    async def job(self, *, job_id: str = "", correlation_id: str = "", retry_token: str = "") -> Job:
        """Return a job with its answer where that is kept.

        Raises:
            TetherError: JOB_UNKNOWN, or what kept the gateway from answering.
        """
        request = GetJobRequest(job_id=job_id, correlation_id=correlation_id, retry_token=retry_token)
        return await self._job(lambda stub: stub.GetJob, request)

    async def _job(self, method: Callable[[Any], Callable[..., Any]], request: CancelRequest | GetJobRequest) -> Job:
        """Ask for a job, at the next gateway where one is gone: both calls may be made twice."""
        until_s = time.monotonic() + _UNARY_TIMEOUT_S
        for tried in range(1, _UNARY_TRIES + 1):
            address, left_s = self._gateways.current, until_s - time.monotonic()
            try:
                call = method(InferenceServiceStub(self._gateways.channel()))
                response = await call(request, metadata=self._metadata(), timeout=left_s)
            except aio.AioRpcError as fault:
                error = from_rpc_error(fault)
                if error.reason is not Reason.UNREACHABLE or tried == _UNARY_TRIES:
                    raise error from fault
                self._gateways.failed(address)
            else:
                job: Job = response.job
                return job
        raise TetherError(Reason.UNREACHABLE, "no gateway answers")

    async def wait_ready(self, timeout_s: float = 5.0) -> None:
        """Return once a gateway accepts connections; tries each address in turn.

        Raises:
            TetherError: DEADLINE where none answers in time.
        """
        await self._gateways.wait_ready(timeout_s)

    async def close(self) -> None:
        """Close the connections; running streams end."""
        await self._gateways.close()

    def _stream(self, wanted: Wanted) -> Stream:
        return Stream(Calls(self._gateways, self._metadata()), wanted, resume=self._resume, check=self._check)

    def _metadata(self) -> tuple[tuple[str, str], ...]:
        return (("authorization", f"Bearer {self._target.key}"),)


def load_root(path: Path) -> Trust:
    """Trust by a root document.

    Args:
        path: the file, or a node's or network's folder that has it.

    Raises:
        TetherError: STATE_UNUSABLE where there is none, or it does not hold.
    """
    if path.is_dir():
        return Trust.load(path)
    try:
        return Trust(path.read_bytes())
    except OSError as fault:
        raise TetherError(Reason.STATE_UNUSABLE, f"{path} cannot be read: {fault.strerror}") from fault
