"""Both machines as Python sees them: actions as tuples, chunks that protobuf reads, counts that return to zero."""

from collections.abc import Iterator
from typing import Any

import pytest

from tether import _native
from tether.v1 import infer_pb2, link_pb2

Chunk = infer_pb2.Infer.Chunk
JOB = bytes(range(16))
LINK, READER = 7, 70
CANCEL, DETACH = 2, 1
DONE, COMMITTED = 2, 1
STAMP = Chunk(correlation_id="corr").SerializeToString()
FIRST = Chunk(started={"job_id": JOB.hex()}).SerializeToString()


class Region:
    """A gateway and a worker on one link."""

    def __init__(self, **settings: int) -> None:
        self.table, self.logs = _native.StreamTable(**settings), _native.ChunkLogs()
        self.gateway: list[tuple[Any, ...]] = []
        self.worker: list[tuple[Any, ...]] = []

    def pump(self, now_ms: int = 0) -> None:
        """Move frames until none is left."""
        while True:
            ups = list(drain(self.table, LINK))
            downs = list(drain(self.logs, LINK))
            for frame in ups:
                self.worker += self.logs.frame(LINK, frame, now_ms)
            for frame in downs:
                self.gateway += self.table.frame(LINK, frame, now_ms)
            if not ups and not downs:
                return

    def run(self, on_disconnect: int = CANCEL) -> "Region":
        """Open, place and start the job."""
        self.table.open(
            JOB, driver=True, keep_answer_bytes=99, on_disconnect=on_disconnect, deadline_ms=9_000, now_ms=0
        )
        self.table.join(JOB, READER, STAMP, FIRST, 0)
        self.table.placed(JOB, 1, LINK, link_pb2.Link.Start(request=b"request").SerializeToString(), 0)
        self.pump()
        start = link_pb2.Link.Start.FromString(self.worker[-1][4])
        assert self.worker[-1][:4] == ("start", LINK, JOB, 1)
        assert (start.request, start.credit_bytes) == (b"request", 262_144)
        self.begin(start.credit_bytes)
        self.gateway.clear()
        return self

    def begin(self, credit_bytes: int) -> None:
        """Start the attempt at the worker."""
        actions = self.logs.start(
            JOB,
            1,
            LINK,
            tenant="acme",
            credit_bytes=credit_bytes,
            grace_ms=100,
            tokens=0,
            bytes=0,
            chain_state=b"",
            now_ms=0,
        )
        assert actions[0] == ("run", JOB, 1)

    def say(self, *words: str, extra: bytes = b"") -> None:
        """One piece of one token per word."""
        raw = [word.encode() for word in words]
        self.logs.append([(JOB, 1, 0, list(range(len(raw))), [len(word) for word in raw], b"".join(raw), extra)], 0)
        self.pump()

    def take(self, reader: int = READER) -> list[infer_pb2.Infer.Chunk]:
        """All chunks that wait."""
        chunks = []
        while (raw := self.table.take(reader)) is not None:
            chunks.append(Chunk.FromString(raw))
        return chunks


def drain(machine: Any, link: int) -> Iterator[bytes]:
    """Pull until None."""
    while (frame := machine.pull(link)) is not None:
        yield frame


def test_answer_streams_commits_and_leaves_nothing() -> None:
    region = Region().run()
    logprob = Chunk(logprobs=[{"token": b"x", "logprob": -0.5}])
    region.say("Hello", " 日本", extra=logprob.SerializeToString())
    assert region.gateway == [("reader", READER)]
    (chunk,) = region.take()
    accepted = region.table.chain(JOB) or (b"", b"")
    cursor = infer_pb2.Infer.Cursor(job_id=JOB, epoch=1, position={"tokens": 2, "bytes": 12}, chain_state=accepted[1])
    assert chunk == Chunk(
        correlation_id="corr",
        payload={"text": "Hello 日本"},
        epoch=1,
        start={"tokens": 0, "bytes": 0},
        logprobs=logprob.logprobs,
        started={"job_id": JOB.hex()},
        continuation=cursor.SerializeToString(),
    )
    digest, _, tokens, size = region.logs.chain(JOB, 1) or (b"", b"", 0, 0)
    body = infer_pb2.Infer.ReceiptBody(job_id=JOB, epoch=1, output_commitment=digest).SerializeToString()
    last = Chunk(done=True, finish_reason=1, receipt={"body": body}, settlement=2)
    region.logs.end(JOB, 1, last.SerializeToString(), 0)
    region.gateway.clear()
    region.pump()
    ((kind, job, epoch, raw, answer),) = region.gateway
    assert (kind, job, epoch, Chunk.FromString(raw)) == ("commit", JOB, 1, last)
    assert infer_pb2.Infer.Payload.FromString(answer).text == "Hello 日本"
    assert region.take() == []
    assert region.table.committed(JOB, 1, DONE, COMMITTED, 0) == [("reader", READER), ("end", READER), ("finish", JOB)]
    (end,) = region.take()
    assert (end.done, end.seq, end.settlement, end.start.tokens, end.start.bytes) == (True, 1, COMMITTED, tokens, size)
    assert (tokens, size) == (2, 12)
    assert {name: region.table.stats()[name] for name in ("jobs", "closing", "readers", "log_bytes")} == {
        "jobs": 0,
        "closing": 0,
        "readers": 0,
        "log_bytes": 0,
    }
    assert repr(region.table).startswith("StreamTable(jobs=0, closing=0, readers=0")


def test_client_gone_under_cancel_stops_the_worker() -> None:
    region = Region().run(CANCEL)
    region.say("unread")
    actions = region.table.leave(READER, 5)
    assert [action for action in actions if action[0] != "link"] == [("abandon", JOB, 1, 0, 0), ("finish", JOB)]
    region.worker.clear()
    region.pump()
    assert region.worker == [("cancel", JOB, 1)]
    assert region.table.leave(READER, 5) == []


def test_deadline_fails_readers_with_a_typed_failure() -> None:
    region = Region().run(DETACH)
    region.say("some")
    actions = {action[0]: action for action in region.table.tick(9_000)}
    failure = link_pb2.Link.Failure.FromString(actions["failed"][2])
    assert (failure.code, failure.reason) == (4, "DEADLINE")
    assert actions["abandon"] == ("abandon", JOB, 1, 0, 0)
    assert [chunk.payload.text for chunk in region.take()] == ["some"]


def test_lost_link_is_silence_and_fail_ends_the_job() -> None:
    region = Region().run(DETACH)
    assert region.table.link_lost(LINK, 0) == [("silent", JOB, 1)]
    failure = link_pb2.Link.Failure(code=14, reason="WORKER_LOST").SerializeToString()
    assert region.table.fail(JOB, failure, 0) == [
        ("failed", READER, failure),
        ("abandon", JOB, 1, 0, 0),
        ("finish", JOB),
    ]
    assert region.take() == []


def test_join_of_an_unknown_job_fails_typed() -> None:
    ((kind, reader, raw),) = _native.StreamTable().join(JOB, 1, b"", b"", 0)
    failure = link_pb2.Link.Failure.FromString(raw)
    assert (kind, reader, failure.code, failure.reason) == ("failed", 1, 5, "JOB_UNKNOWN")


@pytest.mark.parametrize(
    ("lengths", "text", "extra"),
    [
        ([1], b"ab", b""),
        ([1, 1], b"ab", b""),
        ([1, 2], "日".encode(), b""),
        ([2], b"\xff\xfe", b""),
        ([0], b"", bytes(32_001)),
    ],
    ids=["too short", "one too many", "inside a character", "no UTF-8", "long extra"],
)
def test_malformed_piece_is_refused_and_nothing_is_appended(lengths: list[int], text: bytes, extra: bytes) -> None:
    region = Region().run()
    good = (JOB, 1, 0, [1], [1], b"a", b"")
    ids = [1] if text != "日".encode() else [1, 2]
    with pytest.raises(ValueError, match=r"\w"):
        region.logs.append([good, (JOB, 1, 0, ids, lengths, text, extra)], 0)
    assert (region.logs.chain(JOB, 1) or (0, 0, -1, -1))[2:] == (0, 0)


def test_chain_goes_on_in_the_next_attempt() -> None:
    region = Region().run(DETACH)
    region.say("a", "b")
    digest, state = region.table.chain(JOB) or (b"", b"")
    assert region.table.position(JOB) == (1, 2, 2)
    assert region.table.prefix(JOB) == [0, 1]
    other = _native.ChunkLogs()
    other.start(JOB, 2, 1, tenant="t", credit_bytes=9, grace_ms=1, tokens=2, bytes=2, chain_state=state, now_ms=0)
    assert other.chain(JOB, 2) == (digest, state, 2, 2)
    with pytest.raises(ValueError, match="position"):
        other.start(JOB, 3, 1, tenant="t", credit_bytes=9, grace_ms=1, tokens=3, bytes=2, chain_state=state, now_ms=0)


@pytest.mark.parametrize("machine", [_native.StreamTable, _native.ChunkLogs])
def test_malformed_frame_is_a_value_error(machine: type) -> None:
    with pytest.raises(ValueError, match="truncated"):
        machine().frame(LINK, link_pb2.Link.Frame(entries=b"x" * 47).SerializeToString(), 0)


def test_a_last_chunk_needs_done_and_no_payload() -> None:
    region = Region().run()
    for chunk in (Chunk(), Chunk(done=True, payload={"text": "x"})):
        with pytest.raises(ValueError, match="last chunk"):
            region.logs.end(JOB, 1, chunk.SerializeToString(), 0)
