"""Answers that go from worker to worker are those of one that never died: a gateway's table and workers' job tables."""

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest

from tests.unit.worker.bench import JOB, Bench
from tether import _native
from tether.link import Kind
from tether.v1 import infer_pb2, link_pb2
from tether_worker.engine.execution import ExecutionEngine
from tether_worker.engine.simulated import SimulatedRuntime

READER = 1
EXACT = infer_pb2.Infer.CONTINUITY_EXACT
Chunk = infer_pb2.Infer.Chunk
Body = infer_pb2.Infer.ReceiptBody


class World:
    """A driver's table, and workers that frames are carried to and from."""

    def __init__(self, folder: Path, parameters: dict[str, Any]) -> None:
        self.folder, self.parameters = folder, {"seed": 9, **parameters}
        self.table = _native.StreamTable(hold_failed=True)
        self.table.open(JOB, driver=True, keep_answer_bytes=0, on_disconnect=1, deadline_ms=10**9, now_ms=0)
        self.table.join(JOB, READER, b"", b"", 0)
        self.workers: list[Bench] = []
        self.engines: list[ExecutionEngine] = []
        self.chunks: list[Any] = []
        self.over = False
        self.loses_ends = False

    @property
    def tokens(self) -> int:
        """Tokens that the driver has accepted."""
        return (self.table.position(JOB) or (0, 0, 0))[1]

    async def place(self) -> None:
        """The next attempt, on a new worker."""
        epoch = len(self.workers) + 1
        folder = self.folder / str(epoch)
        folder.mkdir(parents=True)
        runtime = SimulatedRuntime(slots=2, token_ms=0.3, chunk_ms=0.1)
        engine = ExecutionEngine(runtime, lambda pieces: worker.table.on_step(pieces))  # noqa: PLW0108 - made below
        worker = Bench(folder, engine)
        engine.start()
        self.workers.append(worker)
        self.engines.append(engine)
        handed = [
            infer_pb2.Infer.HandedPrefix(
                epoch=one[0],
                start={"tokens": one[1], "bytes": one[2]},
                end={"tokens": one[3], "bytes": one[4]},
                chain=one[5],
                worker_id=f"worker-{one[0]}",
                fingerprint=runtime.fingerprint,
            )
            for one in self.table.handed(JOB) or []
        ]
        ticket = worker.ticket(epoch=epoch, attempts=epoch, parameters=self.parameters)
        start = link_pb2.Link.Start(request=worker.request, ticket=ticket, handed=handed, credit_bytes=65_536)
        self.act(self.table.placed(JOB, epoch, epoch, start.SerializeToString(), 0, continuity=EXACT if handed else 0))

    def carry(self, link: int) -> None:
        """Frames both ways between the driver and one worker; a worker's number is its link's."""
        worker = self.workers[link - 1]
        while (frame := self.table.pull(link)) is not None:
            worker.machine.frame(worker.link, frame)
        while (frame := worker.machine.pull(worker.link)) is not None:
            entries = worker.reader.feed(frame)
            if not self.loses_ends:
                self.act(self.table.frame(link, frame, 0))
                continue
            for kept in _native.encode_frame([entry for entry in entries if entry[2] != Kind.END]):
                self.act(self.table.frame(link, kept, 0))

    def act(self, actions: list[Any]) -> None:
        for action in actions:
            if action[0] == "commit":
                done, committed = infer_pb2.JOB_STATE_DONE, infer_pb2.Infer.SETTLEMENT_COMMITTED
                self.act(self.table.committed(JOB, action[2], done, committed, 0))
            elif action[0] == "end":
                self.over = True
            assert action[0] not in ("failed", "fail", "lost"), action
        while (chunk := self.table.take(READER)) is not None:
            self.chunks.append(Chunk.FromString(chunk))

    async def until(self, tokens: int) -> None:
        """Carry frames until the driver has so many tokens, or the answer has ended."""
        link = len(self.workers)
        async with asyncio.timeout(10):
            while self.tokens < tokens and not self.over:
                self.carry(link)
                await asyncio.sleep(0.0005)

    async def kill(self) -> None:
        """The worker is gone, with whatever it had not sent."""
        await self.engines[-1].close()
        self.act(self.table.link_lost(len(self.workers), 0))

    async def close(self) -> None:
        for engine in self.engines:
            await engine.close()

    @property
    def outputs(self) -> list[str]:
        made: dict[int, str] = {}
        for chunk in self.chunks:
            made[chunk.output_index] = made.get(chunk.output_index, "") + chunk.payload.text
        return [made[index] for index in sorted(made)]


async def answer(folder: Path, parameters: dict[str, Any], kills: list[int]) -> World:
    """An answer, while workers die when the driver has so many tokens."""
    world = World(folder, parameters)
    try:
        for tokens in kills:
            await world.place()
            await world.until(tokens)
            if world.over:
                return world
            await world.kill()
        await world.place()
        await world.until(10**6)
    finally:
        await world.close()
    assert world.over
    return world


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(
    "parameters",
    [{"max_tokens": 40}, {"max_tokens": 25, "choices": 2}, {"max_tokens": 60, "stop": ["ka", "zuzu"]}],
    ids=["plain", "choices", "stop"],
)
async def test_answer_over_many_deaths_is_the_unfaulted_one(
    tmp_path: Path, parameters: dict[str, Any], seed: int
) -> None:
    whole = await answer(tmp_path / "whole", parameters, [])
    rng = random.Random(seed)
    last = whole.chunks[-1].usage.output_tokens
    kills = sorted(rng.randint(0, last) for _ in range(3))
    world = await answer(tmp_path / "kills", parameters, kills)
    assert world.outputs == whole.outputs
    [chunk] = [chunk for chunk in world.chunks if chunk.done]
    expected = whole.chunks[-1]
    assert (chunk.finish_reason, chunk.usage.output_tokens) == (expected.finish_reason, expected.usage.output_tokens)
    body = Body.FromString(chunk.receipt.body)
    if "choices" not in parameters:  # how the tokens of several interleave is chance
        assert body.output_commitment == Body.FromString(expected.receipt.body).output_commitment
    assert sum(part.end.tokens - part.start.tokens for part in body.handed) + body.usage.output_tokens == last
    assert (body.attempts, body.complete) == (len(world.workers), True)


async def test_answer_whose_end_alone_was_lost_is_signed_by_the_next_worker(tmp_path: Path) -> None:
    world = World(tmp_path, {"max_tokens": 10})
    try:
        world.loses_ends = True
        await world.place()
        await world.until(10)
        first = world.workers[0].table
        async with asyncio.timeout(5):
            while len(first):  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        world.carry(1)
        assert (world.tokens, world.over) == (10, False)
        world.loses_ends = False
        await world.kill()
        await world.place()
        await world.until(11)
        assert world.over
        assert world.engines[1].stats.tokens_total == 0
        body = Body.FromString(world.chunks[-1].receipt.body)
        assert (body.usage.output_tokens, body.end.tokens, body.finish_reason) == (0, 10, 2)
    finally:
        await world.close()
