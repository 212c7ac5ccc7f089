"""Links over streams in memory: hello, order, beats, ends, and who stays of two."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from grpc import aio

from tether import _native
from tether.errors import Reason, TetherError
from tether.identity import Role
from tether.link import (
    NO_JOB,
    Entry,
    Handshake,
    Kind,
    LinkBook,
    LinkEnd,
    LinkLimits,
    LinkPeer,
    Outbox,
    from_failure,
    to_failure,
)
from tether.link.dial import backoff_s
from tether.testing.identities import Identities

WAIT_S = 3.0


class Pipe:
    """One side's stream: reads from its own queue, writes into the other's."""

    def __init__(self) -> None:
        self.inbox: asyncio.Queue[Any] = asyncio.Queue()
        self.other: Pipe = self
        self.stuck = False

    async def read(self) -> Any:
        return await self.inbox.get()

    async def write(self, frame: bytes) -> None:
        if self.stuck:
            await asyncio.Event().wait()
        self.other.inbox.put_nowait(frame)


def pipes() -> tuple[Pipe, Pipe]:
    one, other = Pipe(), Pipe()
    one.other, other.other = other, one
    return one, other


def peer(node: str = "node", incarnation: int = 1, counter: int = 1) -> LinkPeer:
    return LinkPeer(node, incarnation, counter)


def end_of(pipe: Pipe, outbox: Outbox, limits: LinkLimits | None = None) -> LinkEnd:
    return LinkEnd(1, peer(), pipe, outbox, limits or LinkLimits(), side="served")


async def soon(condition: Any) -> None:
    async with asyncio.timeout(WAIT_S):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.002)


# hello


@pytest.fixture
def network(tmp_path: Path) -> Identities:
    return Identities(tmp_path)


def test_hello_proves_its_node(network: Identities) -> None:
    worker, gateway = network.node("worker", Role.WORKER), network.node("gateway", Role.GATEWAY)
    frame = Handshake(worker.identity, worker.trust).hello(gateway.node_id)
    found = Handshake(gateway.identity, gateway.trust).check(frame, (Role.WORKER,))
    assert (found.node_id, found.incarnation, found.counter) == (worker.node_id, 1, 1)
    assert found.roles == {int(Role.WORKER)}


@pytest.mark.parametrize(
    ("audience", "role", "reason"),
    [("gateway", Role.ORCHESTRATOR, Reason.ROLE_FORBIDDEN), ("worker", Role.WORKER, Reason.NODE_TOKEN_INVALID)],
)
def test_hello_for_another_role_or_listener_is_refused(
    network: Identities, audience: str, role: Role, reason: Reason
) -> None:
    nodes = {"worker": network.node("worker", Role.WORKER), "gateway": network.node("gateway", Role.GATEWAY)}
    frame = Handshake(nodes["worker"].identity, nodes["worker"].trust).hello(nodes[audience].node_id)
    with pytest.raises(TetherError) as raised:
        Handshake(nodes["gateway"].identity, nodes["gateway"].trust).check(frame, (role,))
    assert raised.value.reason is reason


def test_hello_of_a_foreign_network_is_refused(network: Identities, tmp_path: Path) -> None:
    gateway = network.node("gateway", Role.GATEWAY)
    stranger = Identities(tmp_path / "other").node("worker", Role.WORKER)
    frame = Handshake(stranger.identity, stranger.trust).hello(gateway.node_id)
    with pytest.raises(TetherError) as raised:
        Handshake(gateway.identity, gateway.trust).check(frame, (Role.WORKER,))
    assert raised.value.reason is Reason.NODE_TOKEN_INVALID


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\xff",
        _native.encode_frame([(NO_JOB, 0, int(Kind.BEAT), 0, 0, 0, b"")])[0],
        _native.encode_frame([(NO_JOB, 0, int(Kind.HELLO), 0, 0, 0, b"\xff")])[0],
        _native.encode_frame([(NO_JOB, 0, int(Kind.HELLO), 0, 0, 0, b"")])[0],
        _native.encode_frame([(NO_JOB, 0, int(Kind.HELLO), 0, 0, 0, b"")] * 2)[0],
    ],
)
def test_link_that_does_not_begin_with_a_hello_is_refused(network: Identities, frame: bytes) -> None:
    gateway = network.node("gateway", Role.GATEWAY)
    with pytest.raises(TetherError) as raised:
        Handshake(gateway.identity, gateway.trust).check(frame, (Role.WORKER,))
    assert raised.value.reason is Reason.LINK_PROTOCOL


# ends


async def test_entries_travel_whole_and_in_order() -> None:
    got: list[Entry] = []
    one, other = pipes()
    sender, receiver = Outbox(lambda _link, _entry: None), Outbox(lambda _link, entry: got.append(entry))
    left, right = end_of(one, sender), end_of(other, receiver)
    runs = [asyncio.create_task(left.run()), asyncio.create_task(right.run())]
    bodies = [b"small", b"x" * 300_000, b"last"]
    for number, body in enumerate(bodies):
        sender.send(left, Kind.COMPLETE, body, job=bytes(16), epoch=number + 1)
    await soon(lambda: len(got) == 3)
    assert [(entry.epoch, entry.kind, entry.body) for entry in got] == [
        (number + 1, Kind.COMPLETE, body) for number, body in enumerate(bodies)
    ]
    left.close("drained")
    one.other.inbox.put_nowait(aio.EOF)
    assert await asyncio.gather(*runs) == ["drained", "ended"]
    assert left.closed


@pytest.mark.parametrize("garbage", [b"\xff\xff", b"\x0a\x05abcde"])
async def test_garbage_ends_the_link(garbage: bytes) -> None:
    one, _ = pipes()
    end = end_of(one, Outbox(lambda _link, _entry: None))
    one.inbox.put_nowait(garbage)
    assert await asyncio.wait_for(end.run(), WAIT_S) == "protocol"


async def test_silent_peer_is_lost_and_beats_go_out_meanwhile() -> None:
    one, other = pipes()
    end = end_of(one, Outbox(lambda _link, _entry: None), LinkLimits(beat_s=0.02, silence_s=0.15))
    assert await asyncio.wait_for(end.run(), WAIT_S) == "silent"
    beats = [_native.decode_frame(other.inbox.get_nowait()) for _ in range(other.inbox.qsize())]
    assert len(beats) >= 3
    assert all(entry[0][2] == Kind.BEAT for entry in beats)


async def test_peer_that_reads_nothing_is_stalled() -> None:
    one, _ = pipes()
    one.stuck = True
    outbox = Outbox(lambda _link, _entry: None)
    end = end_of(one, outbox, LinkLimits(beat_s=0.02, silence_s=5, write_s=0.1))
    outbox.send(end, Kind.BEAT, b"")
    assert await asyncio.wait_for(end.run(), WAIT_S) == "stalled"


# book


async def test_newest_link_of_a_node_stays() -> None:
    book = LinkBook()
    ends = [
        LinkEnd(book.number(), peer("n", *age), Pipe(), Outbox(lambda _l, _e: None), LinkLimits(), side="served")
        for age in [(1, 1), (1, 2), (2, 1)]
    ]
    book.admit(ends[0])
    book.admit(ends[2])
    assert book.of("n") is ends[2]
    with pytest.raises(TetherError) as raised:
        book.admit(ends[1])
    assert raised.value.reason is Reason.LINK_PROTOCOL
    book.remove(ends[0])
    assert book.of("n") is ends[2]
    book.remove(ends[2])
    assert (book.of("n"), len(book)) == (None, 0)


# rules


def test_backoff_grows_and_is_bounded() -> None:
    assert backoff_s(0, 0.0) == pytest.approx(0.02)
    assert [round(backoff_s(failures, 0.999), 1) for failures in range(6)] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.0]
    assert backoff_s(10_000, 1.0) <= 3.0


def test_failure_keeps_its_reason_and_hint() -> None:
    error = TetherError(Reason.OVERLOADED, "full", retry_after_s=0.5)
    back = from_failure(to_failure(error))
    assert (back.reason, back.message, back.retry_after_s) == (Reason.OVERLOADED, "full", 0.5)
    assert from_failure(b"\xff").reason is Reason.INTERNAL
