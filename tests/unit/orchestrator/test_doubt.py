"""Doubt: three unanswered pings end it, a link or an answer puts it off."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from tether_orchestrator import doubt as module
from tether_orchestrator.doubt import Doubt
from tether_orchestrator.task import Tasks


class Overlay:
    """Answers pings as told, and counts them."""

    def __init__(self) -> None:
        self.answer: float | None = None
        self.pings = 0
        self.asked = asyncio.Event()
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def ping(self, _node_id: str) -> float | None:
        self.pings += 1
        self.asked.set()
        await self.go_on.wait()
        return self.answer


class World:
    """A doubt with what it says."""

    def __init__(self, tasks_max: int = 8) -> None:
        self.overlay, self.tasks = Overlay(), Tasks(tasks_max)
        self.dead: list[tuple[str, int]] = []
        self.over: list[tuple[str, int]] = []
        self.declared = asyncio.Event()
        self.doubt = Doubt(self.overlay, self.tasks, dead=self._dead, over=lambda *life: self.over.append(life))

    def _dead(self, worker: str, incarnation: int) -> None:
        self.dead.append((worker, incarnation))
        self.declared.set()


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    yield world
    await world.tasks.close()


async def test_worker_that_answers_no_ping_is_dead(world: World) -> None:
    world.doubt.lost("w", 3)
    await asyncio.wait_for(world.declared.wait(), 5)
    assert (world.dead, world.overlay.pings) == ([("w", 3)], 3)


async def test_worker_that_answers_is_asked_again_until_it_is_silent(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_AGAIN_S", 0.01)
    world.overlay.answer = 0.001
    world.doubt.lost("w", 3)
    await asyncio.wait_for(world.overlay.asked.wait(), 5)
    assert world.dead == []
    world.overlay.answer = None
    await asyncio.wait_for(world.declared.wait(), 5)


async def test_worker_that_answers_for_ever_without_a_link_is_given_up(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_AGAIN_S", 0.001)
    world.overlay.answer = 0.001
    world.doubt.lost("w", 3)
    await asyncio.wait_for(world.declared.wait(), 5)


async def test_worker_that_links_again_is_not_dead(world: World) -> None:
    world.overlay.go_on.clear()
    world.doubt.lost("w", 3)
    await asyncio.wait_for(world.overlay.asked.wait(), 5)
    world.doubt.heard("w", 3)
    world.overlay.go_on.set()
    for _turn in range(10):
        await asyncio.sleep(0)
    assert (len(world.tasks), world.dead, world.over) == (0, [], [])


async def test_worker_that_restarted_has_lost_its_former_life(world: World) -> None:
    world.doubt.lost("w", 3)
    world.doubt.heard("w", 4)
    assert (world.dead, world.over) == ([], [("w", 3)])


async def test_worker_that_withdrew_is_dead_at_once(world: World) -> None:
    world.doubt.lost("w", 3)
    world.doubt.gone("w")
    assert world.dead == [("w", 3)]
    world.doubt.gone("w")
    assert world.dead == [("w", 3)]


async def test_worker_is_declared_dead_when_nobody_can_ask() -> None:
    world = World(tasks_max=0)
    world.doubt.lost("w", 3)
    assert world.dead == [("w", 3)]
