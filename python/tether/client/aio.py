"""The asyncio client: `Client.stream` yields pieces, `Client.infer` returns the whole answer.

Leaving a stream's context cancels the call; the service then stops or detaches the job as the request says.
"""

import ipaddress
import os
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeAlias, Unpack

import grpc
from grpc import aio

from tether.client.request import Message, Options, build_request
from tether.client.result import Answer, Gathered, Piece
from tether.client.target import Target, resolve
from tether.client.typing import OptionValues
from tether.errors import Reason, TetherError
from tether.rpc.channel import open_channel
from tether.rpc.status import from_rpc_error
from tether.v1.infer_pb2 import CancelRequest, GetJobRequest, Infer, Job
from tether.v1.infer_pb2_grpc import InferenceServiceStub

if TYPE_CHECKING:
    from grpc.aio import UnaryStreamCall

    from tether.v1.infer_pb2_grpc import InferenceServiceAsyncStub

Prompt: TypeAlias = str | Sequence[Message] | Infer.Tensors


class Stream:
    """One answer as it comes: an async iterator of pieces and an async context manager.

    Attributes are filled by the first piece. A stream that cannot be finished raises TetherError; it never just ends.
    """

    def __init__(self, call: "UnaryStreamCall[Infer.Request, Infer.Chunk]") -> None:
        self._call = call
        self._gathered = Gathered()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *raised: object) -> None:
        self.cancel()

    def __aiter__(self) -> AsyncIterator[Piece]:
        return self._pieces()

    async def _pieces(self) -> AsyncIterator[Piece]:
        try:
            async for chunk in self._call:
                yield self._gathered.add(chunk)
        except aio.AioRpcError as error:
            raise from_rpc_error(error) from error
        self._gathered.answer()  # raises where the end is missing

    async def answer(self) -> Answer:
        """Read to the end and return the whole answer.

        Raises:
            TetherError: whatever ended the stream.
        """
        if self._gathered.last is None:
            async for _ in self:
                pass
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
        """Name of the request, as sent or drawn; empty before the first piece."""
        return self._gathered.correlation_id

    def cancel(self) -> None:
        """Leave the stream. Does nothing at its end."""
        self._call.cancel()


class Client:
    """A client of one Tether network.

    Args:
        address: host:port of a gateway, several separated by commas; None takes `TETHER_ADDRESS` or the state folder.
        key: API key; None takes `TETHER_KEY` or the state folder.
        state: state folder of a `tether up` on this machine.

    Raises:
        TetherError: INVALID_FIELD without an address, KEY_MISSING without a key.
    """

    def __init__(self, address: str | None = None, key: str | None = None, *, state: Path | None = None) -> None:
        self._target: Target = resolve(address, key, state, os.environ)
        self._dialled = _dialled(self._target.addresses)
        self._channel: aio.Channel | None = None
        self._at = 0

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
        chosen = Options(**options)
        request = build_request(model, prompt, chosen)
        call = self._stub().Infer(request, metadata=self._metadata(), timeout=chosen.timeout_s)
        return Stream(call)

    async def infer(self, prompt: Prompt, *, model: str, **options: Unpack[OptionValues]) -> Answer:
        """Return a whole answer.

        Raises:
            TetherError: whatever ended it.
        """
        async with self.stream(prompt, model=model, **options) as stream:
            return await stream.answer()

    async def cancel(self, *, job_id: str = "", correlation_id: str = "", retry_token: str = "") -> Job:
        """End a job for good and return the outcome that holds.

        Raises:
            TetherError: JOB_UNKNOWN, or what kept the gateway from answering.
        """
        request = CancelRequest(job_id=job_id, correlation_id=correlation_id, retry_token=retry_token)
        return await self._job(self._stub().Cancel, request)

    async def job(self, *, job_id: str = "", correlation_id: str = "", retry_token: str = "") -> Job:
        """Return a job with its answer where that is kept.

        Raises:
            TetherError: JOB_UNKNOWN, or what kept the gateway from answering.
        """
        request = GetJobRequest(job_id=job_id, correlation_id=correlation_id, retry_token=retry_token)
        return await self._job(self._stub().GetJob, request)

    async def _job(self, method: Callable[..., Any], request: CancelRequest | GetJobRequest) -> Job:
        try:
            response = await method(request, metadata=self._metadata(), timeout=_UNARY_TIMEOUT_S)
        except aio.AioRpcError as error:
            raise from_rpc_error(error) from error
        job: Job = response.job
        return job

    async def wait_ready(self, timeout_s: float = 5.0) -> None:
        """Return once a gateway accepts connections; tries each address in turn.

        Raises:
            TetherError: DEADLINE where none answers in time.
        """
        for _ in self._dialled:
            channel = self._open()
            if await _connects(channel, timeout_s / len(self._dialled)):
                return
            await channel.close(None)
            self._channel, self._at = None, self._at + 1
        raise TetherError(Reason.DEADLINE, f"no gateway answers at {', '.join(self._target.addresses)}")

    async def close(self) -> None:
        """Close the connection; running streams end."""
        if self._channel is not None:
            await self._channel.close(None)
            self._channel = None

    def _open(self) -> aio.Channel:
        if self._channel is None:
            self._channel = open_channel(self._dialled[self._at % len(self._dialled)])
        return self._channel

    def _stub(self) -> "InferenceServiceAsyncStub":
        return InferenceServiceStub(self._open())

    def _metadata(self) -> tuple[tuple[str, str], ...]:
        return (("authorization", f"Bearer {self._target.key}"),)


_UNARY_TIMEOUT_S = 10.0  # a gateway answers these from one row; ten seconds is a dead one


def _dialled(addresses: tuple[str, ...]) -> tuple[str, ...]:
    """Return what channels are opened to: one target for all literal addresses, or each name by itself.

    gRPC takes the first that answers of a list of literal addresses; it lists no names.
    """
    literal = all(_is_ipv4(one.rpartition(":")[0]) for one in addresses)
    return ("ipv4:" + ",".join(addresses),) if literal and len(addresses) > 1 else addresses


def _is_ipv4(host: str) -> bool:
    try:
        ipaddress.IPv4Address(host)
    except ValueError:
        return False
    return True


async def _connects(channel: aio.Channel, timeout_s: float) -> bool:
    """Whether `channel` gets ready within `timeout_s` seconds."""
    import asyncio  # noqa: PLC0415 - only this path needs it

    try:
        async with asyncio.timeout(timeout_s):
            while (state := channel.get_state(try_to_connect=True)) is not grpc.ChannelConnectivity.READY:
                if state is grpc.ChannelConnectivity.TRANSIENT_FAILURE:
                    return False
                await channel.wait_for_state_change(state)
    except TimeoutError:
        return False
    return True
