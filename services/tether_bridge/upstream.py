"""The way to a gateway: found on the overlay, asked with the client's own key, left for the next where that is safe."""

import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import grpc
import structlog

from tether.errors import Reason, TetherError
from tether.node.find import Peer
from tether.rpc.status import from_rpc_error
from tether.v1.infer_pb2 import Infer
from tether.v1.infer_pb2_grpc import InferenceServiceStub

ATTEMPTS = 3  # a region has a handful of gateways; the third that is gone will not be the last
NEVER_SENT = "failed to connect"  # grpc's words where no connection came about, so that nobody got the request

_log = structlog.get_logger("tether.bridge")
Metadata = tuple[tuple[str, str], ...]


class Gateways(Protocol):
    """The gateways that are there, as `tether.node.find.Peers` tells."""

    async def one(self, key: str) -> Peer:
        """Return the best for `key`; TetherError where none comes in time."""

    def next(self, key: str, failed: Peer) -> Peer | None:
        """Pass one over and return the next best, or None."""

    def all(self) -> Sequence[Peer]:
        """Return all that are known now."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request on its way.

    Attributes:
        request: what is asked.
        authorization: the client's `authorization` header.
        traceparent: the client's, or empty.
        timeout_s: how long it may take, seconds.
        keyed: whether sending it twice is safe.
    """

    request: Infer.Request
    authorization: str
    traceparent: str
    timeout_s: float
    keyed: bool

    def metadata(self) -> Metadata:
        """Return what travels with the call."""
        made = (("authorization", self.authorization),)
        return (*made, ("traceparent", self.traceparent)) if self.traceparent else made


class Answer:
    """A stream of chunks from a gateway."""

    def __init__(self, call: grpc.aio.UnaryStreamCall[Infer.Request, Infer.Chunk], first: Infer.Chunk | None) -> None:
        self._call = call
        self._first = first
        self.correlation_id = first.correlation_id if first is not None else ""

    async def read(self) -> Infer.Chunk | None:
        """Return the next chunk, or None at the end of the stream.

        Raises:
            TetherError: what the gateway answered.
        """
        if self._first is not None:
            first, self._first = self._first, None
            return first
        return await _read(self._call)

    def cancel(self) -> None:
        """Let the gateway know that nobody reads any more; after the end it does nothing."""
        self._call.cancel()


class Upstream:
    """Sends requests to gateways.

    Args:
        gateways: of the region.
        channel: returns the channel to one.
    """

    def __init__(self, gateways: Gateways, channel: Callable[[str, str], grpc.aio.Channel]) -> None:
        self._gateways = gateways
        self._channel = channel

    @property
    def ready(self) -> bool:
        """Whether a gateway is known."""
        return bool(self._gateways.all())

    async def ask(self, asked: Asked) -> Answer:
        """Send a request; returns once its first chunk is there.

        A gateway that did not take it is passed over; one that may have is only where the client named the request.

        Raises:
            TetherError: what the last gateway answered, or UNREACHABLE where there is none.
        """
        ends_at_s = time.monotonic() + asked.timeout_s
        key = asked.request.correlation_id or secrets.token_hex(8)
        peer = await self._gateways.one(key)
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return await self._ask_one(peer, asked, ends_at_s - time.monotonic())
            except TetherError as error:
                following = self._gateways.next(key, peer) if _may_move(error, asked) else None
                if following is None or attempt == ATTEMPTS or time.monotonic() >= ends_at_s:
                    raise
                _log.info("gateway is passed over", gateway=peer.node_id, reason=error.reason.name)
                peer = following
        raise TetherError(Reason.UNREACHABLE, "No gateway answers.")

    async def _ask_one(self, peer: Peer, asked: Asked, timeout_s: float) -> Answer:
        stub = InferenceServiceStub(self._channel(peer.node_id, peer.address))
        call = stub.Infer(asked.request, metadata=asked.metadata(), timeout=max(timeout_s, 0.001))
        try:
            return Answer(call, await _read(call))
        except BaseException:
            call.cancel()
            raise


async def _read(call: grpc.aio.UnaryStreamCall[Infer.Request, Infer.Chunk]) -> Infer.Chunk | None:
    try:
        chunk = await call.read()
    except grpc.aio.AioRpcError as error:
        raise from_rpc_error(error, peer="the gateway") from error
    return chunk if isinstance(chunk, Infer.Chunk) else None


def _may_move(error: TetherError, asked: Asked) -> bool:
    """Tell whether another gateway may be asked without running the request twice."""
    if error.reason is Reason.DRAINING:
        return True
    return error.reason is Reason.UNREACHABLE and (asked.keyed or NEVER_SENT in error.message)
