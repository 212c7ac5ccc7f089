"""The job table between links and engines, with real tickets and a real machine, and an engine that a test steps."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tether import _native
from tether.errors import Reason, TetherError
from tether.identity import Role
from tether.identity.signature import TICKET
from tether.link import Kind, LinkBook, LinkEnd, LinkLimits, LinkPeer
from tether.testing.identities import Identities
from tether.v1 import infer_pb2, link_pb2, placement_pb2
from tether_worker.commit import Committer
from tether_worker.engine.runtime import Emitted, Finish, GenerationJob, Opened, Phase, Position, Progress
from tether_worker.jobs import JobTable, Parts
from tether_worker.machine import LogMachine
from tether_worker.model import ModelName, ModelTable, Served
from tether_worker.quota import QuotaGuard

JOB = bytes(range(16))
NOW_MS = 1_800_000_000_000
DIGEST = b"d" * 32
REQUEST = infer_pb2.Infer.Request(model_id="m", input={"text": "hi"}).SerializeToString()


class HandEngine:
    """Takes jobs and cancels; a test says what they make."""

    def __init__(self) -> None:
        self.submitted: list[GenerationJob] = []
        self.cancelled: list[Any] = []
        self.refusal: TetherError | None = None
        self.runtime = self
        self.fingerprint = b"f" * 32
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


class Bench:
    """A table with one driver's link."""

    def __init__(self, folder: Path) -> None:
        network = Identities(folder)
        self.worker, self.gateway = network.node("w", Role.WORKER), network.node("g", Role.GATEWAY)
        self.orchestrator = network.node("o", Role.ORCHESTRATOR)
        self.book = LinkBook()
        self.now_ms = 1_000
        self.machine = LogMachine(_native.ChunkLogs(), self.book, lambda: self.now_ms)
        self.machine.on("control", lambda *_: None)
        self.engine = HandEngine()
        models = ModelTable()
        models.add(Served(ModelName("m", "1.0", DIGEST), self.engine))  # type: ignore[arg-type]
        self.committer = Committer()
        self.quota = QuotaGuard(2)
        parts = Parts(
            machine=self.machine,
            book=self.book,
            identity=self.worker.identity,
            trust=self.worker.trust,
            models=models,
            quota=self.quota,
            committer=self.committer,
            wall_ms=lambda: NOW_MS,
        )
        self.table = JobTable(parts)
        peer = LinkPeer(self.gateway.node_id, 1, 1, frozenset({int(Role.GATEWAY)}))
        self.link = LinkEnd(self.book.number(), peer, _Nowhere(), self.machine, LinkLimits(), side="served")
        self.book.admit(self.link)
        self.reader = _native.FrameReader()

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

    def make(self, text: bytes, *, finish: Finish | None = None, error: TetherError | None = None) -> None:
        tokens = (5,) if text else ()
        piece = Emitted(0, (JOB, 1, 0), Position(), tokens, (len(text),) * len(tokens), text, (), finish, error)
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


@pytest.fixture
async def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


async def test_start_runs_and_ends_with_a_receipt_that_verifies(bench: Bench) -> None:
    bench.start()
    [job] = bench.engine.submitted
    assert (job.key, job.sampling.seed) == ((JOB, 1, 0), 3)
    bench.make(b"hello ")
    bench.make(b"world", finish=Finish.STOP)
    sent = bench.sent()
    assert [kind for kind, _ in sent if kind >= Kind.START] == [Kind.CHUNK, Kind.END]
    last = infer_pb2.Infer.Chunk.FromString(sent[-1][1])
    receipt = last.receipt
    bench.gateway.trust.signed(
        "tether/receipt/v1", receipt.body, receipt.signature, receipt.credential, Role.WORKER, NOW_MS / 1_000
    )
    body = infer_pb2.Infer.ReceiptBody.FromString(receipt.body)
    assert (body.end.tokens, body.end.bytes, body.complete, body.usage.input_tokens) == (2, 11, True, 4)
    chain = _native.Chain()
    chain.feed_tokens([5, 5])
    assert body.output_commitment == chain.digest()
    assert (bench.quota.held, len(bench.table), len(bench.committer)) == (0, 0, 1)


async def test_start_again_is_attached_to_and_replayed(bench: Bench) -> None:
    bench.start()
    bench.make(b"hello")
    bench.sent()
    bench.start()
    assert len(bench.engine.submitted) == 1
    assert [kind for kind, _ in bench.sent()] == [Kind.CHUNK]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda bench: bench.ticket(worker_id="other"),
        lambda bench: bench.ticket(driver_id=bench.worker.node_id),
        lambda bench: bench.ticket(worker_incarnation=9),
        lambda bench: bench.ticket(request_hash=bytes(32)),
        lambda bench: bench.ticket(issued_at_ms=NOW_MS - 1_000_000),
        lambda bench: bench.ticket(bench.gateway),  # signed by no orchestrator
        lambda bench: bench.ticket()[:-3],
        lambda _bench: b"",
    ],
)
async def test_start_without_a_good_ticket_runs_nothing(bench: Bench, spoil: Callable[[Bench], bytes]) -> None:
    bench.start(spoil(bench))
    assert bench.failure() is Reason.TICKET_INVALID
    assert (bench.engine.submitted, bench.quota.held) == ([], 0)


async def test_start_for_another_digest_is_passed_on(bench: Bench) -> None:
    bench.start(bench.ticket(model_digest=bytes(32)))
    assert bench.failure() is Reason.NO_WORKER


async def test_full_engine_refuses_and_takes_the_same_ticket_later(bench: Bench) -> None:
    bench.engine.refusal = TetherError(Reason.OVERLOADED, "full")
    bench.start()
    assert bench.failure() is Reason.OVERLOADED
    assert bench.quota.held == 0
    bench.engine.refusal = None
    bench.start()
    assert len(bench.engine.submitted) == 1


async def test_draining_worker_refuses(bench: Bench) -> None:
    bench.table.draining = True
    bench.start()
    assert bench.failure() is Reason.DRAINING


async def test_cancel_reaches_the_engine_and_ends_incomplete(bench: Bench) -> None:
    bench.start()
    bench.make(b"hello")
    for frame in _native.encode_frame([(JOB, 1, int(Kind.CANCEL), 0, 0, 0, b"")]):
        bench.machine.frame(bench.link, frame)
    assert bench.engine.cancelled == [(JOB, 1, 0)]
    bench.make(b"", finish=Finish.CANCELLED)
    last = infer_pb2.Infer.Chunk.FromString(bench.sent()[-1][1])
    assert last.finish_reason == infer_pb2.Infer.FINISH_REASON_CANCELLED
    assert not infer_pb2.Infer.ReceiptBody.FromString(last.receipt.body).complete


async def test_engine_that_fails_fails_the_attempt_with_what_was_made(bench: Bench) -> None:
    bench.start()
    bench.make(b"hello")
    bench.make(b"", finish=Finish.FAILED, error=TetherError(Reason.ENGINE_FAILED, "broken"))
    sent = bench.sent()
    failure = link_pb2.Link.Failure.FromString(sent[-1][1])
    assert (sent[-1][0], failure.reason, failure.elsewhere) == (Kind.FAIL, "ENGINE_FAILED", True)
    assert infer_pb2.Infer.ReceiptBody.FromString(failure.receipt.body).end.tokens == 1
    assert bench.quota.held == 0


async def test_piece_that_does_not_add_up_fails_its_attempt_alone(bench: Bench) -> None:
    bench.start()
    bench.table.on_step([Emitted(0, (JOB, 1, 0), Position(), (5, 6), (3, 9), b"abc")])
    assert bench.failure() is Reason.ENGINE_FAILED
    assert bench.engine.cancelled == [(JOB, 1, 0)]
    assert len(bench.table) == 0


async def test_attempt_that_makes_nothing_tells_its_progress(bench: Bench) -> None:
    bench.start()
    bench.sent()
    bench.now_ms += 500
    bench.table.tick()
    [(kind, body)] = bench.sent()
    progress = link_pb2.Link.Progress.FromString(body)
    assert (kind, progress.phase, progress.n) == (Kind.PROGRESS, link_pb2.Link.PHASE_RUNNING, 1)


async def test_outcome_counts_from_the_driver_alone(bench: Bench) -> None:
    bench.start()
    bench.make(b"hi", finish=Finish.STOP)
    written = link_pb2.Link.Outcome(outcome=infer_pb2.JOB_STATE_DONE, written=True).SerializeToString()
    bench.table.on_outcome(99, JOB, 1, written)
    assert len(bench.committer) == 1
    bench.table.on_outcome(bench.link.number, JOB, 1, written)
    assert len(bench.committer) == 0
