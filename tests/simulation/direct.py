"""The quick kind of seed: native stream tables and chunk logs, rules of jobs, programs of the store, and no shells.

No asyncio, no gRPC, no signatures: gateways, workers and clients are a few lines each, and everything happens by a heap
of events. What is left out (admission, choice, links, journals, policy) is in the whole kind, `scenario.py`; here a
seed costs a few milliseconds, so that deciders and machines see many thousands of orders of events.
"""

import hashlib
import heapq
import random
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import clock  # noqa: F401 - first: it stands in for the process's clocks
from books import books_of, rows

from tether import _native
from tether.errors import Reason, TetherError
from tether.job.attempt import Asks, Running, Way, way
from tether.job.hold import Position
from tether.job.poison import Cause
from tether.job.quota import Limits
from tether.job.state import State, is_open
from tether.link import to_failure
from tether.store import sqlite_run
from tether.store.jobs import Attempt, Completion, Driver, JobRow, Refused, Reservation, Reserved, Subject, Worker
from tether.store.jobs_store import SqlJobStore
from tether.store.migrate import load
from tether.testing import invariants
from tether.v1 import infer_pb2, link_pb2
from tether_worker.engine.row import noise_key
from tether_worker.engine.simulated import WORDS

WALL_MS = 1_800_000_000_000
LEASE_MS, ORPHAN_MS, TICK_MS, TOKEN_MS = 5_000, 1_000, 50, 10
DEADLINE_MS = 30_000
OVER_MS = 110_000  # after every deadline, and the minute that an overdue job is left
HEALED_MS = 4_000
DONE, COMMITTED = infer_pb2.JOB_STATE_DONE, infer_pb2.Infer.SETTLEMENT_COMMITTED
GONE = TetherError(Reason.STORE_UNAVAILABLE, "gone")
Chunk = infer_pb2.Infer.Chunk


@cache
def _fresh() -> bytes:
    made = sqlite3.connect(":memory:", isolation_level=None)
    for migration in load("sqlite", "jobs"):
        for statement in migration.up:
            made.execute(statement)
    return made.serialize()


class Database:
    """`tether.store.jobs_store.Database` on one connection; nothing waits."""

    alone = False

    def __init__(self, world: "Direct") -> None:
        self.world = world
        self.connection = sqlite3.connect(":memory:", isolation_level=None)
        self.connection.deserialize(_fresh())

    async def batch(self, program: Callable[[Any], Any], items: Any) -> Any:
        """Run a program over items."""
        return await self.write(lambda: program(items))

    async def write(self, program: Callable[[], Any]) -> Any:
        """Run a program in a transaction."""
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            result = sqlite_run.run(self.connection, program(), WALL_MS + self.world.now)
        except BaseException:
            self.connection.execute("ROLLBACK")
            raise
        self.connection.execute("COMMIT")
        return result

    async def read(self, program: Callable[[], Any]) -> Any:
        """Run a program that does not write."""
        return sqlite_run.run(self.connection, program(), WALL_MS + self.world.now)

    browse = read

    def enter(self, generation: int) -> None:
        """Nobody fences it."""

    async def close(self) -> None:
        """It goes with its world."""


@dataclass(eq=False)
class Wire:
    """A link between a life of a gateway and a life of a worker."""

    number: int
    gateway: "Gateway"
    worker: "WorkerNode"
    up_ms: int = 0
    down_ms: int = 0
    broken: bool = False


@dataclass(eq=False)
class Gateway:
    """A life of a gateway."""

    name: str
    session: bytes
    table: Any
    wires: dict["WorkerNode", Wire] = field(default_factory=dict)
    epochs: dict[bytes, int] = field(default_factory=dict)
    readers: dict[int, "Reader"] = field(default_factory=dict)
    asking: set[bytes] = field(default_factory=set)
    alive: bool = True
    ticking: bool = False


@dataclass(eq=False)
class WorkerNode:
    """A life of a worker."""

    name: str
    life: int
    logs: Any
    running: dict[tuple[bytes, int], tuple[int, list[Any]]] = field(default_factory=dict)
    wires: dict[int, Wire] = field(default_factory=dict)
    alive: bool = True
    turning: bool = False
    frozen_ms: int = 0


@dataclass(eq=False)
class Reader:
    """A client that reads one answer, over as many gateways as it takes."""

    number: int
    job: "Job"
    chunks: list[Any] = field(default_factory=list)
    at: Gateway | None = None
    joined: int = 0
    over: bool = False
    left: bool = False
    text: bytes = b""
    tries: int = 0


@dataclass(eq=False)
class Job:
    """A request."""

    job: bytes
    tenant: str
    seed: int
    tokens: int
    leave: int

    @property
    def subject(self) -> Subject:
        """As the store keeps it."""
        name = self.job.hex()
        return Subject(
            self.job, self.tenant, name, "", True, b"h" * 32, "sim", "1.0", b"d" * 32, b"", self.tokens + 3
        )  # fmt: skip

    def word(self, position: int) -> tuple[int, bytes]:
        """Token and its text."""
        token = noise_key(self.seed, 0, position) % len(WORDS)
        return token, WORDS[token]


def now(work: Any) -> Any:
    """The result of a coroutine that never waits."""
    try:
        work.send(None)
    except StopIteration as end:
        return end.value
    raise RuntimeError("it waited")


class Direct:
    """One seed.

    Args:
        seed: of everything.
    """

    def __init__(self, seed: int) -> None:
        self.rng, self.now, self.seed = random.Random(seed), 0, seed
        self.events: list[tuple[int, int, Callable[..., None], tuple[Any, ...]]] = []
        self.made = self.wire_count = self.reader_count = 0
        self.story: list[str] = []
        self.wrong: list[str] = []
        self.gone_ms, self.forget = 0, 0.0
        self.database = Database(self)
        self.store = now(SqlJobStore.over(self.database))  # type: ignore[arg-type]
        self.limit = self.rng.choice((0, 0, 2))
        self.gateways: dict[str, Gateway] = {}
        self.workers: dict[str, WorkerNode] = {}
        self.lapse: dict[bytes, int] = {}
        for number in range(2):
            self._begin_gateway(f"gateway-{number + 1}")
            self._begin_worker(f"worker-{number + 1}", 1)
        self.readers: list[Reader] = []

    # time

    def at(self, delay_ms: float, work: Callable[..., None], *args: Any) -> None:
        """Do something later."""
        self.made += 1
        heapq.heappush(self.events, (self.now + int(delay_ms), self.made, work, args))

    def tell(self, words: str) -> None:
        """Put something into the story."""
        self.story.append(f"{self.now / 1_000:9.3f} s  {words}")

    def run(self) -> list[str]:
        """Run it; returns what did not hold."""
        rng = self.rng
        for number in range(rng.randint(1, 4)):
            leave = rng.choice((infer_pb2.Infer.ON_DISCONNECT_CANCEL, infer_pb2.Infer.ON_DISCONNECT_DETACH))
            tenant, tokens = rng.choice(("acme", "bold")), rng.choice((1, 3, 10, 40))
            job = Job(rng.randbytes(16), tenant, rng.getrandbits(62), tokens, leave)
            at_ms = rng.randint(0, 1_500)
            for twin in range(rng.choice((1, 1, 1, 2))):
                self._client(job, at_ms + twin * rng.randint(0, 300), f"{number}.{twin}")
        for _ in range(rng.randint(0, 4)):
            self.at(rng.randint(0, HEALED_MS - 2_000), getattr(self, rng.choice(FAULTS)))
        self.at(ORPHAN_MS, self._sweep)
        while self.events and self.now < OVER_MS:
            self.now, _, work, args = heapq.heappop(self.events)
            work(*args)
        self._judge()
        return self.wrong

    # lives

    def _begin_gateway(self, name: str) -> None:
        table = _native.StreamTable(silence_ms=1_200, detach_grace_ms=2_000, hold_failed=True)
        self.gateways[name] = Gateway(name, self.rng.randbytes(16), table)

    def _begin_worker(self, name: str, life: int) -> None:
        self.workers[name] = WorkerNode(name, life, _native.ChunkLogs(linger_ms=20_000))

    def _kill_gateway(self) -> None:
        name = self.rng.choice(sorted(self.gateways))
        gateway = self.gateways[name]
        if not gateway.alive:
            return
        self.tell(f"{name} is killed")
        gateway.alive = False
        self.lapse[gateway.session] = self.now + LEASE_MS
        for wire in list(gateway.wires.values()):
            self._break(wire)
        for reader in self.readers:
            if reader.at is gateway and not reader.over:
                self.at(self.rng.randint(20, 300), self._come_back, reader)
        self.at(self.rng.randint(100, 1_000), self._begin_gateway, name)

    def _kill_worker(self) -> None:
        name = self.rng.choice(sorted(self.workers))
        worker = self.workers[name]
        if worker.alive:
            self.tell(f"{name} is killed")
            worker.alive = False
            for wire in list(worker.wires.values()):
                self._break(wire)
            self.at(self.rng.randint(100, 1_000), self._begin_worker, name, worker.life + 1)

    def _freeze(self) -> None:
        worker = self.workers[self.rng.choice(sorted(self.workers))]
        for_ms = self.rng.randint(100, 2_500)
        self.tell(f"{worker.name} stops for {for_ms} ms")
        worker.frozen_ms = self.now + for_ms

    def _cut(self) -> None:
        wires = [wire for gateway in self.gateways.values() for wire in gateway.wires.values()]
        if wires:
            wire = self.rng.choice(wires)
            self.tell(f"the link of {wire.gateway.name} and {wire.worker.name} breaks")
            self._break(wire)

    def _store(self) -> None:
        self.tell("the store is gone")
        self.gone_ms = self.now + self.rng.randint(100, 1_500)

    def _forgets(self) -> None:
        self.tell("the store forgets to acknowledge")
        self.forget = 0.4
        self.at(self.rng.randint(100, 1_000), self._remembers)

    def _remembers(self) -> None:
        self.forget = 0.0

    # links

    def _wire(self, gateway: Gateway, worker: WorkerNode) -> Wire:
        wire = gateway.wires.get(worker)
        if wire is None:
            self.wire_count += 1
            wire = gateway.wires[worker] = worker.wires[self.wire_count] = Wire(self.wire_count, gateway, worker)
        return wire

    def _break(self, wire: Wire) -> None:
        wire.broken = True
        wire.gateway.wires.pop(wire.worker, None)
        wire.worker.wires.pop(wire.number, None)
        self.at(self.rng.randint(0, 5), self._broken, wire)

    def _broken(self, wire: Wire) -> None:
        if wire.gateway.alive:
            self._gateway(wire.gateway, wire.gateway.table.link_lost(wire.number, self.now))
        if wire.worker.alive:
            self._worker(wire.worker, wire.worker.logs.link_lost(wire.number, self.now))

    def _up(self, wire: Wire, frame: bytes) -> None:
        worker = wire.worker
        if wire.broken or not worker.alive:
            return
        if worker.frozen_ms > self.now:
            self.at(worker.frozen_ms - self.now, self._up, wire, frame)
            return
        self._worker(worker, worker.logs.frame(wire.number, frame, self.now))

    def _down(self, wire: Wire, frame: bytes) -> None:
        if not wire.broken and wire.gateway.alive:
            self._gateway(wire.gateway, wire.gateway.table.frame(wire.number, frame, self.now))

    # workers

    def _worker(self, worker: WorkerNode, actions: Any) -> None:
        for action in actions:
            match action:
                case ("link", number):
                    self._pull_down(worker, number)
                case ("start", number, job, epoch, body):
                    self._start(worker, number, job, epoch, link_pb2.Link.Start.FromString(body))
                case ("attach", number, job, epoch, body):
                    asked = link_pb2.Link.Attach.FromString(body)
                    how = {"tokens": asked.position.tokens, "bytes": asked.position.bytes, "now_ms": self.now}
                    how |= {"tenant": asked.tenant_id, "credit_bytes": asked.credit_bytes}
                    chain = asked.chain_state or None
                    self._worker(worker, worker.logs.attach(job, epoch, number, chain_state=chain, **how))
                case ("cancel", job, epoch):
                    if worker.running.pop((job, epoch), None):
                        error = to_failure(TetherError(Reason.JOB_CANCELLED, "cancelled"))
                        self._worker(worker, worker.logs.fail(job, epoch, error, self.now))

    def _pull_down(self, worker: WorkerNode, number: int) -> None:
        wire = worker.wires.get(number)
        while (frame := worker.logs.pull(number)) is not None:
            if wire is not None:
                wire.down_ms = max(wire.down_ms + 1, self.now + self.rng.randint(0, 3))
                self.at(wire.down_ms - self.now, self._down, wire, frame)

    def _start(self, worker: WorkerNode, number: int, job: bytes, epoch: int, asked: Any) -> None:
        begin = asked.position
        actions = worker.logs.start(
            job, epoch, number, tenant="t", credit_bytes=asked.credit_bytes, grace_ms=2_000, tokens=begin.tokens,
            bytes=begin.bytes, chain_state=asked.chain_state, now_ms=self.now,
        )  # fmt: skip
        if any(action[0] == "run" for action in actions):
            worker.running[job, epoch] = (begin.tokens, [begin])
        self._worker(worker, actions)
        if begin.tokens and ("run", job, epoch) in actions:
            self._worker(worker, worker.logs.preload(job, epoch, self._prefix(job, epoch, begin.tokens), self.now))
        self._turn_later(worker)

    def _prefix(self, job: bytes, epoch: int, tokens: int) -> list[Any]:
        words = [self.jobs[job].word(position) for position in range(tokens)]
        text = b"".join(word for _, word in words)
        return [(job, epoch, 0, [token for token, _ in words], [len(word) for _, word in words], text, b"")]

    def _turn_later(self, worker: WorkerNode) -> None:
        if worker.running and not worker.turning:
            worker.turning = True
            self.at(max(TOKEN_MS, worker.frozen_ms - self.now), self._turn, worker)

    def _turn(self, worker: WorkerNode) -> None:
        worker.turning = False
        if not worker.alive:
            return
        if worker.frozen_ms <= self.now:
            for (job, epoch), (position, begin) in list(worker.running.items()):
                if position < self.jobs[job].tokens:
                    token, word = self.jobs[job].word(position)
                    worker.running[job, epoch] = (position + 1, begin)
                    self._worker(
                        worker, worker.logs.append([(job, epoch, 0, [token], [len(word)], word, b"")], self.now)
                    )
                else:
                    self._end(worker, job, epoch, begin[0])
            self._worker(worker, worker.logs.tick(self.now))
        self._turn_later(worker)

    def _end(self, worker: WorkerNode, job: bytes, epoch: int, begin: Any) -> None:
        del worker.running[job, epoch]
        chain = worker.logs.chain(job, epoch)
        if chain is None:
            return
        digest, _, tokens, text_bytes = chain
        body = infer_pb2.Infer.ReceiptBody(
            job_id=job, epoch=epoch, worker_id=worker.name, output_commitment=digest, complete=True
        )
        body.end.tokens, body.end.bytes = tokens, text_bytes
        body.usage.input_tokens, body.usage.output_tokens = 3, tokens - begin.tokens
        if begin.tokens:
            body.handed.add(epoch=max(1, epoch - 1)).end.CopyFrom(begin)
        receipt = infer_pb2.Infer.Receipt(body=body.SerializeToString())
        self._worker(
            worker, worker.logs.end(job, epoch, Chunk(done=True, receipt=receipt).SerializeToString(), self.now)
        )
        answer = worker.logs.answer(job, epoch, 1 << 18)
        self.at(self.rng.choice((500, 1_500)), self._worker_commits, worker, self._done(job, epoch, receipt, answer), 0)

    def _worker_commits(self, worker: WorkerNode, end: Completion, tries: int) -> None:
        """The worker ends a job that its driver may not have ended."""
        if not worker.alive:
            return
        told = Completion(end.job, end.epoch, end.outcome, end.used, end.receipt, end.answer, worker=worker.name)
        if isinstance(self._do("complete", told), TetherError) and tries < 60:
            self.at(1_000, self._worker_commits, worker, end, tries + 1)

    def _done(self, job: bytes, epoch: int, receipt: Any, answer: bytes | None) -> Completion:
        end = infer_pb2.Infer.ReceiptBody.FromString(receipt.body).end
        used = Position(3, end.tokens, end.bytes)
        return Completion(job, epoch, State.DONE, used, receipt.SerializeToString(), answer)

    # store

    def _do(self, what: str, asked: Any) -> Any:
        """One call of the store: its result, or the error that it came to."""
        if self.gone_ms > self.now:
            return GONE
        [result] = now(getattr(self.store, what)([asked]))
        if self.limit:
            jobs = dict(rows(self.database.connection, "SELECT tenant, count(*) FROM jobs WHERE state = 1 GROUP BY 1"))
            self.wrong += invariants.check_limits(jobs, self.limit, "jobs at a time")
        if self.rng.random() < self.forget:
            return GONE
        return result.error if isinstance(result, Refused) else result

    def _lapsed(self, session: bytes) -> bool:
        return self.lapse.get(session, self.now + 1) <= self.now

    def _lives(self, node: str, life: int) -> bool:
        worker = self.workers[node]
        return worker.alive and worker.life == life

    def _sweep(self) -> None:
        """Abandon what nobody will end."""
        if self.gone_ms <= self.now:
            for (job,) in rows(self.database.connection, "SELECT job FROM jobs WHERE state = 1 ORDER BY number"):
                row = now(self.store.get(job))
                if self._lapsed(row.driver.session) and not self._lives(row.worker.node, row.worker.incarnation):
                    self._do("complete", Completion(row.subject.job, row.epoch, State.ABANDONED))
            now(self.store.expire(100))
        if not all(reader.over for reader in self.readers) or self._open():
            self.at(ORPHAN_MS, self._sweep)

    def _open(self) -> int:
        return int(rows(self.database.connection, "SELECT count(*) FROM jobs WHERE state = 1")[0][0])

    # orchestrators

    def _place(self, gateway: Gateway, job: Job, after: int, cause: Cause, at: tuple[int, int]) -> Any:
        """What a Place comes to: a row to drive, a row to read, a row that has ended, or an error."""
        if self.gone_ms > self.now:
            return GONE
        row = now(self.store.get(job.job))
        driver = Driver(gateway.session, gateway.name)
        if row is None or (row.state is State.ABANDONED and not after):
            limits = Limits(concurrent_jobs=self.limit)
            until = WALL_MS + self.now + DEADLINE_MS
            asked = Reservation(job.subject, driver, self._choose(""), 1, until, limits)
            return self._result(gateway, job, self._do("reserve", asked))
        if not is_open(row.state):
            return row
        running = Running(row.epoch, row.after_epoch, row.raced_epoch, row.driver.session)
        lapsed, lives = self._lapsed(row.driver.session), self._lives(row.worker.node, row.worker.incarnation)
        match way(running, Asks(gateway.session, after), lapsed=lapsed, lives=lives):
            case Way.SAME | Way.JOIN:
                return row
            case Way.STALE | Way.RACE:
                return TetherError(Reason.STALE_EPOCH, "stale")
        worker = self._choose(row.worker.node)
        position = Position(0, *at)
        asked_next = Attempt(
            job.job, b"h" * 32, row.driver.session, driver, row.epoch, worker, position, int(cause)
        )  # fmt: skip
        return self._result(gateway, job, self._do("attempt", asked_next))

    def _result(self, gateway: Gateway, job: Job, result: Any) -> Any:
        if isinstance(result, TetherError):
            return result
        return now(self.store.get(job.job)) if isinstance(result, Reserved) else result.row

    def _choose(self, but: str) -> Worker:
        names = sorted(self.workers)
        alive = [name for name in names if self.workers[name].alive] or names
        name = self.rng.choice([name for name in alive if name != but] or alive)
        return Worker(name, self.workers[name].life, "nowhere")

    # gateways

    def _gateway(self, gateway: Gateway, actions: Any) -> None:
        for action in actions:
            match action:
                case ("link", number):
                    self._pull_up(gateway, number)
                case ("reader", number) | ("end", number):
                    self._take(gateway, number, last=action[0] == "end")
                case ("failed", number, failure):
                    self._take(gateway, number, last=False)
                    self._failed(gateway, number, link_pb2.Link.Failure.FromString(failure).reason)
                case ("commit", job, epoch, chunk, answer):
                    receipt = Chunk.FromString(chunk).receipt
                    self.at(1, self._commit, gateway, self._done(job, epoch, receipt, answer), 0)
                case ("silent", job, epoch):
                    self.at(self.rng.randint(1, 20), self._next, gateway, self.jobs[job], epoch, Cause.WORKER_LOST)
                case ("lost", job, epoch, _, _, _):
                    self.at(self.rng.randint(1, 20), self._next, gateway, self.jobs[job], epoch, Cause.FAILED)
                case ("abandon" | "fail", job, epoch, tokens, text_bytes, *_):
                    used = Position(0, tokens, text_bytes)
                    self.at(1, self._give_up, gateway, Completion(job, epoch, State.ABANDONED, used), 0)
                case ("finish", job):
                    gateway.epochs.pop(job, None)
        self._tick_later(gateway)

    def _pull_up(self, gateway: Gateway, number: int) -> None:
        wire = next((wire for wire in gateway.wires.values() if wire.number == number), None)
        while (frame := gateway.table.pull(number)) is not None:
            if wire is not None:
                wire.up_ms = max(wire.up_ms + 1, self.now + self.rng.randint(0, 3))
                self.at(wire.up_ms - self.now, self._up, wire, frame)

    def _tick_later(self, gateway: Gateway) -> None:
        if gateway.alive and not gateway.ticking and gateway.table.stats()["jobs"]:
            gateway.ticking = True
            self.at(TICK_MS, self._tick, gateway)

    def _tick(self, gateway: Gateway) -> None:
        gateway.ticking = False
        if gateway.alive:
            self._gateway(gateway, gateway.table.tick(self.now))

    def _next(self, gateway: Gateway, job: Job, epoch: int, cause: Cause) -> None:
        """An attempt is over, or a reader's is: find the next."""
        if not gateway.alive or not gateway.table.known(job.job) or gateway.epochs.get(job.job, 0) > epoch:
            return
        found = gateway.table.position(job.job)
        row = self._place(gateway, job, epoch, cause, found[1:] if found else (0, 0))
        if isinstance(row, JobRow) and row.state is State.ABANDONED:
            row = self._place(gateway, job, 0, Cause.NEW, (0, 0))
        again = isinstance(row, TetherError) or (is_open(row.state) and row.epoch <= epoch)
        if again:
            self.at(200, self._next, gateway, job, epoch, cause)
        elif is_open(row.state):
            self._land(gateway, job, row)
        else:
            self._elsewhere(gateway, job)

    def _land(self, gateway: Gateway, job: Job, row: JobRow) -> None:
        """Put an attempt on its link."""
        drives = row.driver.session == gateway.session
        gateway.epochs[job.job] = row.epoch
        worker = self.workers[row.worker.node]
        if not self._lives(row.worker.node, row.worker.incarnation):
            self.at(100, self._next, gateway, job, row.epoch, Cause.REFUSED)
            return
        wire = self._wire(gateway, worker)
        position = gateway.table.position(job.job)
        how = infer_pb2.Infer.CONTINUITY_EXACT if position and position[1] else 0
        body: Any = link_pb2.Link.Start(request=b"r") if drives else link_pb2.Link.Attach(tenant_id="t")
        self._gateway(
            gateway,
            gateway.table.placed(
                job.job, row.epoch, wire.number, body.SerializeToString(), self.now, continuity=how, driver=drives
            ),
        )

    def _commit(self, gateway: Gateway, end: Completion, tries: int) -> None:
        """Commit an answer that is whole; its last chunk waits."""
        if not gateway.alive:
            return
        result = self._do("complete", end)
        if isinstance(result, TetherError) or is_open(result.row.state):
            self.at(100, self._commit, gateway, end, tries + 1)
        elif result.row.state is State.DONE and result.row.receipt == end.receipt:
            self._gateway(gateway, gateway.table.committed(end.job, end.epoch, DONE, COMMITTED, self.now))
        elif result.row.state is State.ABANDONED:
            self._next(gateway, self.jobs[end.job], end.epoch, Cause.WORKER_LOST)
        else:
            self._elsewhere(gateway, self.jobs[end.job])

    def _give_up(self, gateway: Gateway, end: Completion, tries: int) -> None:
        if gateway.alive and isinstance(self._do("complete", end), TetherError):
            self.at(200, self._give_up, gateway, end, tries + 1)

    def _elsewhere(self, gateway: Gateway, job: Job) -> None:
        """The job has ended elsewhere: readers take the kept answer."""
        failure = to_failure(TetherError(Reason.WORKER_LOST, "elsewhere"))
        self._gateway(gateway, gateway.table.fail(job.job, failure, self.now))

    # clients

    @property
    def jobs(self) -> dict[bytes, Job]:
        """Requests by job."""
        return {reader.job.job: reader.job for reader in self.readers}

    def _client(self, job: Job, at_ms: int, name: str) -> None:
        reader = Reader(len(self.readers), job)
        self.readers.append(reader)
        self.at(at_ms, self._come_back, reader)
        if self.rng.random() < 0.2:
            self.at(at_ms + self.rng.randint(5, 400), self._leave, reader, name)

    def _leave(self, reader: Reader, name: str) -> None:
        if reader.over:
            return
        self.tell(f"client {name} leaves")
        reader.over = reader.left = True
        if reader.at is not None and reader.at.alive:
            self._gateway(reader.at, reader.at.table.leave(reader.joined, self.now))

    def _come_back(self, reader: Reader) -> None:
        """Ask a gateway for the answer, or for the rest of it."""
        reader.tries += 1
        alive = [gateway for gateway in self.gateways.values() if gateway.alive]
        if reader.over:
            return
        if not alive or self.now > HEALED_MS + 3 * DEADLINE_MS:
            self.at(200, self._come_back, reader)
            return
        gateway, job = self.rng.choice(alive), reader.job
        if gateway.table.known(job.job):
            self._read(gateway, reader)
            return
        row = self._place(gateway, job, 0, Cause.NEW, (0, 0))
        if isinstance(row, TetherError):
            self.at(self.rng.randint(50, 400), self._come_back, reader)
        elif is_open(row.state):
            self._open_job(gateway, job, row)
            self._read(gateway, reader)
            self._land(gateway, job, row)
        else:
            self._replay(reader, row)

    def _open_job(self, gateway: Gateway, job: Job, row: JobRow) -> None:
        until = row.deadline_ms - WALL_MS
        gateway.table.open(
            job.job, driver=row.driver.session == gateway.session, keep_answer_bytes=1 << 18, on_disconnect=job.leave,
            deadline_ms=max(until, self.now + 1), now_ms=self.now,
        )  # fmt: skip

    def _read(self, gateway: Gateway, reader: Reader) -> None:
        self.reader_count += 1
        reader.at, reader.joined = gateway, self.reader_count
        gateway.readers[reader.joined] = reader
        begin: dict[str, Any] = {}
        if reader.chunks:
            cursor = infer_pb2.Infer.Cursor.FromString(reader.chunks[-1].continuation)
            place = cursor.position
            begin = {"tokens": place.tokens, "bytes": place.bytes, "chain_state": cursor.chain_state or None}
        self._gateway(gateway, gateway.table.join(reader.job.job, reader.joined, b"", b"", self.now, **begin))

    def _take(self, gateway: Gateway, number: int, *, last: bool) -> None:
        reader = gateway.readers.get(number)
        while (raw := gateway.table.take(number)) is not None:
            if reader is not None and not reader.over:
                reader.chunks.append(Chunk.FromString(raw))
        if last and reader is not None:
            reader.over = True
            self._gateway(gateway, gateway.table.leave(number, self.now))
        self._gateway_later(gateway)

    def _gateway_later(self, gateway: Gateway) -> None:
        actions = gateway.table.actions()
        if actions:
            self._gateway(gateway, actions)

    def _failed(self, gateway: Gateway, number: int, reason: str) -> None:
        reader = gateway.readers.pop(number, None)
        self._gateway(gateway, gateway.table.leave(number, self.now))
        if reader is None or reader.over:
            return
        if reason == "STREAM_DIVERGED":
            self.wrong.append(f"job {reader.job.job.hex()[:8]}: {reason} after {len(reader.chunks)} chunks")
            reader.over = reader.left = True
            return
        self.at(self.rng.randint(20, 300), self._come_back, reader)

    def _replay(self, reader: Reader, row: JobRow) -> None:
        """The answer that is kept, behind what the client has."""
        if row.state is not State.DONE:
            self.wrong.append(f"job {row.subject.job.hex()[:8]}: stands at {row.state.name} for its client")
            reader.over = reader.left = True
            return
        reader.text = (row.answer and infer_pb2.Infer.Payload.FromString(row.answer).text.encode()) or b""
        reader.over = True

    # judgement

    def _judge(self) -> None:
        self.wrong += now(self.store.check())
        self.wrong += invariants.check_books(books_of(self.database.connection))
        if self._open():
            self.wrong.append(f"{self._open()} jobs never ended")
        bills, delivered, written, got = {}, {}, {}, []
        for reader in self.readers:
            name = reader.job.job.hex()
            row = now(self.store.get(reader.job.job))
            if row is not None:
                bills[name] = invariants.Bill(infer_pb2.JobState.ValueType(row.state), row.settled.output_tokens)
                written[name] = infer_pb2.Infer.Receipt.FromString(row.receipt).body
            if not reader.over:
                self.wrong.append(f"job {name[:8]}: a client hung after {len(reader.chunks)} chunks")
            elif not reader.left:
                delivered[name] = reader.job.tokens
                self._stream(reader)
                if reader.chunks and reader.chunks[-1].done:
                    got.append((name, reader.chunks[-1].receipt.body))
        self.wrong += invariants.check_bills(bills, delivered)
        self.wrong += invariants.check_one_result(got, written)

    def _stream(self, reader: Reader) -> None:
        words = [reader.job.word(position) for position in range(reader.job.tokens)]
        expected = invariants.Expected(b"".join(word for _, word in words), [token for token, _ in words])
        if reader.chunks and reader.chunks[-1].done:
            self.wrong += invariants.check_stream(reader.chunks, expected)
            return
        self.wrong += invariants.check_failure(reader.chunks, failed=True)
        had = invariants.text_of(reader.chunks)
        if reader.text != expected.text or not reader.text.startswith(had):
            self.wrong.append(f"job {reader.job.job.hex()[:8]}: the kept answer differs from the unfaulted run")


FAULTS = ("_kill_gateway", "_kill_worker", "_kill_worker", "_freeze", "_cut", "_store", "_forgets")


def one(seed: int) -> tuple[int, list[str], float, str]:
    """Run a seed; returns what was wrong, virtual seconds, and a hash of its story."""
    made = Direct(seed)
    try:
        wrong = made.run()
    except Exception as fault:  # noqa: BLE001 - a seed that breaks the simulator is a finding too
        wrong = [*made.wrong, f"{type(fault).__name__}: {fault}"]
    told = "\n".join([*made.story, f"{made.made} {made.now} {made.database.connection.total_changes}"])
    made.database.connection.close()
    return seed, wrong, made.now / 1_000, hashlib.sha256(told.encode()).hexdigest()[:16]
