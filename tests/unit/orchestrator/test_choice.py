"""Choice: nobody is refused right after a stall, and an equal engine is preferred to any other, but not to none."""

from typing import Any, cast

import pytest

from tether.errors import Reason, TetherError
from tether.store.jobs import Worker
from tether_orchestrator.choice import NEW, AtOnce, Want
from tether_orchestrator.clock import SETTLE_MS, STALL_MS, AttentiveClock


class Scheduler:
    """Finds a worker at the try `at`; each takes `step_ms`, and the loop ticks after it."""

    def __init__(self, reason: Reason, step_ms: int, at: int = 3) -> None:
        self.reason, self.step_ms, self.left = reason, step_ms, at
        self.now_ms = 0
        self.clock = AttentiveClock(lambda: self.now_ms)

    def resolve(self, header: Any, *, again: bool = False) -> Any:
        return header

    def give_back(self, worker: Worker) -> None:
        raise AssertionError(worker)

    def choose(self, request: object, exclude: object = (), fingerprint: bytes = b"") -> Worker:
        self.now_ms += self.step_ms
        self.clock.tick()
        self.left -= 1
        if self.left:
            raise TetherError(self.reason, "none")
        return Worker("w", 1, "127.0.0.1:9")


async def chosen(scheduler: Scheduler, stall_ms: int) -> Worker:
    scheduler.now_ms += stall_ms
    scheduler.clock.tick()
    return (await AtOnce(scheduler, scheduler.clock).choose(cast("Any", None), NEW)).worker


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


class Fleet:
    """Workers by the fingerprint of their engine."""

    def __init__(self, workers: dict[str, bytes]) -> None:
        self.workers = workers

    def resolve(self, header: Any, *, again: bool = False) -> Any:
        return header

    def give_back(self, worker: Worker) -> None:
        raise AssertionError(worker)

    def choose(self, request: object, exclude: Any = (), fingerprint: bytes = b"") -> Worker:
        for name, made in self.workers.items():
            if name not in exclude and fingerprint in (b"", made):
                return Worker(name, 1, "127.0.0.1:9")
        raise TetherError(Reason.NO_WORKER, "none")


@pytest.mark.parametrize(
    ("want", "expected"),
    [
        pytest.param(Want(fingerprint=b"two"), "b", id="equal"),
        pytest.param(Want(fingerprint=b"three"), "a", id="none equal"),
        pytest.param(Want(exclude=["b"], fingerprint=b"two"), "a", id="equal one is gone"),
        pytest.param(Want(), "a", id="any"),
    ],
)
async def test_choice_prefers_the_engine_that_goes_on_exactly(want: Want, expected: str) -> None:
    chooser = AtOnce(Fleet({"a": b"one", "b": b"two"}), AttentiveClock(lambda: 0))
    assert (await chooser.choose(cast("Any", None), want)).worker.node == expected
