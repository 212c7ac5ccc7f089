"""Asking orchestrators: the next one where one does not answer, or was stopped."""

import asyncio
from collections.abc import Collection, Generator
from typing import Any

import grpc
import pytest
import structlog
from grpc import aio
from structlog.testing import capture_logs

from tether.errors import Reason, TetherError
from tether.node.find import Peer
from tether.v1.placement_pb2 import CompleteRequest, CompleteResponse
from tether_gateway import orchestrators
from tether_gateway.orchestrators import Orchestrators

FIRST, SECOND = Peer("first", "127.0.0.1:1", 1), Peer("second", "127.0.0.1:2", 1)


class Call:
    """A call that answers, or never does."""

    def __init__(self, response: CompleteResponse | None, error: Exception | None = None) -> None:
        self.response = response
        self.error = error
        self.cancelled = False

    def __await__(self) -> Generator[Any, None, CompleteResponse]:
        if self.error is not None:
            raise self.error
        if self.response is None:
            yield from asyncio.get_running_loop().create_future()
        assert self.response is not None
        return self.response

    def cancel(self) -> None:
        self.cancelled = True


class Region:
    """Peers and channels in one; the peers in `stopped` take calls and answer nothing, those in `errors` that."""

    def __init__(self, *peers: Peer) -> None:
        self.peers = list(peers)
        self.stopped: set[Peer] = set()
        self.errors: dict[str, Exception] = {}
        self.failed: list[Peer] = []
        self.calls: list[tuple[str, Call]] = []

    async def one(self, _key: str, _timeout_s: float) -> Peer:
        return self.peers[0]

    def fail(self, peer: Peer) -> None:
        self.failed.append(peer)

    def other(self, _key: str, but: Collection[str]) -> Peer | None:
        return next((peer for peer in self.peers if peer.node_id not in but), None)

    def known(self, node_id: str) -> Peer | None:
        return next((peer for peer in self.peers if peer.node_id == node_id), None)

    def to(self, node_id: str, _address: str) -> Any:
        def invoke(_request: object, **_given: object) -> Call:
            stopped = node_id in {peer.node_id for peer in self.stopped}
            call = Call(None if stopped else CompleteResponse(), self.errors.get(node_id))
            self.calls.append((node_id, call))
            return call

        channel = type("Channel", (), {})()
        channel.unary_unary = lambda *_given, **_named: invoke
        return channel

    def metadata(self, _node_id: str) -> tuple[()]:
        return ()


async def test_orchestrator_that_was_stopped_is_passed_over() -> None:
    region = Region(FIRST, SECOND)
    region.stopped = {FIRST}
    asking = Orchestrators(region, region, deaf=lambda peer: peer in region.stopped)
    async with asyncio.timeout(3):
        assert await asking.complete("key", CompleteRequest(), 30.0) == CompleteResponse()
    assert [name for name, _ in region.calls] == ["first", "second"]
    assert region.calls[0][1].cancelled


async def test_orchestrator_that_hears_again_too_late_for_a_call_is_passed_over() -> None:
    region = Region(FIRST, SECOND)
    late = aio.AioRpcError(grpc.StatusCode.DEADLINE_EXCEEDED, aio.Metadata(), aio.Metadata(), "too late")
    region.errors = {"first": late}
    heard = iter([True, False, False, False])  # deaf as the call is made, and not any more as its half second is over
    asking = Orchestrators(region, region, deaf=lambda _: next(heard))
    assert await asking.complete("key", CompleteRequest(), 30.0) == CompleteResponse()
    assert [name for name, _ in region.calls] == ["first", "second"]


async def test_refusal_for_the_store_sends_on_and_marks_nobody_as_silent() -> None:
    region = Region(FIRST, SECOND)
    refusal = TetherError(Reason.STORE_UNAVAILABLE, "The store cannot be reached")
    region.errors = {"first": refusal, "second": refusal}
    with pytest.raises(TetherError) as raised:
        await Orchestrators(region, region).complete("key", CompleteRequest(), 1.0)
    assert raised.value.reason is Reason.STORE_UNAVAILABLE
    assert [name for name, _ in region.calls] == ["first", "second"]
    assert not region.failed


async def test_orchestrator_that_alone_knows_a_job_is_asked_first() -> None:
    region = Region(FIRST, SECOND)
    asking = Orchestrators(region, region)
    await asking.complete("key", CompleteRequest(orchestrator_id="second"), 1.0)
    await asking.complete("key", CompleteRequest(orchestrator_id="gone"), 1.0)
    assert [name for name, _ in region.calls] == ["second", "first"]


async def test_only_orchestrator_that_was_stopped_is_told_in_time() -> None:
    region = Region(FIRST)
    region.stopped = {FIRST}
    asking = Orchestrators(region, region, deaf=lambda peer: peer in region.stopped)
    with pytest.raises(TetherError) as raised:
        async with asyncio.timeout(3):
            await asking.complete("key", CompleteRequest(), 30.0)
    assert raised.value.reason is Reason.NO_ORCHESTRATOR


async def test_refusals_of_one_reason_are_logged_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orchestrators, "_SAY_S", 60.0)
    monkeypatch.setattr(orchestrators, "_log", structlog.get_logger("fresh"))  # a bound one would not be captured
    region = Region(FIRST, SECOND)
    region.stopped = {FIRST, SECOND}
    asking = Orchestrators(region, region, deaf=lambda _: True)
    monkeypatch.setattr(orchestrators, "_DEAF_S", 0.001)
    with capture_logs() as said:
        for _ in range(5):
            with pytest.raises(TetherError):
                await asking.complete("key", CompleteRequest(), 1.0)
    assert sorted(line["peer"] for line in said) == ["first", "second"]
    monkeypatch.setattr(orchestrators, "_SAY_S", 0.0)
    with capture_logs() as said, pytest.raises(TetherError):
        await asking.complete("key", CompleteRequest(), 1.0)
    assert len(said) > 1
