"""Thousands of attempts that are cancelled, lost, decided elsewhere or late: nothing of any of them is left."""

import asyncio
import itertools
import random
import time
from collections import Counter
from pathlib import Path
from typing import Any

from tests.unit.worker.bench import Bench
from tether import _native
from tether.link import Kind, LinkEnd
from tether.v1 import infer_pb2
from tether_worker.engine.execution import ExecutionEngine
from tether_worker.engine.simulated import SimulatedRuntime

ATTEMPTS = 2_000
SLOTS = 8
SEED = 4


class Storm:
    """A table over a paced engine, and a driver that is never content."""

    def __init__(self, folder: Path) -> None:
        self.runtime = SimulatedRuntime(slots=SLOTS, token_ms=0.5, chunk_ms=0.2)
        self.engine = ExecutionEngine(self.runtime, self._on_step, queue_jobs_max=64)
        self.bench = Bench(folder, self.engine, jobs_max=128)
        self.table = self.bench.table
        self.rng = random.Random(SEED)
        self.names: list[tuple[bytes, int]] = []
        self.ends: Counter[str] = Counter()
        self._numbers = itertools.count(1)

    def _on_step(self, emitted: list[Any]) -> None:
        self.table.on_step(emitted)

    def start(self) -> None:
        job = next(self._numbers).to_bytes(16, "big")
        ticket = self.bench.ticket(
            job_id=job,
            alone=self.rng.random() < 0.01,
            raced=self.rng.random() < 0.05,
            parameters={"seed": 1, "choices": self.rng.choice((1, 1, 2)), "max_tokens": self.rng.randint(1, 30)},
        )
        late = self.rng.random() < 0.1
        self.bench.start(ticket, job=job, timeout={"nanos": 2_000_000} if late else {"seconds": 60})
        self.names.append((job, 1))

    def disturb(self) -> None:
        """Do something to a recent attempt, or to all."""
        job, epoch = self.rng.choice(self.names[-32:])
        match self.rng.randrange(8):
            case 0 | 1 | 2:
                self.frame(Kind.CANCEL, job, epoch, b"")
            case 3:
                self.bench.orchestrator_says(infer_pb2.JOB_STATE_CANCELLED, epoch, job)
            case 4:
                self.bench.relink()  # with no grace: what it drove is abandoned
            case 5:
                self.frame(Kind.DETACH, job, epoch, b"")

    def settle(self) -> None:
        """An orchestrator has written all that was left to it."""
        for job, epoch, _ in list(self.bench.committer.due(time.monotonic() + 1e6)):
            self.bench.committer.outcome(job, epoch, written=True)

    def tick(self) -> None:
        self.bench.now_ms += 50
        self.bench.machine.tick()
        self.table.tick()
        self.ends.update(Kind(kind).name for kind, _ in self.bench.sent())

    def frame(self, kind: Kind, job: bytes, epoch: int, body: bytes) -> None:
        link: LinkEnd = self.bench.link
        for frame in _native.encode_frame([(job, epoch, int(kind), 0, 0, 0, body)]):
            self.bench.machine.frame(link, frame)


async def test_storm_of_cancels_and_lost_links_leaves_no_slot_taken(tmp_path: Path) -> None:
    storm = Storm(tmp_path)
    storm.engine.start()
    try:
        for _ in range(ATTEMPTS):
            storm.start()
            if storm.rng.random() < 0.7:
                storm.disturb()
            if storm.rng.random() < 0.2:
                storm.tick()
                await asyncio.sleep(0)
        async with asyncio.timeout(20):
            while len(storm.table):
                storm.tick()
                await asyncio.sleep(0.001)
        storm.tick()
        storm.settle()
        check_nothing_is_left(storm)
    finally:
        await storm.engine.close()
    assert storm.table.started_total > ATTEMPTS / 4
    assert storm.ends["END"] > ATTEMPTS / 20
    assert storm.ends["FAIL"] > ATTEMPTS / 100  # of those whose driver stayed


def check_nothing_is_left(storm: Storm) -> None:
    """Every counter is back at zero."""
    bench, table = storm.bench, storm.table
    assert (len(table), bench.quota.held, len(bench.committer)) == (0, 0, 0)
    assert "Gate(0 running, 0 waiting" in repr(table)
    assert storm.runtime.slots_free == SLOTS
    assert bench.machine.logs.stats()["running"] == 0
    bench.now_ms += 60_000
    bench.machine.tick()
    stats = bench.machine.logs.stats()
    assert (stats["logs"], stats["log_bytes"], stats["readers"]) == (0, 0, 0)


async def test_cancel_reaches_the_next_step(tmp_path: Path) -> None:
    storm = Storm(tmp_path)
    storm.engine.start()
    took_s = []
    try:
        for number in range(20):
            job = bytes([number + 1] * 16)
            storm.bench.start(storm.bench.ticket(job_id=job, parameters={"max_tokens": 4_000}), job=job)
            async with asyncio.timeout(5):
                while storm.runtime.slots_free == SLOTS:  # noqa: ASYNC110
                    await asyncio.sleep(0.001)
                began_s = time.monotonic()
                storm.frame(Kind.CANCEL, job, 1, b"")
                while storm.runtime.slots_free < SLOTS or len(storm.table):  # noqa: ASYNC110
                    await asyncio.sleep(0.0005)
            took_s.append(time.monotonic() - began_s)
    finally:
        await storm.engine.close()
    assert sorted(took_s)[10] < 0.05, took_s  # half of them: this machine is shared
