"""Row R10: an hour of wrong clocks. No worker that lives is dropped, no session lapses, no grant is wrong.

Every while a node's wall clock is set off by up to 15 s, forward or back, so that any two are within 30 s of each
other; requests come all along, and each must be answered whole by whoever was asked.
"""

import asyncio
import random
from typing import Any

from ask import Ask, Client
from judge import Judge
from loop import NODE
from world import TENANTS, Setting, World

SKEW_S = 15.0  # any two nodes are within 30 s of each other, which tickets and tokens bear
EVERY_S = 20.0  # between two requests, and between two looks
STEPS_S = (5.0, 60.0)  # between two steps of some clock


class SkewHour:
    """One seed of it.

    Args:
        seed: of everything.
        for_s: how long, virtual seconds.
    """

    def __init__(self, seed: int, for_s: float = 3_600.0) -> None:
        self.rng, self.for_s = random.Random(seed), for_s
        self.world = World(seed, Setting({"gateway": 2, "orchestrator": 1, "worker": 3}))
        count = int(for_s / EVERY_S)
        self.asks = [
            Ask(number, self.rng.choice(TENANTS), self.rng.getrandbits(62), 10, number * EVERY_S, f"ask-{number}")
            for number in range(count)
        ]
        self.judge = Judge(self.world, self.asks)
        self.steps = 0

    def run(self) -> list[str]:
        """Run it; returns what did not hold."""
        self.world.run(self._main)
        return self.judge.wrong

    async def _main(self) -> None:
        await self.world.start_all()
        NODE.set("client#1")
        work = [asyncio.create_task(self._read(ask)) for ask in self.asks]
        beside = [asyncio.create_task(self._skew()), asyncio.create_task(self._look())]
        await asyncio.wait(work)
        for task in beside:
            task.cancel()
        self.judge.streams()
        await self.judge.store()
        self.judge.wrong += [f"request {ask.number}: {ask.error}" for ask in self.asks if ask.error]

    async def _read(self, ask: Ask) -> None:
        await Client(self.world, ask, ask.number % 2, self.judge.finished).read()

    async def _skew(self) -> None:
        names = [name for service in self.world.counts for name in self.world.names(service)]
        while True:
            await asyncio.sleep(self.rng.uniform(*STEPS_S))
            self.steps += 1
            name, skew_s = self.rng.choice(names), self.rng.uniform(-SKEW_S, SKEW_S)
            self.world.tell(f"the wall clock of {name} is {skew_s:+.1f} s off")
            self.world.loop.skew_s[name] = skew_s

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(EVERY_S / 4)
            parts: Any = self.world.lives["orchestrator-1"]
            for name in self.world.names("worker"):
                if not parts.fleet.lives(self.world.node_id(name), 1):
                    self.judge.wrong.append(f"{name} lives, and was dropped at {self.world.loop.time():.0f} s")
            for name in self.world.names("gateway"):
                core: Any = self.world.lives[name]
                if parts.leases.lapsed(core.session_id, parts.clock.now_s()):
                    self.judge.wrong.append(f"the session of {name} lapsed at {self.world.loop.time():.0f} s")
