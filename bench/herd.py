"""Do several orchestrators herd onto one worker? Each sees the others' placements only in reports, which are late.

Orchestrators place open-loop jobs on the same workers in virtual time; each has its own native fleet, fed by the same
reports: twice a second, and 20 ms after room came free, each a little late. Compared are a random worker, the better of
two random ones by each one's own view (Mitzenmacher, "The Power of Two Choices", 2001; and "How Useful Is Old
Information?", 2000), the very best worker, and what Tether does. Told are the longest queue beside the mean, and what
jobs waited.

Run: `python bench/herd.py`, or `make bench BENCH=herd`.
"""

from __future__ import annotations

import argparse
import hashlib
import heapq
import random
from collections import deque
from typing import TYPE_CHECKING

from _common import percentile, save, table

from tether._native import Fleet, Query
from tether.placement.spread import counted, looked_at, pick
from tether.v1.health_pb2 import Health

if TYPE_CHECKING:
    from collections.abc import Callable

SLOTS, QUEUE_MAX = 8, 64  # a queue that refuses nobody, so that all ways serve the same jobs
REPORT_S, SOON_S, DELAY_S = 0.5, 0.02, 0.02
SERVICE_S = 1.0  # mean; exponential
SEED = 20_261_121
LOADS = (0.7, 0.9)
ORCHESTRATORS = (1, 4, 16)
WORKERS = 50


class Worker:
    """Slots, a queue, and reports."""

    def __init__(self, number: int) -> None:
        self.id = f"w{number:051d}"
        self.busy = 0
        self.waiting: deque[float] = deque()
        self.started = self.sequence = 0
        ref = Health.ModelRef(model_id="m", version="1.0", digest=bytes(32))
        cached = Health.CachedModel(model=ref, state=Health.CACHE_STATE_READY)
        self.message = Health.Report(
            worker_id=self.id, region="r", address="h:1", incarnation=1, supported=[ref], model_cache=[cached]
        )

    def report(self) -> bytes:
        """Its next report."""
        self.sequence += 1
        message = self.message
        message.sequence, message.started_total = self.sequence, self.started
        message.capacity.slots, message.capacity.slots_free = SLOTS, SLOTS - self.busy
        message.capacity.queue_depth, message.capacity.queue_max = len(self.waiting), QUEUE_MAX
        return message.SerializeToString()

    @property
    def load(self) -> int:
        """Jobs running and waiting."""
        return self.busy + len(self.waiting)


class World:
    """Orchestrators and workers in virtual time."""

    def __init__(self, orchestrators: int, load: float, choose: Chooser, seed: int) -> None:
        self.rng = random.Random(seed)
        self.workers = {worker.id: worker for worker in map(Worker, range(WORKERS))}
        self.ids = list(self.workers)
        self.fleets = [Fleet(suspect_ms=10**9, remove_ms=10**9) for _ in range(orchestrators)]
        self.query = Query("m", "1.0", regions={"r": 1.0})
        self.choose, self.per_s = choose, load * WORKERS * SLOTS / SERVICE_S
        self.now_s, self.placed = 0.0, 0
        self.waits: list[float] = []
        self.excess: list[float] = []
        self.events: list[tuple[float, int, Callable[[], None]]] = []
        self.number = 0
        for worker in self.workers.values():
            self.heard(worker.id, worker.report())
            self.at(self.rng.random() * REPORT_S, lambda worker=worker: self.beat(worker))
        self.at(0.0, self.arrive)
        self.at(1.0, self.look)

    def at(self, at_s: float, act: Callable[[], None]) -> None:
        """Do something then."""
        self.number += 1
        heapq.heappush(self.events, (at_s, self.number, act))

    def run(self, until_s: float) -> None:
        """Let time pass."""
        while self.events[0][0] <= until_s:
            self.now_s, _, act = heapq.heappop(self.events)
            act()

    def now_ms(self) -> int:
        """The clock of the fleets."""
        return int(self.now_s * 1e3)

    def beat(self, worker: Worker) -> None:
        """A report on time."""
        self.tell(worker)
        self.at(self.now_s + REPORT_S, lambda: self.beat(worker))

    def tell(self, worker: Worker) -> None:
        """A report goes out."""
        raw = worker.report()
        self.at(self.now_s + DELAY_S * self.rng.uniform(0.5, 1.5), lambda: self.heard(worker.id, raw))

    def heard(self, worker: str, raw: bytes) -> None:
        """A report comes in, everywhere at once."""
        for fleet in self.fleets:
            fleet.upsert(worker, raw, self.now_ms())

    def arrive(self) -> None:
        """A job comes to one of the orchestrators."""
        self.at(self.now_s + self.rng.expovariate(self.per_s), self.arrive)
        at = self.rng.randrange(len(self.fleets))
        self.placed += 1
        chosen = self.choose(self, at, f"job-{self.placed}")
        self.fleets[at].placed(chosen, self.now_ms())
        self.at(self.now_s + 0.001, lambda: self.start(self.workers[chosen]))

    def start(self, worker: Worker) -> None:
        """A worker takes a job."""
        worker.started += 1
        worker.waiting.append(self.now_s)
        self.fill(worker)

    def fill(self, worker: Worker) -> None:
        """Free slots take what waits."""
        while worker.busy < SLOTS and worker.waiting:
            self.waits.append(self.now_s - worker.waiting.popleft())
            worker.busy += 1
            self.at(self.now_s + self.rng.expovariate(1 / SERVICE_S), lambda: self.end(worker))

    def end(self, worker: Worker) -> None:
        """A job ends; room that came free is told soon."""
        if worker.busy == SLOTS and not worker.waiting:
            self.at(self.now_s + SOON_S, lambda: self.tell(worker))
        worker.busy -= 1
        self.fill(worker)

    def look(self) -> None:
        """Note how uneven the load is."""
        loads = [worker.load for worker in self.workers.values()]
        self.excess.append(max(loads) / (sum(loads) / len(loads)))
        self.at(self.now_s + 0.05, self.look)


Chooser = "Callable[[World, int, str], str]"


def at_random(world: World, at: int, key: str) -> str:
    """Any worker."""
    return world.rng.choice(world.ids)


def of_two(world: World, at: int, key: str) -> str:
    """The better of two random ones, by this orchestrator's own view."""
    pair = world.rng.sample(world.ids, 2)
    return world.fleets[at].top_k(world.query, key, 1, world.now_ms(), among=pair)[0].worker_id


def of_two_fresh(world: World, at: int, key: str) -> str:
    """The better of two random ones, by what is true at this moment: what nobody can know."""
    return min(world.rng.sample(world.ids, 2), key=lambda one: world.workers[one].load)


def best(world: World, at: int, key: str) -> str:
    """The very best one, by this orchestrator's own view."""
    return world.fleets[at].top_k(world.query, key, 1, world.now_ms())[0].worker_id


def tether(world: World, at: int, key: str) -> str:
    """What the scheduler does."""
    found = world.fleets[at].top_k(world.query, key, looked_at(len(world.fleets)), world.now_ms())
    return pick(found, f"{at} {key}").worker_id


WAYS = {
    "random": at_random,
    "two choices": of_two,
    "two choices, true loads": of_two_fresh,
    "best": best,
    "tether": tether,
}


def measured(way: str, orchestrators: int, load: float, seconds: float) -> dict[str, object]:
    """One row: a way to choose, in the second half of its time."""
    seed = int.from_bytes(hashlib.sha256(f"{SEED}{orchestrators}{load}".encode()).digest()[:4])
    world = World(orchestrators, load, WAYS[way], seed)
    for fleet in world.fleets:
        fleet.set_peers(counted(orchestrators, WORKERS) if way == "tether" else 1)
    world.run(seconds / 3)
    world.waits.clear()
    world.excess.clear()
    world.run(seconds)
    return {
        "orchestrators": orchestrators,
        "load": load,
        "way": way,
        "max/mean load": sum(world.excess) / len(world.excess),
        "wait p50 ms": percentile(world.waits, 0.5) * 1e3,
        "wait p99 ms": percentile(world.waits, 0.99) * 1e3,
        "jobs": len(world.waits),
    }


def main() -> None:
    """Print the table and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=30.0, help="virtual seconds of each row")
    arguments = parser.parse_args()
    rows = [
        measured(way, orchestrators, load, arguments.seconds)
        for load in LOADS
        for orchestrators in ORCHESTRATORS
        for way in WAYS
    ]
    table(f"{WORKERS} workers of {SLOTS} slots, jobs of {SERVICE_S} s in the mean, seed {SEED}", rows)
    save("herd", {"workers": WORKERS, "slots": SLOTS, "seed": SEED, "rows": rows})


if __name__ == "__main__":
    main()
