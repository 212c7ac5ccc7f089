"""The store's health: one failure or a stall refuses all but beats at once, and the first write that holds ends it."""

import asyncio
from typing import Any, cast

import pytest

from tether.errors import Reason, TetherError
from tether_orchestrator.store_health import STALL_S, StoreHealth, guarded, probing


class Store:
    """A store that works, fails, or hangs."""

    store_id = b"s" * 16

    def __init__(self) -> None:
        self.fault: TetherError | None = None
        self.hold = asyncio.Event()
        self.hold.set()
        self.calls = 0

    def job_id(self, *parts: str) -> bytes:
        return "".join(parts).encode()

    async def reserve(self, batch: list[Any]) -> list[Any]:
        self.calls += 1
        await self.hold.wait()
        if self.fault is not None:
            raise self.fault
        return batch

    renew = get = verify_quotas = reserve


class World:
    """A store with both its faces."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.store = Store()
        self.health = StoreHealth(lambda: self.now_s)
        self.guarded: Any = guarded(cast("Any", self.store), self.health)
        self.probing: Any = probing(cast("Any", self.store), self.health)


@pytest.fixture
async def world() -> World:
    return World()


def gone(reason: Reason = Reason.STORE_UNAVAILABLE) -> TetherError:
    return TetherError(reason, "gone")


async def test_store_that_works_is_passed_through(world: World) -> None:
    assert await world.guarded.reserve([1]) == [1]
    assert world.guarded.store_id == b"s" * 16
    assert world.guarded.job_id("a", "b") == b"ab"
    assert world.health.ok


@pytest.mark.parametrize("reason", [Reason.STORE_UNAVAILABLE, Reason.STORE_UNUSABLE])
async def test_store_that_failed_is_not_asked_again_but_by_beats(world: World, reason: Reason) -> None:
    back: list[int] = []
    world.health.on_return(lambda: back.append(1))
    world.store.fault = gone(reason)
    with pytest.raises(TetherError):
        await world.guarded.reserve([1])
    assert not world.health.ok
    calls = world.store.calls
    with pytest.raises(TetherError) as caught:
        await world.guarded.get([1])
    assert (caught.value.reason, world.store.calls) == (Reason.STORE_UNAVAILABLE, calls)
    assert caught.value.retry_after_s
    world.store.fault = None
    await world.probing.get([1])  # a read shows nothing
    assert not world.health.ok
    await world.probing.renew([])
    assert world.health.ok
    assert back == [1]
    assert await world.guarded.reserve([1]) == [1]


async def test_other_errors_say_nothing_of_the_store(world: World) -> None:
    world.store.fault = gone(Reason.JOB_UNKNOWN)
    with pytest.raises(TetherError):
        await world.guarded.reserve([1])
    assert world.health.ok


async def test_store_that_hangs_is_gone_until_it_answers(world: World) -> None:
    world.store.hold.clear()
    waiting = asyncio.create_task(world.guarded.reserve([1]))
    await asyncio.sleep(0)
    world.now_s = STALL_S
    assert world.health.ok
    world.now_s = STALL_S + 0.1
    assert not world.health.ok
    with pytest.raises(TetherError):
        world.health.check()
    world.store.hold.set()
    assert await waiting == [1]
    assert world.health.ok


async def test_long_look_through_the_tables_is_no_stall(world: World) -> None:
    world.store.hold.clear()
    looking = asyncio.create_task(world.guarded.verify_quotas([1]))
    await asyncio.sleep(0)
    world.now_s = 10 * STALL_S
    assert world.health.ok
    world.store.hold.set()
    assert await looking == [1]


async def test_call_that_is_given_up_is_not_counted_for_ever(world: World) -> None:
    world.store.hold.clear()
    waiting = asyncio.create_task(world.guarded.reserve([1]))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    world.now_s = 10 * STALL_S
    assert world.health.ok
