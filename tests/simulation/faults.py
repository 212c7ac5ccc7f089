"""Faults of a scenario: what breaks, when, and when all of it is over."""

import asyncio
import random
from collections.abc import Sequence

from world import World

KINDS = ("kill", "stop", "part", "mute", "store", "forget", "slow", "skew", "back", "drain", "twice")
APART_S = 30.0  # that any two clocks may be apart, as overlay.md says


class Faults:
    """Breaks a world.

    Args:
        world: which.
        rng: all chance.
        kinds: what may happen.
    """

    def __init__(self, world: World, rng: random.Random, kinds: Sequence[str] = KINDS) -> None:
        self.world, self.rng, self.kinds = world, rng, tuple(kinds)

    async def run(self, until_s: float, most: int = 6) -> None:
        """Let some things happen, then heal all."""
        rng, begin_s = self.rng, self.world.loop.time()
        count = rng.randint(0, most) if self.kinds else 0
        for at_s in sorted(rng.uniform(0.0, until_s - 1.0) for _ in range(count)):
            await asyncio.sleep(max(0.0, begin_s + at_s - self.world.loop.time()))
            getattr(self, f"_{rng.choice(self.kinds)}")()
        await asyncio.sleep(max(0.0, begin_s + until_s - self.world.loop.time()))
        self._heal()

    def _victim(self, *services: str) -> str:
        return self.rng.choice([name for service in services for name in self.world.names(service)])

    def _later(self, least_s: float, most_s: float, work: object, *args: object) -> None:
        self.world.loop.call_later(self.rng.uniform(least_s, most_s), work, *args)  # type: ignore[arg-type]

    def _kill(self) -> None:
        victim = self._victim("worker", "worker", "gateway", "orchestrator")
        if self.world.lives.get(victim) is not None:
            self.world.kill(victim)
            self._later(0.1, 1.5, self._again, victim)

    def _again(self, name: str) -> None:
        if name not in self.world.lives:
            self.world.begin(name)

    def _stop(self) -> None:
        self.world.stop(self._victim("worker", "worker", "gateway", "orchestrator"), self.rng.uniform(0.1, 3.0))

    def _drain(self) -> None:
        self.world.drain(self._victim("worker", "worker", "gateway", "orchestrator"), self.rng.uniform(0.2, 2.0))

    def _part(self) -> None:
        one, other = self._victim("gateway", "orchestrator"), self._victim("worker", "orchestrator")
        if one != other:
            self.world.tell(f"{one} and {other} cannot reach each other")
            self.world.net.parted(one, other)
            self._later(0.1, 2.0, self._join, one, other)

    def _join(self, one: str, other: str) -> None:
        self.world.tell(f"{one} and {other} reach each other again")
        self.world.net.cut.discard(frozenset({one, other}))

    def _mute(self) -> None:
        one, other = self._victim("gateway", "orchestrator"), self._victim("worker", "orchestrator")
        if self.rng.random() < 0.5:
            one, other = other, one
        if one != other:
            for_s = self.rng.uniform(0.1, 2.5)
            self.world.tell(f"what {one} sends does not reach {other} for {for_s:.2f} s")
            self.world.net.mute[one, other] = self.world.loop.time() + for_s

    def _store(self) -> None:
        self.world.tell("the store is gone")
        self.world.disk.gone = True
        self._later(0.1, 2.0, self._store_back)

    def _store_back(self) -> None:
        self.world.tell("the store is back")
        self.world.disk.gone = False

    def _forget(self) -> None:
        self.world.tell("the store forgets to acknowledge")
        self.world.disk.forget = self.rng.choice((0.2, 0.5))
        self._later(0.1, 1.0, self._remember)

    def _remember(self) -> None:
        self.world.disk.forget = 0.0

    def _slow(self) -> None:
        self.world.tell("the wires are slow")
        self.world.net.delay_s = (0.001, self.rng.choice((0.02, 0.1)))
        self._later(0.2, 2.0, self._fast)

    def _fast(self) -> None:
        self.world.net.delay_s = (0.0002, 0.002)

    def _twice(self) -> None:
        self.world.tell("calls are delivered twice")
        self.world.net.twice = 0.3
        self._later(0.2, 2.0, self._once)

    def _once(self) -> None:
        self.world.net.twice = 0.0

    def _skew(self) -> None:
        self._clock(self._victim("worker", "gateway", "orchestrator"), self.rng.uniform(-APART_S / 2, APART_S / 2))

    def _back(self) -> None:
        """A clock is ahead, and then is set right: it steps back."""
        victim = self._victim("worker", "gateway", "orchestrator")
        self._clock(victim, self.rng.uniform(1.0, APART_S / 2))
        self._later(0.1, 1.0, self._clock, victim, 0.0)

    def _clock(self, name: str, skew_s: float) -> None:
        self.world.tell(f"the wall clock of {name} is {skew_s:+.1f} s off")
        self.world.loop.skew_s[name] = skew_s

    def _heal(self) -> None:
        world = self.world
        world.tell("all faults are over")
        world.disk.gone, world.disk.forget, world.net.twice = False, 0.0, 0.0
        world.net.cut.clear()
        world.net.mute.clear()
        self._fast()
        world.loop.skew_s.clear()
        for service in ("orchestrator", "worker", "gateway"):
            for name in world.names(service):
                self._again(name)
