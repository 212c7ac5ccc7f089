"""What both machines say when an attempt ends early, as Python sees it: cursors, takeovers, races, prefixes."""

from collections.abc import Iterator
from typing import Any

import pytest

from tether import _native
from tether.v1 import infer_pb2, link_pb2

Chunk = infer_pb2.Infer.Chunk
Cursor = infer_pb2.Infer.Cursor
Start = link_pb2.Link.Start
JOB = bytes(range(16))
READER = 70
DETACH = 1
DONE, PENDING = 2, 2
COHERENT, RERUN = infer_pb2.Infer.CONTINUITY_COHERENT, infer_pb2.Infer.CONTINUITY_RERUN
WORDS = ["one ", "two ", "three ", "four ", "five "]


def chain_of(*tokens: int) -> _native.Chain:
    """The hash over token ids."""
    chain = _native.Chain()
    chain.feed_tokens(list(tokens))
    return chain


def piece(epoch: int, *tokens: int) -> tuple[bytes, int, int, list[int], list[int], bytes, bytes]:
    """Tokens of one step, each with its word."""
    raw = [WORDS[token].encode() for token in tokens]
    return JOB, epoch, 0, list(tokens), [len(word) for word in raw], b"".join(raw), b""


class Region:
    """A gateway and workers, each worker on the link of its number."""

    def __init__(self, **settings: Any) -> None:
        self.table = _native.StreamTable(**settings)
        self.workers: dict[int, _native.ChunkLogs] = {}
        self.said: list[tuple[Any, ...]] = []
        self.starts: dict[int, Start] = {}
        self.cancelled: list[tuple[int, int]] = []
        self.table.open(JOB, driver=True, keep_answer_bytes=99, on_disconnect=DETACH, deadline_ms=9_000_000, now_ms=0)
        self.table.join(JOB, READER, b"", b"", 0)

    def place(self, epoch: int, link: int, *, race: bool = False, continuity: int = 0) -> Start:
        """Place the job, and run it there; its START."""
        body = Start(request=b"ask", attempts=epoch).SerializeToString()
        place = self.table.race if race else self.table.placed
        self.said += place(JOB, epoch, link, body, 0, continuity=continuity)
        self.pump()
        return self.starts[epoch]

    def pump(self) -> None:
        """Move frames until none is left."""
        moved = True
        while moved:
            moved = False
            for link in (1, 2, 3):
                worker = self.workers.setdefault(link, _native.ChunkLogs())
                for frame in drain(self.table, link):
                    moved = True
                    for action in worker.frame(link, frame, 0):
                        self.serve(link, worker, action)
                for frame in drain(worker, link):
                    moved = True
                    self.said += self.table.frame(link, frame, 0)

    def serve(self, link: int, worker: _native.ChunkLogs, action: tuple[Any, ...]) -> None:
        """Do what a worker wants."""
        if action[0] == "cancel":
            self.cancelled.append((link, action[2]))
        if action[0] == "start":
            start = self.starts[action[3]] = Start.FromString(action[4])
            worker.start(
                JOB,
                action[3],
                link,
                tenant="acme",
                credit_bytes=start.credit_bytes,
                grace_ms=100,
                tokens=start.position.tokens,
                bytes=start.position.bytes,
                chain_state=start.chain_state,
                now_ms=0,
            )

    def say(self, link: int, epoch: int, *tokens: int) -> None:
        """The worker of a link makes tokens."""
        self.workers[link].append([piece(epoch, *tokens)], 0)
        self.pump()

    def end(self, link: int, epoch: int) -> None:
        """The worker of a link is through."""
        digest = (self.workers[link].chain(JOB, epoch) or (b"",))[0]
        body = infer_pb2.Infer.ReceiptBody(job_id=JOB, epoch=epoch, output_commitment=digest).SerializeToString()
        self.workers[link].end(JOB, epoch, Chunk(done=True, receipt={"body": body}).SerializeToString(), 0)
        self.pump()

    def take(self, reader: int = READER) -> list[Chunk]:
        """All chunks that wait."""
        return [Chunk.FromString(chunk) for chunk in iter(lambda: self.table.take(reader), None)]

    def kinds(self) -> list[str]:
        """Kinds of what the gateway wanted since the last call, but for links."""
        kinds = [action[0] for action in self.said if action[0] != "link"]
        self.said.clear()
        return kinds


def drain(machine: Any, link: int) -> Iterator[bytes]:
    """Pull until None."""
    while (frame := machine.pull(link)) is not None:
        yield frame


def test_attempt_continues_from_the_prefix() -> None:
    region = Region()
    region.place(1, 1)
    region.say(1, 1, 0, 1)
    before = region.take()
    region.said += region.table.link_lost(1, 0)
    assert region.kinds() == ["reader", "silent"]
    handed = region.table.handed(JOB)
    assert handed == [(1, 0, 0, 2, 8, chain_of(0, 1).digest())]
    start = region.place(2, 2, continuity=COHERENT)
    assert (list(start.prefix), start.position.tokens, start.position.bytes) == ([0, 1], 2, 8)
    assert (start.chain_state, start.continuity, start.attempts) == (chain_of(0, 1).state(), COHERENT, 2)
    region.say(2, 2, 2)
    region.say(2, 2, 3)
    after = region.take()
    assert [chunk.continuity for chunk in before + after] == [0, COHERENT]
    assert [chunk.seq for chunk in before + after] == [0, 1]
    assert "".join(chunk.payload.text for chunk in before + after) == "one two three four "
    region.end(2, 2)
    assert region.kinds()[-1] == "commit"
    region.said += region.table.committed(JOB, 2, DONE, PENDING, 0)
    (last,) = region.take()
    assert (last.done, last.settlement, last.epoch) == (True, PENDING, 2)
    assert Cursor.FromString(last.continuation).chain_state == chain_of(0, 1, 2, 3).state()
    assert region.table.stats() | {"jobs": 0, "readers": 0, "log_bytes": 0} == region.table.stats()


def test_refused_commit_is_followed_by_another_end() -> None:
    region = Region()
    region.place(1, 1)
    region.say(1, 1, 0)
    region.end(1, 1)
    start = region.place(2, 2, continuity=COHERENT)
    assert list(start.prefix) == [0]
    assert region.table.committed(JOB, 1, DONE, 1, 0) == []
    region.end(2, 2)
    region.said += region.table.committed(JOB, 2, DONE, 1, 0)
    assert [(chunk.done, chunk.continuity) for chunk in region.take()] == [(False, 0), (True, COHERENT)]
    assert region.table.handed(JOB) is None


def test_rerun_is_compared() -> None:
    for again, kinds in (((0, 1, 2), ["reader"]), ((0, 2), ["failed", "abandon", "finish"])):
        region = Region()
        region.place(1, 1)
        region.say(1, 1, 0, 1)
        region.take()
        region.table.link_lost(1, 0)
        start = region.place(2, 2, continuity=RERUN)
        assert (list(start.prefix), start.position.tokens, start.continuity) == ([], 0, RERUN)
        assert (region.table.detail(JOB) or {})["replaying"] == 1
        region.kinds()
        region.say(2, 2, *again)
        assert region.kinds() == kinds
        assert [chunk.start.tokens for chunk in region.take()] == ([2] if kinds == ["reader"] else [])


def test_same_epoch_on_another_link_is_reattached() -> None:
    region = Region()
    region.place(1, 1)
    region.say(1, 1, 0)
    region.table.link_lost(1, 0)
    region.workers[3] = region.workers[1]
    start = region.place(1, 3)
    assert (list(start.prefix), start.position.tokens) == ([0], 1)
    region.say(3, 1, 1)
    assert [chunk.payload.text for chunk in region.take()] == ["one two "]
    detail = region.table.detail(JOB) or {}
    assert (detail["epoch"], detail["link"], detail["silent"]) == (1, 3, 0)
    assert region.table.placed(JOB, 0, 2, b"", 0) == []


def test_race_is_won_by_the_first_chunk() -> None:
    region = Region()
    region.place(1, 1)
    region.place(2, 2, race=True)
    assert (region.table.detail(JOB) or {})["rival_epoch"] == 2
    region.say(2, 2, 0)
    assert [action for action in region.said if action[0] == "won"] == [("won", JOB, 2, 1)]
    assert region.cancelled == [(1, 1)]
    region.kinds()
    assert region.table.race(JOB, 3, 3, b"", 0) == [("lost_race", JOB, 3)]
    assert region.take()[0].epoch == 2


def test_failure_of_one_of_two_is_a_lost_race() -> None:
    region = Region()
    region.place(1, 1)
    region.place(2, 2, race=True)
    region.workers[1].fail(JOB, 1, link_pb2.Link.Failure(code=14).SerializeToString(), 0)
    region.pump()
    assert region.kinds() == ["lost_race"]
    assert region.table.link_lost(2, 0) == [("silent", JOB, 2)]


def test_failure_can_keep_the_job() -> None:
    failure = link_pb2.Link.Failure(code=14, handed_over=True).SerializeToString()
    for hold in (True, False):
        region = Region(hold_failed=hold)
        region.place(1, 1)
        region.say(1, 1, 0)
        region.take()
        region.kinds()
        region.workers[1].fail(JOB, 1, failure, 0)
        region.pump()
        expected = ("lost", JOB, 1, 1, 4, failure) if hold else ("fail", JOB, 1, 1, 4, failure)
        assert expected in region.said
        assert region.table.known(JOB) is hold


def test_reader_resumes_at_its_cursor() -> None:
    region = Region()
    region.place(1, 1)
    region.say(1, 1, 0, 1)
    (chunk,) = region.take()
    cursor = Cursor.FromString(chunk.continuation)
    assert (cursor.job_id, cursor.epoch, cursor.position.tokens, cursor.position.bytes) == (JOB, 1, 2, 8)
    place = {"tokens": cursor.position.tokens, "bytes": cursor.position.bytes, "chain_state": cursor.chain_state}
    region.table.leave(READER, 0)
    assert region.table.join(JOB, 71, b"", b"", 0, **place) == []
    region.say(1, 1, 2)
    (resumed,) = region.take(71)
    assert (resumed.seq, resumed.start.tokens, resumed.payload.text) == (0, 2, "three ")


@pytest.mark.parametrize(
    ("tokens", "size", "state", "reason"),
    [
        (1, 4, chain_of(3).state(), "STREAM_DIVERGED"),
        (1, 3, b"", "CURSOR_INVALID"),
        (1, 4, b"short", "CURSOR_INVALID"),
        (2, 9, b"", "CURSOR_INVALID"),
        (9, 99, None, "CURSOR_INVALID"),
    ],
)
def test_reader_at_no_place_is_refused(tokens: int, size: int, state: bytes | None, reason: str) -> None:
    region = Region()
    region.place(1, 1)
    region.say(1, 1, 0, 1)
    region.said.clear()
    region.said += region.table.join(JOB, 71, b"", b"", 0, tokens=tokens, bytes=size, chain_state=state)
    region.end(1, 1)
    region.said += region.table.committed(JOB, 1, DONE, 1, 0)  # until then another attempt may count
    (failed,) = [action for action in region.said if action[0] == "failed"]
    failure = link_pb2.Link.Failure.FromString(failed[2])
    assert (failed[1], failure.reason) == (71, reason)
    assert failure.code == (3 if reason == "CURSOR_INVALID" else 10)


def test_continuation_can_be_left_out() -> None:
    region = Region()
    region.table.join(JOB, 71, b"", b"", 0, continuation=False)
    region.place(1, 1)
    region.say(1, 1, 0)
    assert [bool(region.take(reader)[0].continuation) for reader in (READER, 71)] == [True, False]
    region = Region(continuation=False)
    region.place(1, 1)
    region.say(1, 1, 0)
    assert not region.take()[0].continuation


def test_preloaded_prefix_is_read_from_its_beginning() -> None:
    region = Region()
    region.place(1, 1)
    region.say(1, 1, 0, 1)
    region.table.link_lost(1, 0)
    region.place(2, 2, continuity=COHERENT)
    worker = region.workers[2]
    assert worker.answer(JOB, 2, 99) is None
    with pytest.raises(ValueError, match="prefix"):
        worker.preload(JOB, 2, [piece(2, 0)], 0)
    with pytest.raises(ValueError, match="another attempt"):
        worker.preload(JOB, 2, [piece(1, 0, 1)], 0)
    region.say(2, 2, 2)
    for _ in range(2):
        worker.preload(JOB, 2, [piece(2, 0, 1)], 0)
    answer = infer_pb2.Infer.Payload.FromString(worker.answer(JOB, 2, 99) or b"")
    assert answer.text == "one two three "
    assert worker.preload(JOB, 9, [], 0) == []
    attached = worker.attach(JOB, 2, 5, tenant="acme", tokens=0, bytes=0, credit_bytes=99, now_ms=0)
    assert attached == [("link", 5)]
    ((_, _, kind, tokens, _, _, body),) = _native.decode_frame(worker.pull(5) or b"")
    assert (kind, tokens, body.endswith(b"one two three ")) == (34, 0, True)


def test_gap_between_ticks_is_no_silence() -> None:
    region = Region(silence_ms=1_200)
    region.place(1, 1)
    region.table.tick(1_000)
    assert region.table.tick(90_000) == []
    assert ("silent", JOB, 1) in region.table.tick(90_300)
