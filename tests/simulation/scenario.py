"""One seed: requests, faults, and what must hold. Safety at every chunk; liveness once the faults are over.

The clients are the Python client itself. A request that never began may be refused while things are broken; one that has
begun must end whole. When all is quiet the store must add up: every job has ended, and every whole answer is paid once.
"""

import asyncio
import random
from dataclasses import dataclass, field
from typing import Any

from loop import NODE
from world import MODEL, TENANTS, World

from tether.client.request import Options, build_request
from tether.client.stream import Calls, Stream, Wanted
from tether.errors import Reason, TetherError
from tether.testing import invariants
from tether.v1.infer_pb2 import Infer, JobState
from tether_worker.engine.row import noise_key
from tether_worker.engine.simulated import WORDS

HEALED_S = 5.0  # after the start: no fault later
LIVELY_S = 45.0  # after that everything must have ended: leases, graces, journals and backoffs, with room
QUIET_STEP_S = 0.5
REFUSALS = frozenset(
    {
        Reason.NO_WORKER,
        Reason.NO_ORCHESTRATOR,
        Reason.STORE_UNAVAILABLE,
        Reason.UNREACHABLE,
        Reason.OVERLOADED,
        Reason.WORKER_LOST,
        Reason.DRAINING,
        Reason.SETTLEMENT_FAILED,
        Reason.JOB_CANCELLED,
        Reason.DEADLINE,
    }
)


@dataclass
class Ask:
    """One request of a scenario.

    Attributes:
        number: its place.
        tenant: who asks.
        seed: of the sampler.
        tokens: of the answer.
        at_s: when.
        name: correlation id, or empty.
        leaves_s: when the client goes away, or 0 for never.
    """

    number: int
    tenant: str
    seed: int
    tokens: int
    at_s: float
    name: str
    leaves_s: float = 0.0
    chunks: list[Infer.Chunk] = field(default_factory=list)
    error: TetherError | None = None
    ended: bool = False
    left: bool = False
    resumes: int = 0

    @property
    def job(self) -> str:
        """Job's id, or empty."""
        return next((chunk.started.job_id for chunk in self.chunks if chunk.started.job_id), "")


class Ways:
    """`tether.client.gateways.Gateways` in a world: a gateway that begins a new life is found again."""

    def __init__(self, world: World, at: int) -> None:
        self._world, self._names, self._at = world, world.names("gateway"), at

    def __len__(self) -> int:
        return len(self._names)

    @property
    def current(self) -> str:
        """The gateway that is used now."""
        return self._names[self._at % len(self._names)]

    def channel(self) -> Any:
        """A channel to it."""
        return self._world.channel(self.current)

    def failed(self, address: str) -> None:
        """Take the next."""
        if address == self.current:
            self._at += 1


class Scenario:
    """What one seed does.

    Args:
        seed: of everything.
        faults: kinds of faults that may happen.
        world: a world to use; made from the seed where None.
    """

    KINDS = ("kill", "stop", "part", "store", "forget", "slow", "skew")

    def __init__(self, seed: int, faults: tuple[str, ...] = KINDS, **how: Any) -> None:
        self.seed, self.rng = seed, random.Random(seed ^ 0x5EED)
        counts = {"gateway": 2, "orchestrator": self.rng.choice((1, 2)), "worker": self.rng.choice((2, 3))}
        self.world = World(seed, counts, **how)
        self.faults = faults
        self.asks = [self._ask(number) for number in range(self.rng.randint(4, 9))]
        self.wrong: list[str] = []

    def _ask(self, number: int) -> Ask:
        rng = self.rng
        keyed = rng.random() < 0.7
        # some requests are repeats of an earlier one under the same name
        return Ask(
            number=number,
            tenant=rng.choice(TENANTS),
            seed=rng.getrandbits(63),
            tokens=rng.choice((1, 3, 10, 40, 120)),
            at_s=rng.uniform(0.0, 3.0),
            name=f"ask-{number}" if keyed else "",
            leaves_s=rng.uniform(0.1, 1.0) if rng.random() < 0.15 else 0.0,
        )

    def run(self) -> list[str]:
        """Run it; returns what did not hold."""
        self.world.run(self._main)
        return self.wrong

    async def _main(self) -> None:
        world = self.world
        await world.start_all()
        NODE.set("client#1")
        readers = [asyncio.create_task(self._read(ask)) for ask in self.asks]
        for repeat in [ask for ask in self.asks if ask.name and self.rng.random() < 0.3]:
            twin = Ask(len(self.asks), repeat.tenant, repeat.seed, repeat.tokens, repeat.at_s + 0.2, repeat.name)
            self.asks.append(twin)
            readers.append(asyncio.create_task(self._read(twin)))
        breaking = asyncio.create_task(self._break())
        await breaking
        _, late = await asyncio.wait(readers, timeout=LIVELY_S)
        for ask in self.asks:
            if not ask.ended:
                self.wrong.append(f"request {ask.number} hung: {len(ask.chunks)} chunks, job {ask.job}")
        for task in late:
            task.cancel()
        await self._rest()
        self._judge()
        await self._audit()

    async def _read(self, ask: Ask) -> None:
        """Read one answer as a client does."""
        world = self.world
        await asyncio.sleep(ask.at_s)
        options = Options(
            seed=ask.seed, max_tokens=ask.tokens, correlation_id=ask.name or f"drawn-{ask.number}", timeout_s=40.0
        )
        request = build_request(MODEL, "simulated", options)
        calls = Calls(Ways(world, self.rng.randrange(2)), world.authorization(ask.tenant))  # type: ignore[arg-type]
        stream = Stream(calls, Wanted(request, ours=not ask.name), resume=True, check=None)
        until_s = world.loop.time() + ask.leaves_s if ask.leaves_s else float("inf")
        try:
            async with stream:
                async for piece in stream:
                    ask.chunks.append(piece.chunk)
                    if world.loop.time() > until_s and not piece.done:
                        ask.left = True
                        break
        except TetherError as error:
            ask.error = error
            world.tell(f"request {ask.number} ends with {error.reason.name}: {error.message}")
        else:
            world.tell(f"request {ask.number} {'is left' if ask.left else 'is answered'}, job {ask.job[:8]}")
        ask.resumes, ask.ended = stream.resumes, True

    # faults

    async def _break(self) -> None:
        rng = self.rng
        count = rng.randint(0, 6) if self.faults else 0
        times = sorted(rng.uniform(0.0, HEALED_S - 1.0) for _ in range(count))
        for at_s in times:
            await asyncio.sleep(max(0.0, at_s - (self.world.loop.time() - 1.0)))
            getattr(self, f"_{rng.choice(self.faults)}")()
        await asyncio.sleep(max(0.0, HEALED_S - (self.world.loop.time() - 1.0)))
        self._heal()

    def _victim(self, *services: str) -> str:
        return self.rng.choice([name for service in services for name in self.world.names(service)])

    def _kill(self) -> None:
        victim = self._victim("worker", "worker", "gateway", "orchestrator")
        if victim in self.world.lives:
            self.world.kill(victim)
            self.world.loop.call_later(self.rng.uniform(0.1, 1.5), self._again, victim)

    def _again(self, name: str) -> None:
        if name not in self.world.lives:
            self.world.begin(name)

    def _stop(self) -> None:
        victim = self._victim("worker", "worker", "gateway", "orchestrator")
        self.world.stop(victim, self.rng.uniform(0.1, 3.0))

    def _part(self) -> None:
        one, other = self._victim("gateway", "orchestrator"), self._victim("worker", "orchestrator")
        if one == other:
            return
        self.world.tell(f"{one} and {other} cannot reach each other")
        self.world.net.parted(one, other)
        self.world.loop.call_later(self.rng.uniform(0.1, 2.0), self._join, one, other)

    def _join(self, one: str, other: str) -> None:
        self.world.tell(f"{one} and {other} reach each other again")
        self.world.net.cut.discard(frozenset({one, other}))

    def _store(self) -> None:
        self.world.tell("the store is gone")
        self.world.disk.gone = True
        self.world.loop.call_later(self.rng.uniform(0.1, 2.0), self._store_back)

    def _store_back(self) -> None:
        self.world.tell("the store is back")
        self.world.disk.gone = False

    def _forget(self) -> None:
        self.world.tell("the store forgets to acknowledge")
        self.world.disk.forget = self.rng.choice((0.2, 0.5))
        self.world.loop.call_later(self.rng.uniform(0.1, 1.0), self._remember)

    def _remember(self) -> None:
        self.world.disk.forget = 0.0

    def _slow(self) -> None:
        self.world.tell("the wires are slow")
        self.world.net.delay_s = (0.001, self.rng.choice((0.02, 0.1)))
        self.world.loop.call_later(self.rng.uniform(0.2, 2.0), self._fast)

    def _fast(self) -> None:
        self.world.net.delay_s = (0.0002, 0.002)

    def _skew(self) -> None:
        victim = self._victim("worker", "gateway", "orchestrator")
        skew_s = self.rng.uniform(-30.0, 30.0)
        self.world.tell(f"the wall clock of {victim} is {skew_s:+.1f} s off")
        self.world.loop.skew_s[victim] = skew_s

    def _heal(self) -> None:
        self.world.tell("all faults are over")
        self.world.disk.gone, self.world.disk.forget = False, 0.0
        self.world.net.cut.clear()
        self._fast()
        self.world.loop.skew_s.clear()
        for service in ("orchestrator", "worker", "gateway"):
            for name in self.world.names(service):
                self._again(name)

    # judgement

    async def _rest(self) -> None:
        """Wait until no job is open, or for as long as that may take."""
        for _ in range(int(LIVELY_S / QUIET_STEP_S)):
            if not self._open():
                return
            await asyncio.sleep(QUIET_STEP_S)
        self.wrong.append(f"{self._open()} jobs never ended")

    def _open(self) -> int:
        [count] = self.world.disk.connection.execute("SELECT count(*) FROM jobs WHERE state = 1").fetchone()
        return int(count)

    def _judge(self) -> None:
        for ask in self.asks:
            where = f"request {ask.number}, job {ask.job}"
            if ask.error is not None:
                began = any(chunk.continuation for chunk in ask.chunks)
                if ask.error.reason not in REFUSALS or began:
                    self.wrong.append(f"{where}: ended with {ask.error} after {len(ask.chunks)} chunks")
                self.wrong += [f"{where}: {words}" for words in invariants.check_failure(ask.chunks, failed=True)]
            elif ask.ended and not ask.left:
                self.wrong += [f"{where}: {w}" for w in invariants.check_stream(ask.chunks, expected(ask))]

    async def _audit(self) -> None:
        from database import SimDatabase

        from tether.store.jobs_store import SqlJobStore

        store = await SqlJobStore.over(SimDatabase(self.world.disk))
        self.wrong += list(await store.check())
        delivered = {ask.job: ask.tokens for ask in self.asks if ask.ended and not ask.error and not ask.left}
        bills = {}
        for job in delivered:
            row = await store.get(bytes.fromhex(job))
            if row is not None:
                bills[job] = invariants.Bill(JobState.ValueType(row.state), row.settled.output_tokens)
        self.wrong += invariants.check_bills(bills, delivered)


def expected(ask: Ask) -> invariants.Expected:
    """What an unfaulted run gives."""
    ids = [noise_key(ask.seed, 0, position) % len(WORDS) for position in range(ask.tokens)]
    return invariants.Expected(b"".join(WORDS[token] for token in ids), ids)
