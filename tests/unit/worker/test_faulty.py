"""Faults happen where they were ordered, and nowhere else."""

from typing import Any

import pytest

from tether.errors import Reason
from tether_worker.config import Config
from tether_worker.engine.runtime import ChatPrompt, Emitted, Finish, GenerationJob, Phase, Sampling, TextPrompt, Turn
from tether_worker.fault import Faults, read_faults
from tether_worker.faulty import POISON_EXIT, FaultyRuntime


class DiedError(Exception):
    """The process would have ended."""


def die(status: int) -> None:
    raise DiedError(status)


def run(faults: Faults, prompt: Any, *, steps: int = 40, key: Any = ("j", 1, 0)) -> list[Emitted]:
    """What a job makes in so many steps."""
    now_s = 0.0

    def pause(seconds: float) -> None:
        nonlocal now_s
        now_s += seconds

    runtime = FaultyRuntime(faults, die=die, slots=1, token_ms=10, clock=lambda: now_s, pause=pause)
    runtime.open(GenerationJob(key=key, prompt=prompt, sampling=Sampling(max_tokens=5)))
    made = [piece for _ in range(steps) for piece in runtime.step()]
    if runtime.slots_free == 0:
        assert runtime.progress(0).phase is Phase.RUNNING
    return made


def test_without_faults_it_is_the_paced_engine() -> None:
    assert run(Faults(), TextPrompt("hello"))[-1].finish is Finish.LENGTH


def test_poison_ends_the_process_after_some_tokens() -> None:
    faults = read_faults("poison_text=BOOM,after_tokens=2")
    with pytest.raises(DiedError, match=str(POISON_EXIT)):
        run(faults, ChatPrompt((Turn("user", "now BOOM"),)))
    assert len(run(faults, TextPrompt("now"))) == 5


def test_text_that_fails_fails_after_what_was_made() -> None:
    made = run(read_faults("fail_text=BAD,after_tokens=3"), TextPrompt("BAD"))
    assert [len(piece.token_ids) for piece in made] == [1, 1, 1, 0]
    assert made[-1].error is not None
    assert made[-1].error.reason is Reason.ENGINE_FAILED


def test_text_that_stalls_makes_nothing_more_and_does_not_end() -> None:
    made = run(read_faults("stall_text=WAIT,after_tokens=1"), TextPrompt("WAIT"))
    assert [piece.finish for piece in made] == [None]


def test_rate_fails_its_share_and_the_same_attempts_again() -> None:
    def failed(epoch: int) -> bool:
        return run(read_faults("fail_rate=0.3"), TextPrompt("x"), key=("j", epoch, 0))[-1].finish is Finish.FAILED

    first = [failed(epoch) for epoch in range(200)]
    assert 40 <= sum(first) <= 80
    assert [failed(epoch) for epoch in range(20)] == first[:20]


@pytest.mark.parametrize(
    "text", ["boom", "poison_text", "poison_text=", "fail_rate=2", "fail_rate=x", "after_tokens=-1"]
)
def test_faults_that_say_nothing_are_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - pydantic shows whichever it is
        read_faults(text)


def test_faults_are_for_simulated_engines_alone(tmp_path: Any) -> None:
    assert Config(state=tmp_path, engine="simulated", simulate_faults="fail_rate=0.1").simulate_faults
    with pytest.raises(ValueError, match="simulated engine"):
        Config(state=tmp_path, simulate_faults="fail_rate=0.1")
