"""A gateway's jobs without sockets: the real stream table, scripted orchestrators and workers that are only numbers."""

import asyncio
import struct
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from tether import _native
from tether.errors import Reason, TetherError
from tether.link import Kind, LinkBook
from tether.v1 import control_pb2, infer_pb2, link_pb2, placement_pb2
from tether_gateway.admission import Admitted
from tether_gateway.conductor import Conductor
from tether_gateway.config import Config
from tether_gateway.endings import Endings
from tether_gateway.flight import Flight
from tether_gateway.governor import Again
from tether_gateway.launcher import Launcher
from tether_gateway.mover import Asks, Mover
from tether_gateway.reader import Reader
from tether_gateway.resume import Finder
from tether_gateway.settler import Settler
from tether_gateway.splice import Splice, now_ms
from tether_gateway.start import Terms
from tether_gateway.tasks import Tasks

if TYPE_CHECKING:
    from tether.link import LinkEnd
    from tether_gateway.governor import Governor
    from tether_gateway.links import WorkerLinks

JOB = bytes(range(16))
WAIT_S = 5.0
Answer = placement_pb2.PlaceResponse | TetherError
START = 32


@dataclass
class End:
    """A link that is only its number."""

    number: int


@dataclass
class FakeLinks:
    """Links by worker: what stands, what can be dialled."""

    standing_: dict[str, End] = field(default_factory=dict)
    dialled: list[str] = field(default_factory=list)
    down: set[str] = field(default_factory=set)
    relays_down: set[str] = field(default_factory=set)
    gone: set[tuple[str, int]] = field(default_factory=set)
    last: int = 0

    def standing(self, placed: Any) -> End | None:
        return self.standing_.get(placed.worker.worker_id)

    def stands(self, number: int) -> bool:
        return any(end.number == number for end in self.standing_.values())

    def over(self, worker: placement_pb2.WorkerAddress) -> bool:
        return (worker.worker_id, worker.incarnation) in self.gone

    def lost(self, worker_id: str, incarnation: int) -> None:
        self.gone.add((worker_id, incarnation))

    async def to(self, placed: Any) -> End:
        name = placed.worker.worker_id
        self.dialled.append(name)
        if name in self.down or placed.relay.worker_id in self.relays_down:
            raise TetherError(Reason.WORKER_LOST, "connection refused")
        self.last += 1
        self.standing_[name] = End(self.last)
        return self.standing_[name]


@dataclass
class FakeGovernor:
    """Answers by its script; remembers what it was asked."""

    script: list[Answer] = field(default_factory=list)
    asked: list[Again] = field(default_factory=list)
    completed: list[placement_pb2.CompleteRequest] = field(default_factory=list)
    deposits: list[placement_pb2.DepositRequest] = field(default_factory=list)
    found: list[control_pb2.LookupJobResponse] = field(default_factory=list)
    gate: asyncio.Event | None = None
    receipt_error: TetherError | None = None
    draining: bool = False
    retries: int = 16

    def retry(self, _admitted: Admitted) -> float | None:
        self.retries -= 1
        return None if self.retries >= 0 else 5.0

    async def place(self, _admitted: Admitted, again: Again, _trace: object = None) -> placement_pb2.PlaceResponse:
        self.asked.append(again)
        if self.gate is not None:
            await self.gate.wait()
        answer = self.script.pop(0) if self.script else TetherError(Reason.NO_WORKER, "none")
        if isinstance(answer, TetherError):
            raise answer
        return answer

    def commit_of(self, expected: Any, _last: object, _answer: object) -> placement_pb2.CompleteRequest:
        if self.receipt_error is not None:
            error, self.receipt_error = self.receipt_error, None
            raise error
        return placement_pb2.CompleteRequest(
            job_id=expected.job, epoch=expected.epoch, outcome=infer_pb2.JOB_STATE_DONE
        )

    async def complete(self, request: placement_pb2.CompleteRequest) -> placement_pb2.CompleteResponse:
        self.completed.append(request)
        return placement_pb2.CompleteResponse(outcome=request.outcome)

    async def deposit(self, request: placement_pb2.DepositRequest) -> None:
        self.deposits.append(request)

    async def find(self, _tenant: str, _name: object) -> control_pb2.LookupJobResponse:
        return self.found.pop(0) if len(self.found) > 1 else self.found[0]


def request(**header: Any) -> Admitted:
    made = placement_pb2.Header(
        tenant_id="t", correlation_id="c", on_disconnect=infer_pb2.Infer.ON_DISCONNECT_DETACH, **header
    )
    return Admitted(b"request", made, "", time.monotonic() + 60.0, "")


class World:
    """Splice, conductor and mover over one job, without a network."""

    def __init__(self, config: Config) -> None:
        self.links = FakeLinks()
        self.governor = FakeGovernor()
        table = _native.StreamTable(hold_failed=True, silence_ms=1_200, commit_wait_ms=250)
        self.splice = Splice(table, LinkBook())
        self.tasks = Tasks()
        governor, links = cast("Governor", self.governor), cast("WorkerLinks", self.links)
        self.settler = Settler(governor, None, 1.0)
        self.endings = Endings(self.splice, governor, self.settler, links, self.tasks)
        self.launcher = Launcher(self.splice, Terms("driver", 262_144, 10.0))
        asks = Asks(governor, Finder(governor), links)
        self.mover = Mover(asks, self.launcher, self.endings, self.tasks, config, chance=lambda: 0.01)
        self.conductor = Conductor(self.splice, links, self.mover, self.endings, self.tasks)
        self.got: list[infer_pb2.Infer.Chunk] = []
        self.reading: asyncio.Task[bytes | None] | None = None

    @property
    def text(self) -> str:
        return "".join(chunk.payload.text for chunk in self.got)

    @property
    def failure(self) -> link_pb2.Link.Failure:
        assert self.reading is not None
        return link_pb2.Link.Failure.FromString(self.reading.result() or b"")

    async def enter(self, response: placement_pb2.PlaceResponse, admitted: Admitted | None = None) -> Flight:
        """Open the job as `response` says, with one reader."""
        flight = await self.conductor.enter(admitted or request(), response)
        reader = self.splice.join(JOB, b"", b"")
        self.reading = asyncio.create_task(self._read(reader))
        await self.until(lambda: flight.link and flight.moving is None, "departed")
        return flight

    async def _read(self, reader: Reader) -> bytes | None:
        async def write(chunk: bytes) -> None:
            self.got.append(infer_pb2.Infer.Chunk.FromString(chunk))

        try:
            return await reader.run(write)
        finally:
            self.splice.leave(reader)

    def say(self, flight: Flight, text: str, at: int | None = None, *, epoch: int = 0, link: int = 0) -> None:
        """The worker sends text, a token a letter."""
        begin = self.launcher.accepted(JOB)[0] if at is None else at
        table = b"".join(struct.pack("<IH", ord(letter), 1) for letter in text)
        body = struct.pack("<H", len(text)) + table + text.encode()
        self.send(flight, Kind.CHUNK, body, begin, epoch=epoch, link=link)

    def send(
        self, flight: Flight, kind: int, body: bytes, at: int | None = None, *, epoch: int = 0, link: int = 0
    ) -> None:
        """The worker sends one entry."""
        begin = self.launcher.accepted(JOB)[0] if at is None else at
        entry = (JOB, epoch or flight.epoch, int(kind), begin, begin, 0, body)
        for frame in _native.encode_frame([entry]):
            self.splice.frame(cast("LinkEnd", End(link or flight.link)), frame)

    def fail(self, flight: Flight, reason: str, *, elsewhere: bool = True, handed_over: bool = False) -> None:
        """The worker fails the attempt."""
        failure = link_pb2.Link.Failure(reason=reason, elsewhere=elsewhere, handed_over=handed_over)
        self.send(flight, Kind.FAIL, failure.SerializeToString())

    def end(self, flight: Flight, **where: int) -> None:
        """The worker ends the answer."""
        self.send(flight, Kind.END, infer_pb2.Infer.Chunk(done=True).SerializeToString(), **where)

    def cut(self, name: str) -> None:
        """The link to a worker breaks."""
        end = self.links.standing_.pop(name)
        self.splice.act(self.splice.table.link_lost(end.number, now_ms()))

    def sent(self, link: int) -> list[tuple[int, int, bytes]]:
        """Kind, epoch and body of what was sent on a link since the last look."""
        entries = []
        while (frame := self.splice.table.pull(link)) is not None:
            entries += [(kind, epoch, body) for _, epoch, kind, _, _, _, body in _native.decode_frame(frame)]
        return entries

    def starts(self, link: int) -> list[tuple[int, link_pb2.Link.Start]]:
        """Epoch and body of the STARTs sent on a link since the last look."""
        return [(epoch, link_pb2.Link.Start.FromString(body)) for kind, epoch, body in self.sent(link) if kind == START]

    async def until(self, condition: Callable[[], object], what: str = "") -> None:
        """Wait for a condition, not for time."""
        try:
            async with asyncio.timeout(WAIT_S):
                while not condition():  # noqa: ASYNC110
                    await asyncio.sleep(0.001)
        except TimeoutError:
            pytest.fail(f"never: {what}: {self.conductor!r}")

    async def close(self) -> None:
        if self.reading is not None:
            self.reading.cancel()
            await asyncio.gather(self.reading, return_exceptions=True)
        await self.tasks.close()
        await self.settler.close()


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = World(Config(state=tmp_path))
    yield made
    await made.close()
