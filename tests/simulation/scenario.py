"""One seed: a region, requests, faults, and what must hold. Safety all along; liveness once the faults are over.

A request that never began may be refused while things are broken; one that has begun must end whole. When all is quiet
the books must add up, every job has ended, every whole answer is paid once, and nobody holds anything any more.
"""

import asyncio
import random
from collections.abc import Coroutine, Sequence
from typing import Any

from ask import Ask, Client
from faults import KINDS, Faults
from judge import Judge
from loop import NODE
from mix import Mix, draw
from world import World

HEALED_S = 4.0  # after the start: no fault later
LIVELY_S = 45.0  # after that everything must have ended: leases, graces, journals and backoffs, with room
OVERDUE_S = 125.0  # a job that its dead driver never started stands until a minute after its deadline
QUIET_STEP_S = 0.5


class Scenario:
    """What one seed does.

    Args:
        seed: of everything.
        faults: kinds of faults that may happen.
        mix: what it consists of; drawn from the seed where None.
    """

    def __init__(self, seed: int, faults: Sequence[str] = KINDS, mix: Mix | None = None) -> None:
        self.seed, self.rng = seed, random.Random(seed ^ 0x5EED)
        self.mix = mix or draw(self.rng)
        self.world = World(seed, self.mix.setting)
        self.asks = self.mix.asks
        self.judge = Judge(self.world, self.asks)
        self.faults = Faults(self.world, self.rng, faults)

    @property
    def wrong(self) -> list[str]:
        """What did not hold."""
        return self.judge.wrong

    def run(self) -> list[str]:
        """Run it; returns what did not hold."""
        self.world.tell(f"{self.world.counts}, with {', '.join(self.mix.themes) or 'nothing special'}")
        self.world.run(self._main)
        return self.wrong

    async def _main(self) -> None:
        await self.world.start_all()
        NODE.set("client#1")
        work = [asyncio.create_task(work) for ask in self.asks for work in self._work(ask)]
        await self.faults.run(HEALED_S)
        _, late = await asyncio.wait(work, timeout=LIVELY_S)
        for task in late:
            task.cancel()
        await self._rest()
        self.judge.streams()
        await self.judge.store()

    def _work(self, ask: Ask) -> list[Coroutine[Any, Any, None]]:
        client = Client(self.world, ask, self.rng.randrange(2), self.judge.finished)
        return [client.read(), client.cancel()] if ask.cancel_s else [client.read()]

    async def _rest(self) -> None:
        """Wait until nothing is left, or for as long as that may take."""
        for step in range(int(OVERDUE_S / QUIET_STEP_S)):
            if not any(self.judge.left().values()):
                return
            if step * QUIET_STEP_S > LIVELY_S and not self.judge.forlorn():
                break
            await asyncio.sleep(QUIET_STEP_S)
        self.judge.rest()
