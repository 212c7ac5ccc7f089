"""Open jobs: what a drain waits for, and how long an attempt ran. Workers: nobody is refused right after a stall."""

import asyncio
from typing import Any, cast

import pytest

from tether.errors import Reason, TetherError
from tether.store.jobs import Worker
from tether_orchestrator.clock import SETTLE_MS, STALL_MS, AttentiveClock
from tether_orchestrator.reservation import OpenJobs, Reservations


async def test_open_jobs_are_empty_once_all_have_ended() -> None:
    jobs = OpenJobs()
    await asyncio.wait_for(jobs.wait_empty(), 1)
    jobs.add(b"a", 10)
    jobs.add(b"b", 20)
    waiting = asyncio.create_task(jobs.wait_empty())
    jobs.discard(b"a")
    await asyncio.sleep(0)
    assert not waiting.done()
    jobs.discard(b"b")
    await asyncio.wait_for(waiting, 1)


def test_open_jobs_forget_what_is_overdue() -> None:
    jobs = OpenJobs()
    jobs.add(b"a", 10)
    jobs.add(b"b", 20)
    jobs.forget(15)
    assert len(jobs) == 1
    assert jobs.discard(b"unknown") == 0.0
    assert jobs.discard(b"b") >= 0.0


class Scheduler:
    """Finds a worker at the try `at`; each takes `step_ms`, and the loop ticks after it."""

    def __init__(self, reason: Reason, step_ms: int, at: int = 3) -> None:
        self.reason, self.step_ms, self.left = reason, step_ms, at
        self.now_ms = 0
        self.clock = AttentiveClock(lambda: self.now_ms)

    def choose(self, request: object, exclude: object) -> Worker:
        self.now_ms += self.step_ms
        self.clock.tick()
        self.left -= 1
        if self.left:
            raise TetherError(self.reason, "none")
        return Worker("w", 1, "127.0.0.1:9")


async def chosen(scheduler: Scheduler, stall_ms: int) -> Worker:
    scheduler.now_ms += stall_ms
    scheduler.clock.tick()
    parts: Any = [None] * 4
    reservations = Reservations(None, cast("Any", scheduler), *parts, timeout_s=1.0, clock=scheduler.clock)  # type: ignore[arg-type]
    return await reservations._choose(cast("Any", None))


async def test_choice_waits_for_workers_after_a_stall() -> None:
    assert (await chosen(Scheduler(Reason.NO_WORKER, 10), STALL_MS + 1)).node == "w"


@pytest.mark.parametrize(
    ("scheduler", "stall_ms"),
    [
        pytest.param(Scheduler(Reason.NO_WORKER, 10), STALL_MS, id="no stall"),
        pytest.param(Scheduler(Reason.NO_WORKER, SETTLE_MS // 2, at=9), STALL_MS + 1, id="long after it"),
        pytest.param(Scheduler(Reason.OVERLOADED, 10), STALL_MS + 1, id="another reason"),
    ],
)
async def test_choice_is_refused(scheduler: Scheduler, stall_ms: int) -> None:
    with pytest.raises(TetherError) as caught:
        await chosen(scheduler, stall_ms)
    assert caught.value.reason is scheduler.reason
