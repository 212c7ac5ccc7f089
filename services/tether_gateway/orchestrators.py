"""Calling orchestrators: the one that rendezvous hashing names, the next when it does not answer, within a limit.

Placement and completion are idempotent, so a call whose answer was lost is simply made again elsewhere.
Source: docs/design/design.md §4.
"""

import asyncio
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import grpc
import structlog
from google.protobuf.message import Message
from grpc import aio

from tether.errors import Reason, TetherError
from tether.node.find import Peer
from tether.rpc.status import from_rpc_error
from tether.v1 import control_pb2, placement_pb2

_TRIES_MAX = 3  # orchestrators asked for one call; the fourth would not be the first to answer
_UNHEARD = frozenset({Reason.UNREACHABLE, Reason.DRAINING, Reason.STORE_UNAVAILABLE, Reason.NODE_TOKEN_INVALID})
_SAY_S = 1.0  # between two lines about the same orchestrator and reason
_SAID_MAX = 256  # orchestrators of a region, past ones too, times reasons
_DEAF_S = 0.5  # between two looks at whether the one that is asked still answers beats
_log = structlog.get_logger("tether.gateway")

Response = TypeVar("Response")


class Peers(Protocol):
    """What is needed of `tether.node.find.Peers`."""

    async def one(self, key: str, timeout_s: float) -> Peer:
        """The best for `key`, waited for."""

    def fail(self, peer: Peer) -> None:
        """Pass it over for a moment, because it did not answer."""

    def other(self, key: str, but: Collection[str]) -> Peer | None:
        """The best for `key` that is none of these node ids."""

    def known(self, node_id: str) -> Peer | None:
        """The one with this node id."""


class Channels(Protocol):
    """What is needed of `tether.node.Channels`."""

    def to(self, node_id: str, address: str) -> aio.Channel:
        """Pooled channel."""

    def metadata(self, node_id: str) -> Any:  # noqa: ANN401 - gRPC metadata
        """Node token."""


@dataclass(frozen=True, slots=True)
class _Call(Generic[Response]):
    """One call of an orchestrator."""

    path: str
    request: Message
    answer: Callable[[bytes], Response]
    trace: tuple[tuple[str, str], ...] = ()
    first: str = ""


class Orchestrators:
    """The orchestrators of the gateway's region.

    Args:
        peers: watched set of them.
        channels: pooled channels.
        find_s: longest wait for a first one to appear.
        deaf: whether one answers no beats though its connection stands: a process that was stopped.
    """

    def __init__(
        self,
        peers: Peers,
        channels: Channels,
        *,
        find_s: float = 2.0,
        deaf: Callable[[Peer], bool] = lambda _: False,
    ) -> None:
        self._peers = peers
        self._channels = channels
        self._find_s = find_s
        self._deaf = deaf
        self._said_s: dict[tuple[str, Reason], float] = {}

    async def place(
        self,
        key: str,
        request: placement_pb2.PlaceRequest,
        timeout_s: float,
        trace: tuple[tuple[str, str], ...] = (),
        first: str = "",
    ) -> placement_pb2.PlaceResponse:
        """Place a job; errors are the orchestrator's, or NO_ORCHESTRATOR, DEADLINE.

        Args:
            key: names the orchestrator that is asked, by rendezvous.
            request: what is asked.
            timeout_s: for all of it.
            trace: metadata.
            first: node id of the one that is asked before all others; empty for none.
        """
        call = _Call("PlacementService/Place", request, placement_pb2.PlaceResponse.FromString, trace, first)
        return await self._call(key, call, timeout_s)

    async def complete(
        self, key: str, request: placement_pb2.CompleteRequest, timeout_s: float
    ) -> placement_pb2.CompleteResponse:
        """Write an outcome; errors as `place`."""
        answer = placement_pb2.CompleteResponse.FromString
        call = _Call("PlacementService/Complete", request, answer, first=request.orchestrator_id)
        return await self._call(key, call, timeout_s)

    async def lookup(
        self, key: str, request: control_pb2.LookupJobRequest, timeout_s: float
    ) -> control_pb2.LookupJobResponse:
        """Return a job; errors as `place`, or JOB_UNKNOWN."""
        call = _Call("ControlService/LookupJob", request, control_pb2.LookupJobResponse.FromString)
        return await self._call(key, call, timeout_s)

    async def deposit(
        self, key: str, request: placement_pb2.DepositRequest, timeout_s: float
    ) -> placement_pb2.DepositResponse:
        """Hand over what a dead letter keeps; errors as `place`."""
        call = _Call("PlacementService/Deposit", request, placement_pb2.DepositResponse.FromString)
        return await self._call(key, call, timeout_s)

    async def _call(self, key: str, call: _Call[Response], timeout_s: float) -> Response:
        """Try orchestrators, best first, until one answers, none is left or the time is over."""
        until_s = time.monotonic() + timeout_s
        peer = self._peers.known(call.first) if call.first else None
        peer = peer or await self._peers.one(key, min(timeout_s, self._find_s))
        last: TetherError | None = None
        tried: list[str] = []
        for _ in range(_TRIES_MAX):
            left_s = until_s - time.monotonic()
            if peer is None or left_s <= 0:
                break
            try:
                return await self._once(peer, call, left_s)
            except TetherError as error:
                if error.reason not in _UNHEARD:
                    raise
                last = error if last is None or last.reason is not Reason.STORE_UNAVAILABLE else last
                self._passed_over(peer, error.reason)
            tried.append(peer.node_id)
            peer = self._peers.other(key, tried)
        if last is not None and last.reason is Reason.STORE_UNAVAILABLE:
            raise last
        raise TetherError(Reason.NO_ORCHESTRATOR, "No orchestrator answers.", retry_after_s=1.0) from last

    def _passed_over(self, peer: Peer, reason: Reason) -> None:
        """Say so, but once a second: a store that is gone refuses every request, and its disk may be the log's.

        One whose store is gone answers, and may know jobs or hold quota that nobody else has: the next call asks it.
        """
        if reason is not Reason.STORE_UNAVAILABLE:
            self._peers.fail(peer)
        now_s, key = time.monotonic(), (peer.node_id, reason)
        if now_s - self._said_s.get(key, -_SAY_S) < _SAY_S:
            return
        if len(self._said_s) >= _SAID_MAX:
            self._said_s.clear()
        self._said_s[key] = now_s
        _log.info("orchestrator passed over", peer=peer.node_id, reason=reason.name)

    async def _once(self, peer: Peer, call: _Call[Response], timeout_s: float) -> Response:
        invoke: Any = self._channels.to(peer.node_id, peer.address).unary_unary(
            f"/tether.v1.{call.path}",
            request_serializer=_serialized,
            response_deserializer=call.answer,
        )
        metadata = (*self._channels.metadata(peer.node_id), *call.trace)
        was_deaf = self._deaf(peer)  # it may hear again by the time its half second is over
        answer = invoke(call.request, metadata=metadata, timeout=min(timeout_s, _DEAF_S) if was_deaf else timeout_s)
        try:
            response: Response = await self._heard(peer, answer)
        except aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED and (was_deaf or self._deaf(peer)):
                raise _unheard() from error
            raise from_rpc_error(error, peer="the orchestrator") from error
        return response

    async def _heard(self, peer: Peer, answer: Any) -> Any:  # noqa: ANN401 - a call of grpc.aio, and its answer
        """The answer; UNREACHABLE where the peer goes deaf meanwhile."""
        waiting = asyncio.ensure_future(answer)
        try:
            while not (await asyncio.wait({waiting}, timeout=_DEAF_S))[0]:
                if self._deaf(peer):
                    raise _unheard()
            return waiting.result()
        finally:
            answer.cancel()
            waiting.cancel()


def _unheard() -> TetherError:
    return TetherError(Reason.UNREACHABLE, "The orchestrator does not answer.")


def _serialized(message: Message) -> bytes:
    return message.SerializeToString()
