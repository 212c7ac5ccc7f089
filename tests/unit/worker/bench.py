"""A job table with real tickets and a real machine, over an engine that a test steps or a paced one."""

import asyncio
from pathlib import Path
from typing import Any

from tether import _native
from tether.errors import Reason, TetherError
from tether.identity import Role
from tether.identity.signature import TICKET
from tether.link import Kind, LinkBook, LinkEnd, LinkLimits, LinkPeer
from tether.testing.identities import Identities
from tether.v1 import infer_pb2, link_pb2, placement_pb2
from tether_worker.commit import Committer
from tether_worker.engine.replay import replay
from tether_worker.engine.runtime import (
    Continuity,
    Emitted,
    Finish,
    GenerationJob,
    Opened,
    Phase,
    Position,
    Progress,
    Replayed,
)
from tether_worker.jobs import JobTable
from tether_worker.machine import LogMachine
from tether_worker.model import ModelName, ModelTable, Served
from tether_worker.parts import Parts
from tether_worker.quota import QuotaGuard

JOB = bytes(range(16))
NOW_MS = 1_800_000_000_000
DIGEST = b"d" * 32
TABLE = [b"ab"] * 6 + [b""]
END = 6
REQUEST = infer_pb2.Infer.Request(model_id="m", input={"text": "hi"}).SerializeToString()


class HandEngine:
    """Takes jobs and cancels; a test says what they make."""

    def __init__(self) -> None:
        self.submitted: list[GenerationJob] = []
        self.cancelled: list[Any] = []
        self.held: list[bool] = []
        self.refusal: TetherError | None = None
        self.runtime = self
        self.fingerprint = b"f" * 32
        self.continuity = Continuity.EXACT
        self.submissions: list[Any] = []

    def submit(self, job: GenerationJob, *, deadline_s: float | None = None) -> Any:
        if self.refusal is not None:
            raise self.refusal
        self.submitted.append(job)
        from tether_worker.engine.execution import Submission

        made = Submission(job, deadline_s, 1, opened=Opened(0, 4, Position()), progress=Progress(Phase.RUNNING, 1, 9))
        self.submissions.append(made)
        return made

    def cancel(self, key: Any) -> None:
        self.cancelled.append(key)

    def hold(self, _key: Any, *, held: bool) -> None:
        self.held.append(held)

    def replay(self, job: GenerationJob) -> Replayed:
        return replay(job, 4, TABLE, {END}, 64)


class Bench:
    """A table with one driver's link."""

    def __init__(self, folder: Path, engine: Any = None, *, jobs_max: int = 2) -> None:
        network = Identities(folder)
        self.worker, self.gateway = network.node("w", Role.WORKER), network.node("g", Role.GATEWAY)
        self.orchestrator = network.node("o", Role.ORCHESTRATOR)
        self.book = LinkBook()
        self.now_ms = 1_000
        self.wall_ms = NOW_MS
        self.machine = LogMachine(_native.ChunkLogs(), self.book, lambda: self.now_ms)
        self.machine.on("control", lambda *_: None)
        self.engine: Any = engine or HandEngine()
        models = ModelTable()
        models.add(Served(ModelName("m", "1.0", DIGEST), self.engine))
        self.committer = Committer()
        self.quota = QuotaGuard(jobs_max)
        parts = Parts(
            machine=self.machine,
            book=self.book,
            identity=self.worker.identity,
            trust=self.worker.trust,
            models=models,
            quota=self.quota,
            committer=self.committer,
            wall_ms=lambda: self.wall_ms,
        )
        self.table = JobTable(parts)
        self.counter = 0
        self.request = REQUEST
        self.link = self.link_of(self.gateway, Role.GATEWAY)
        self.reader = _native.FrameReader()

    def link_of(self, node: Any, *roles: Role, via: str = "") -> LinkEnd:
        self.counter += 1
        peer = LinkPeer(node.node_id, 1, self.counter, frozenset(int(role) for role in roles), via=via)
        link = LinkEnd(self.book.number(), peer, _Nowhere(), self.machine, LinkLimits(), side="served")
        self.book.admit(link)
        return link

    def relink(self) -> LinkEnd:
        """The gateway's link breaks, and it comes with another."""
        self.machine.lost(self.link)
        self.table.link_lost(self.link.number)
        self.book.remove(self.link)
        self.link, self.reader = self.link_of(self.gateway, Role.GATEWAY), _native.FrameReader()
        return self.link

    def orchestrator_says(self, outcome: infer_pb2.JobState.ValueType, epoch: int = 1, job: bytes = JOB) -> None:
        link = self.book.of(self.orchestrator.node_id) or self.link_of(self.orchestrator, Role.ORCHESTRATOR)
        body = link_pb2.Link.Outcome(outcome=outcome, written=True).SerializeToString()
        self.table.on_outcome(link.number, job, epoch, body)

    def orchestrator_asks(self, job: bytes) -> list[tuple[bytes, int, bytes]]:
        """What an orchestrator hears that asks after attempt 1 of a job: job, kind and body of each entry."""
        link = self.book.of(self.orchestrator.node_id) or self.link_of(self.orchestrator, Role.ORCHESTRATOR)
        asked = link_pb2.Link.Outcome(outcome=infer_pb2.JOB_STATE_RESERVED, written=False)
        self.table.on_outcome(link.number, job, 1, asked.SerializeToString())
        reader, found = _native.FrameReader(), []
        while (frame := self.machine.pull(link)) is not None:
            found += [(entry[0], entry[2], entry[6]) for entry in reader.feed(frame)]
        return found

    def ticket(self, signer: Any = None, **fields: Any) -> bytes:
        identity = (signer or self.orchestrator).identity
        good = {
            "network_id": identity.network_id,
            "job_id": JOB,
            "epoch": 1,
            "request_hash": _native.request_hash(REQUEST, "demo"),
            "worker_id": self.worker.node_id,
            "worker_incarnation": 1,
            "driver_id": self.gateway.node_id,
            "tenant_id": "demo",
            "model_id": "m",
            "version": "1.0",
            "model_digest": DIGEST,
            "issued_at_ms": NOW_MS,
            "valid_s": 120,
            "parameters": {"seed": 3},
        }
        body = placement_pb2.TicketBody(**{**good, **fields}).SerializeToString()
        signature = identity.sign(TICKET, body)
        return placement_pb2.Ticket(body=body, signature=signature, credential=identity.credential).SerializeToString()

    def start(self, ticket: bytes | None = None, job: bytes = JOB, epoch: int = 1, **fields: Any) -> None:
        good = {"request": REQUEST, "ticket": self.ticket() if ticket is None else ticket, "credit_bytes": 65_536}
        body = link_pb2.Link.Start(**{**good, **fields}).SerializeToString()
        for frame in _native.encode_frame([(job, epoch, int(Kind.START), 0, 0, 0, body)]):
            self.machine.frame(self.link, frame)

    def make(
        self, text: bytes, *, epoch: int = 1, finish: Finish | None = None, error: TetherError | None = None
    ) -> None:
        tokens = (5,) if text else ()
        piece = Emitted(0, (JOB, epoch, 0), Position(), tokens, (len(text),) * len(tokens), text, (), finish, error)
        self.table.on_step([piece])

    def sent(self) -> list[tuple[int, bytes]]:
        """Kinds and bodies that wait for the driver."""
        found = []
        while (frame := self.machine.pull(self.link)) is not None:
            found += [(entry[2], entry[6]) for entry in self.reader.feed(frame)]
        return found

    def failure(self) -> Reason:
        [(kind, body)] = [(kind, body) for kind, body in self.sent() if kind == Kind.FAIL]
        assert kind == Kind.FAIL
        return Reason[link_pb2.Link.Failure.FromString(body).reason]


class _Nowhere:
    async def read(self) -> Any:
        await asyncio.Event().wait()

    async def write(self, _frame: bytes) -> None:
        return
