"""One end of one link: a reader that feeds frames to a machine and a writer that pulls them when it is woken.

The machine decides (native `StreamTable`, `ChunkLogs`, or `Outbox`); this shell moves bytes. Awaiting each write is the
back-pressure: what waits stays in the machine, where it is coalesced and control passes bulk. Beats go out when nothing
else did, and any byte that comes in counts as one.
Source: docs/design/link.md, docs/design/streams.md §6.
"""

import asyncio
from dataclasses import dataclass
from typing import Any, Protocol

import grpc
import structlog
from grpc import aio

from tether import _native
from tether.errors import TetherError
from tether.link.handshake import LinkPeer
from tether.link.kind import NO_JOB, Kind
from tether.link.metrics import ENDED, LINKS
from tether.link.wake import Wake

_log = structlog.get_logger("tether.link")
FRAME_BYTES_MAX = 4_096  # kept of a frame that broke the protocol, as a dead letter takes it
BROKEN = (grpc.RpcError, aio.BaseError, asyncio.InvalidStateError)  # what a dead gRPC stream raises, by moment


class ByteStream(Protocol):
    """A gRPC stream without serializers: a client's call or a servicer's context."""

    async def read(self) -> Any:  # noqa: ANN401 - bytes, or grpc.aio.EOF
        """Next frame, or `grpc.aio.EOF`."""

    async def write(self, frame: bytes, /) -> None:
        """Send; returns when the transport takes more."""


class Machine(Protocol):
    """What decides for all links of a process."""

    def frame(self, link: "LinkEnd", frame: bytes) -> None:
        """A frame came in. ValueError or TetherError ends the link."""

    def pull(self, link: "LinkEnd") -> bytes | None:
        """Next frame to send, or None when nothing waits."""


@dataclass(frozen=True, slots=True)
class LinkLimits:
    """Waits of a link.

    Attributes:
        hello_s: for the peer's hello: one round trip with a signature check, generously.
        beat_s: between signs of life; a worker is suspect after 1 s, so half of it.
        silence_s: without a byte from the peer the link is lost: ten beats (a guess; a chaos test will tell).
        write_s: for one frame to leave: a peer that reads nothing for so long is lost (a guess; chaos tests will tell).
    """

    hello_s: float = 5.0
    beat_s: float = 0.5
    silence_s: float = 5.0
    write_s: float = 30.0


@dataclass(frozen=True, slots=True)
class Broke:
    """How a peer broke the protocol.

    Attributes:
        frame: first bytes of the frame.
        fault: what is wrong with it.
    """

    frame: bytes
    fault: str


class LinkEnd:
    """One end of a link after its handshake; `broke` tells of the frame that ended it, where one did.

    Args:
        number: of this link in this process; what native machines call it.
        peer: who is at the other end.
        stream: bytes both ways.
        machine: takes and gives frames.
        limits: waits.
        side: `dialled` or `served`, for the metrics.
    """

    def __init__(
        self, number: int, peer: LinkPeer, stream: ByteStream, machine: Machine, limits: LinkLimits, *, side: str
    ) -> None:
        self.number = number
        self.peer = peer
        self.closed = False
        self.broke: Broke | None = None
        self._stream = stream
        self._machine = machine
        self._limits = limits
        self._side = side
        self._wake = Wake()
        self._beat: bytes | None = None
        self._why: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._heard_s = self._sent_s = self._now()
        self._writing_since_s: float | None = None

    def __repr__(self) -> str:
        state = "closed" if self.closed else "open"
        return f"LinkEnd({self.number}, {self.peer.node_id[:8]}/{self.peer.incarnation}.{self.peer.counter}, {state})"

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()

    @property
    def idle(self) -> bool:
        """Whether nothing waits to be sent."""
        return self._wake.waiting

    @property
    def silent_s(self) -> float:
        """Seconds since the last byte from the peer."""
        return self._now() - self._heard_s

    def wake(self) -> None:
        """The machine has something to pull."""
        self._wake.ring()

    def close(self, why: str) -> None:
        """End the link soon; `run` returns `why`."""
        if not self._why.done():
            self._why.set_result(why)

    async def run(self) -> str:
        """Move frames until the link ends; returns why. Every task it starts is over when it returns."""
        tasks = [asyncio.create_task(part) for part in (self._read(), self._write(), self._watch())]
        LINKS.labels(self._side).inc()
        try:
            done, _ = await asyncio.wait([*tasks, self._why], return_when=asyncio.FIRST_COMPLETED)
            why = self._why.result() if self._why in done else _reason(done)
        finally:
            self.closed = True
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            LINKS.labels(self._side).dec()
        ENDED.labels(why if why in _REASONS else "other").inc()
        return why

    async def _read(self) -> str:
        read, machine, end = self._stream.read, self._machine, aio.EOF
        frame: Any = None
        try:
            while (frame := await read()) is not end:
                self._heard_s = self._now()
                machine.frame(self, frame)
        except BROKEN:
            return "broken"
        except (ValueError, TetherError) as fault:
            self.broke = Broke(frame[:FRAME_BYTES_MAX], str(fault)) if isinstance(frame, bytes) else None
            _log.warning("link broke the protocol", peer=self.peer.node_id, fault=str(fault))
            return "protocol"
        return "ended"

    async def _write(self) -> str:
        try:
            while True:
                frame = self._next()
                if frame is None:
                    await self._wake.wait()
                    continue
                self._writing_since_s = self._now()
                await self._stream.write(frame)
                self._sent_s, self._writing_since_s = self._now(), None
        except BROKEN:
            return "broken"

    def _next(self) -> bytes | None:
        if self._beat is not None:
            frame, self._beat = self._beat, None
            return frame
        return self._machine.pull(self)

    async def _watch(self) -> str:
        """Sends beats into silence, and sees the peer's."""
        limits = self._limits
        (empty,) = _native.encode_frame([(NO_JOB, 0, int(Kind.BEAT), 0, 0, 0, b"")])
        before = self._now()
        while True:
            await asyncio.sleep(limits.beat_s)
            now = self._now()
            if now - before > 3 * limits.beat_s:  # this process was stopped: it heard nothing because it did not listen
                self._heard_s = now
            before = now
            if now - self._heard_s > limits.silence_s:
                return "silent"
            if self._writing_since_s is not None and now - self._writing_since_s > limits.write_s:
                return "stalled"
            if now - self._sent_s >= limits.beat_s * 0.9:  # a timer may be early by its resolution
                self._beat = empty
                self._wake.ring()


_REASONS = frozenset(
    {"broken", "protocol", "ended", "silent", "stalled", "fault", "replaced", "drained", "closed", "lost"}
)


def _reason(done: "set[Any]") -> str:
    for task in done:
        if task.cancelled():
            return "broken"
        fault = task.exception()
        if fault is not None:
            _log.error("link failed", exc_info=fault)
            return "fault"
        return str(task.result())
    return "closed"
