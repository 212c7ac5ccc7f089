"""The job table between links and engines: what starts, what ends, and who may say so."""

import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.unit.worker.bench import END, JOB, NOW_MS, Bench
from tether import _native
from tether.errors import Reason, TetherError
from tether.identity import Role
from tether.link import Kind
from tether.v1 import infer_pb2, link_pb2
from tether_worker.engine.runtime import (
    Emitted,
    Finish,
    Position,
)
from tether_worker.jobs import OVERDUE_S


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
        lambda bench: bench.ticket(request_hash=bytes(32)),
        lambda bench: bench.ticket(issued_at_ms=NOW_MS + 1_000_000),
        lambda bench: bench.ticket(bench.gateway),  # signed by no orchestrator
        lambda bench: bench.ticket()[:-3],
        lambda _bench: b"",
    ],
)
async def test_start_without_a_good_ticket_runs_nothing(bench: Bench, spoil: Callable[[Bench], bytes]) -> None:
    bench.start(spoil(bench))
    assert bench.failure() is Reason.TICKET_INVALID
    assert (bench.engine.submitted, bench.quota.held) == ([], 0)


async def test_start_for_an_earlier_life_is_passed_on(bench: Bench) -> None:
    bench.start(bench.ticket(worker_incarnation=9))
    assert bench.failure() is Reason.NO_WORKER
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


# continuations

PREFIX = [1, 2, 3]


def handed(**fields: Any) -> dict[str, Any]:
    """Fields of a START that hands `PREFIX` over."""
    chain = _native.Chain()
    chain.feed_tokens(PREFIX)
    position = {"tokens": len(PREFIX), "bytes": 2 * len(PREFIX)}
    maker = {"epoch": 1, "end": position, "worker_id": "w0", "fingerprint": b"f" * 32}
    good = {
        "prefix": PREFIX,
        "position": position,
        "chain_state": chain.state(),
        "continuity": infer_pb2.Infer.CONTINUITY_EXACT,
        "handed": [maker],
    }
    return {**good, **fields}


async def test_continuation_goes_on_from_the_prefix_and_its_receipt_lists_it(bench: Bench) -> None:
    bench.start(bench.ticket(epoch=2, attempts=2), epoch=2, **handed())
    [job] = bench.engine.submitted
    assert job.prefix == tuple(PREFIX)
    bench.make(b"hi", epoch=2)
    bench.make(b"ho", epoch=2, finish=Finish.STOP)
    sent = [(kind, body) for kind, body in bench.sent() if kind >= Kind.START]
    assert [kind for kind, _ in sent] == [Kind.CHUNK, Kind.CHUNK, Kind.END]
    exact = infer_pb2.Infer.Chunk(continuity=infer_pb2.Infer.CONTINUITY_EXACT).SerializeToString()
    assert sent[0][1].endswith(b"hi" + exact)  # the prefix is not sent again
    assert sent[1][1].endswith(b"ho")  # and how it goes on is told once
    last = infer_pb2.Infer.Chunk.FromString(sent[2][1])
    body = infer_pb2.Infer.ReceiptBody.FromString(last.receipt.body)
    assert (body.attempts, body.continuity, body.complete) == (2, infer_pb2.Infer.CONTINUITY_EXACT, True)
    assert (body.end.tokens, body.end.bytes) == (5, 10)
    assert (body.usage.input_tokens, body.usage.output_tokens, body.usage.output_bytes) == (4, 2, 4)
    assert (last.usage.output_tokens, last.usage.output_bytes) == (5, 10)  # the client is told of the whole answer
    [maker] = body.handed
    assert (maker.epoch, maker.end.tokens, maker.worker_id) == (1, 3, "w0")
    assert maker.driver_id == bench.gateway.node_id
    chain = _native.Chain()
    chain.feed_tokens([*PREFIX, 5, 5])
    assert body.output_commitment == chain.digest()


async def test_reader_of_a_continuation_gets_the_prefix_too(bench: Bench) -> None:
    bench.start(bench.ticket(epoch=2), epoch=2, **handed())
    bench.make(b"hi", epoch=2)
    bench.sent()
    attach = link_pb2.Link.Attach(tenant_id="demo", credit_bytes=65_536).SerializeToString()
    bench.table.on_attach(bench.link.number, JOB, 2, attach)
    assert b"".join(body for kind, body in bench.sent() if kind == Kind.CHUNK).count(b"abababhi") == 1


async def test_reader_with_another_chain_is_refused(bench: Bench) -> None:
    bench.start()
    bench.make(b"hello")
    bench.sent()
    chain = _native.Chain()
    chain.feed_tokens([4])
    attach = link_pb2.Link.Attach(
        tenant_id="demo", credit_bytes=65_536, position={"tokens": 1, "bytes": 5}, chain_state=chain.state()
    )
    bench.table.on_attach(bench.link.number, JOB, 1, attach.SerializeToString())
    assert bench.failure() is Reason.STREAM_DIVERGED


async def test_prefix_that_is_whole_ends_at_once_without_a_step(bench: Bench) -> None:
    ticket = bench.ticket(epoch=2, parameters={"max_tokens": 3})
    bench.start(ticket, epoch=2, **handed())
    assert bench.engine.submitted == []
    [(kind, body)] = [(kind, body) for kind, body in bench.sent() if kind >= Kind.START]
    last = infer_pb2.Infer.Chunk.FromString(body)
    assert (kind, last.finish_reason) == (Kind.END, infer_pb2.Infer.FINISH_REASON_LENGTH)
    receipt = infer_pb2.Infer.ReceiptBody.FromString(last.receipt.body)
    assert (receipt.complete, receipt.end.tokens, receipt.usage.output_tokens, receipt.usage.input_tokens) == (
        True,
        3,
        0,
        4,
    )
    assert (bench.quota.held, len(bench.table), len(bench.committer)) == (0, 0, 1)


async def test_whole_prefix_that_ended_by_itself_says_stop(bench: Bench) -> None:
    chain = _native.Chain()
    chain.feed_tokens([1, END])
    fields = handed(prefix=[1, END], position={"tokens": 2, "bytes": 2}, chain_state=chain.state(), handed=[])
    bench.start(bench.ticket(epoch=2), epoch=2, **fields)
    last = infer_pb2.Infer.Chunk.FromString(bench.sent()[-1][1])
    assert last.finish_reason == infer_pb2.Infer.FINISH_REASON_STOP


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"chain_state": b""}, Reason.STREAM_DIVERGED),
        ({"prefix": [1, 2, 4]}, Reason.STREAM_DIVERGED),
        ({"prefix": [1, 2, 99]}, Reason.STREAM_DIVERGED),
        ({"position": {"tokens": 3, "bytes": 7}, "handed": []}, Reason.STREAM_DIVERGED),
    ],
)
async def test_prefix_that_disagrees_runs_nothing(bench: Bench, fields: dict[str, Any], reason: Reason) -> None:
    bench.start(bench.ticket(epoch=2), epoch=2, **handed(**fields))
    assert bench.failure() is reason
    assert (bench.engine.submitted, bench.quota.held, len(bench.table)) == ([], 0, 0)


async def test_newer_attempt_takes_the_place_of_an_older_one(bench: Bench) -> None:
    bench.start()
    bench.start(bench.ticket(epoch=2), epoch=2)
    assert bench.engine.cancelled == [(JOB, 1, 0)]
    bench.make(b"", finish=Finish.CANCELLED)
    failures = [link_pb2.Link.Failure.FromString(body) for kind, body in bench.sent() if kind == Kind.FAIL]
    assert [(one.handed_over, one.elsewhere) for one in failures] == [(True, True)]
    assert len(bench.committer) == 0  # the job goes on


async def test_attempts_that_race_leave_each_other_alone_and_commit_nothing(bench: Bench) -> None:
    bench.start(bench.ticket(raced=True))
    bench.start(bench.ticket(epoch=2, raced=True), epoch=2)
    assert bench.engine.cancelled == []
    bench.make(b"hi", finish=Finish.STOP)
    assert len(bench.committer) == 0


# who may decide


async def test_outcome_of_an_orchestrator_stops_what_still_runs(bench: Bench) -> None:
    bench.start()
    bench.make(b"hello")
    bench.orchestrator_says(infer_pb2.JOB_STATE_CANCELLED)
    assert bench.engine.cancelled == [(JOB, 1, 0)]
    bench.make(b"", finish=Finish.CANCELLED)
    assert (bench.quota.held, len(bench.table), len(bench.committer)) == (0, 0, 0)


async def test_attempt_that_was_never_started_is_given_up_when_an_orchestrator_asks(bench: Bench) -> None:
    bench.start()
    assert bench.orchestrator_asks(JOB) == []
    [(job, kind, raw)] = bench.orchestrator_asks(bytes(16))
    body = link_pb2.Link.Complete.FromString(raw)
    assert (job, kind, body.outcome) == (bytes(16), Kind.COMPLETE, infer_pb2.JOB_STATE_ABANDONED)
    assert not body.HasField("receipt")
    bench.make(b"hi", finish=Finish.STOP)
    assert bench.orchestrator_asks(JOB) == []  # its end waits for an outcome


async def test_outcome_of_an_older_attempt_stops_nothing(bench: Bench) -> None:
    bench.start(bench.ticket(epoch=2), epoch=2)
    bench.orchestrator_says(infer_pb2.JOB_STATE_ABANDONED)
    assert bench.engine.cancelled == []


async def test_relayed_driver_starts_by_relay_alone_and_decides_its_own_jobs_alone(bench: Bench) -> None:
    direct = bench.link
    bench.start()  # a job of the direct link
    bench.sent()
    roles = (Role.GATEWAY, Role.ORCHESTRATOR)  # a relayed link is taken from whoever may have either
    bench.link = bench.link_of(bench.gateway, *roles, via=bench.orchestrator.node_id)
    other = bytes(16)
    bench.start(bench.ticket(job_id=other), job=other)
    assert bench.failure() is Reason.TICKET_INVALID
    bench.start(bench.ticket(job_id=other, path=infer_pb2.Infer.PATH_RELAY), job=other)
    assert [job.key[0] for job in bench.engine.submitted] == [JOB, other]
    written = link_pb2.Link.Outcome(outcome=infer_pb2.JOB_STATE_CANCELLED, written=True).SerializeToString()
    bench.table.on_outcome(bench.link.number, JOB, 1, written)
    assert bench.engine.cancelled == []  # that one is the direct link's
    bench.table.on_outcome(bench.link.number, other, 1, written)
    assert bench.engine.cancelled == [(other, 1, 0)]
    assert direct.number != bench.link.number


async def test_driver_on_a_new_link_reads_on_and_decides(bench: Bench) -> None:
    bench.start()
    bench.make(b"hello")
    bench.sent()
    again = bench.relink()
    bench.wall_ms += 1_000_000  # its ticket is older than tickets may be
    bench.start(position={"tokens": 1, "bytes": 5})
    bench.make(b"more", finish=Finish.STOP)
    sent = [(kind, body) for kind, body in bench.sent() if kind >= Kind.START]
    assert [kind for kind, _ in sent] == [Kind.CHUNK, Kind.END]
    assert b"hello" not in sent[0][1]
    written = link_pb2.Link.Outcome(outcome=infer_pb2.JOB_STATE_DONE, written=True).SerializeToString()
    bench.table.on_outcome(again.number, JOB, 1, written)
    assert len(bench.committer) == 0


async def test_attempt_without_readers_is_abandoned_after_its_grace_with_what_it_made(bench: Bench) -> None:
    bench.start(detach_grace={"seconds": 1})
    bench.make(b"hello")
    bench.relink()  # and nobody asks for it again

    def wait_ms(interval_ms: int) -> None:
        for _ in range(interval_ms // 50):
            bench.now_ms += 50
            bench.machine.tick()

    wait_ms(900)
    bench.make(b"more")
    assert bench.engine.cancelled == []  # it goes on meanwhile
    wait_ms(200)
    assert bench.engine.cancelled == [(JOB, 1, 0)]
    bench.make(b"", finish=Finish.CANCELLED)
    [(_, _, raw)] = bench.committer.due(bench.now_ms / 1_000)
    complete = link_pb2.Link.Complete.FromString(raw)
    receipt = infer_pb2.Infer.ReceiptBody.FromString(complete.receipt.body)
    assert complete.outcome == infer_pb2.JOB_STATE_ABANDONED
    assert (receipt.complete, receipt.end.tokens, receipt.end.bytes) == (False, 2, 9)


# turns


async def test_job_that_must_be_alone_waits_and_tells_so(bench: Bench) -> None:
    bench.start()
    other = bytes(16)
    bench.start(bench.ticket(job_id=other, alone=True), job=other)
    assert [job.key[0] for job in bench.engine.submitted] == [JOB]
    bench.sent()
    bench.now_ms += 500
    bench.table.tick()
    phases = [link_pb2.Link.Progress.FromString(body).phase for kind, body in bench.sent() if kind == Kind.PROGRESS]
    assert sorted(phases) == [link_pb2.Link.PHASE_QUEUED, link_pb2.Link.PHASE_RUNNING]
    bench.make(b"hi", finish=Finish.STOP)
    assert [job.key[0] for job in bench.engine.submitted] == [JOB, other]


async def test_worker_has_no_room_beside_a_job_that_must_be_alone(bench: Bench) -> None:
    other = bytes(16)
    bench.start()
    assert not bench.table.exclusive
    bench.start(bench.ticket(job_id=other, alone=True), job=other)
    assert bench.table.exclusive  # it waits
    bench.make(b"hi", finish=Finish.STOP)
    assert bench.table.exclusive  # it runs
    bench.table.on_step([Emitted(0, (other, 1, 0), Position(), (), (), b"", finish=Finish.STOP)])
    assert not bench.table.exclusive


async def test_job_that_waits_can_be_cancelled_and_has_a_deadline(bench: Bench) -> None:
    bench.start()
    other = bytes(16)
    bench.start(bench.ticket(job_id=other, alone=True), job=other)
    bench.table.on_cancel(other, 1)
    assert (bench.quota.held, len(bench.table)) == (1, 1)
    late = b"l" * 16
    bench.start(bench.ticket(job_id=late, alone=True), job=late, timeout={"nanos": 1})
    bench.sent()
    bench.table.tick()
    assert bench.failure() is Reason.DEADLINE
    assert (bench.quota.held, len(bench.table)) == (1, 1)


async def test_engine_that_hangs_holds_no_attempt_beyond_its_deadline(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.start(timeout={"seconds": 1})
    bench.table.tick()
    assert len(bench.table) == 1
    now_s = time.monotonic()
    monkeypatch.setattr("tether_worker.jobs.time.monotonic", lambda: now_s + 1 + OVERDUE_S)
    bench.sent()
    bench.table.tick()
    assert bench.failure() is Reason.DEADLINE
    assert (bench.quota.held, len(bench.table), bench.engine.cancelled) == (0, 0, [(JOB, 1, 0)])
    bench.make(b"", finish=Finish.CANCELLED)  # it wakes up after all
    assert bench.quota.held == 0


# leaving


async def test_attempt_that_a_leaving_worker_cannot_finish_is_handed_over(bench: Bench) -> None:
    bench.start()
    bench.make(b"hello")
    bench.table.draining = True
    bench.table.hand_over_all()
    bench.make(b"", finish=Finish.CANCELLED)
    [failure] = [link_pb2.Link.Failure.FromString(body) for kind, body in bench.sent() if kind == Kind.FAIL]
    assert (failure.reason, failure.handed_over, failure.elsewhere) == ("DRAINING", True, True)
    assert infer_pb2.Infer.ReceiptBody.FromString(failure.receipt.body).end.tokens == 1
    assert (bench.quota.held, len(bench.committer)) == (0, 0)


async def test_attempt_that_ends_while_it_is_handed_over_has_its_end(bench: Bench) -> None:
    bench.start()
    bench.table.hand_over_all()
    bench.make(b"hello", finish=Finish.STOP)
    assert Kind.END in [kind for kind, _ in bench.sent()]


# outputs without tokens


def payload(size: int) -> bytes:
    return infer_pb2.Infer.Payload(tensors={"tensors": [{"name": "y", "data": bytes(size)}]}).SerializeToString()


def make_payload(bench: Bench, body: bytes, finish: Finish | None = None) -> None:
    bench.table.on_step([Emitted(0, (JOB, 1, 0), Position(), (), (), b"", finish=finish, payload=body)])


async def test_payload_goes_into_the_log_and_its_receipt_commits_to_its_bytes(bench: Bench) -> None:
    body = payload(100)
    bench.start(continuity=infer_pb2.Infer.CONTINUITY_RERUN)
    make_payload(bench, body, Finish.STOP)
    sent = [(kind, found) for kind, found in bench.sent() if kind >= Kind.START]
    assert [kind for kind, _ in sent] == [Kind.CHUNK, Kind.END]
    assert sent[0][1] == body
    last = infer_pb2.Infer.Chunk.FromString(sent[1][1])
    receipt = infer_pb2.Infer.ReceiptBody.FromString(last.receipt.body)
    assert (receipt.end.tokens, receipt.end.bytes) == (0, len(body))
    assert (receipt.continuity, last.continuity) == (infer_pb2.Infer.CONTINUITY_RERUN,) * 2
    assert receipt.output_commitment == hashlib.sha256(body).digest()


async def test_large_output_that_nobody_takes_is_held_until_somebody_does(bench: Bench) -> None:
    bench.start(credit_bytes=1)
    while not bench.engine.held:
        make_payload(bench, payload(1 << 20))
    assert bench.engine.held == [True]
    grant = _native.encode_frame([(JOB, 1, int(Kind.CREDIT), 0, 0, 1 << 30, b"")])
    bench.machine.frame(bench.link, grant[0])
    bench.sent()
    bench.table.tick()
    assert bench.engine.held == [True, False]


async def test_payload_that_no_log_takes_fails_its_attempt_once(bench: Bench) -> None:
    bench.start()
    make_payload(bench, bytes(17 << 20), Finish.STOP)
    assert bench.failure() is Reason.ENGINE_FAILED
    assert (bench.quota.held, len(bench.table)) == (0, 0)
