"""The first answer waits a little for a worker, and then says what is wrong in the worker's own words."""

import pytest

from tether.cli import first
from tether.cli.first import explain, when_ready
from tether.errors import Reason, TetherError
from tether.v1.control_pb2 import Worker
from tether.v1.health_pb2 import Health

LOADING = Health.CACHE_STATE_LOADING


class Work:
    """Fails so often with one reason, then answers."""

    def __init__(self, failures: int, reason: Reason = Reason.NO_WORKER) -> None:
        self.failures, self.reason, self.calls = failures, reason, 0

    async def __call__(self) -> None:
        self.calls += 1
        if self.calls <= self.failures:
            raise TetherError(self.reason, "1 worker is loading demo:1.0")


async def why() -> str:
    return "it is broken"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(first, "_AGAIN_S", 0.001)


async def test_first_answer_waits_for_a_worker_and_says_so_once(capsys: pytest.CaptureFixture[str]) -> None:
    work = Work(3)
    await when_ready(work, why, 30.0)
    assert work.calls == 4
    assert capsys.readouterr().err.count("1 worker is loading demo:1.0. Waiting up to 30 s") == 1


async def test_first_answer_gives_up_with_what_is_wrong() -> None:
    with pytest.raises(TetherError, match="it is broken") as caught:
        await when_ready(Work(1 << 30), why, 0.05)
    assert caught.value.reason is Reason.NO_WORKER


async def test_first_answer_does_not_wait_for_anything_else() -> None:
    work = Work(1, Reason.KEY_INVALID)
    with pytest.raises(TetherError):
        await when_ready(work, why, 30.0)
    assert work.calls == 1


def worker(error: str = "", model: str = "demo") -> Worker:
    cached = Health.CachedModel(model=Health.ModelRef(model_id=model, version="1.0"), state=LOADING, error=error)
    return Worker(name="w", report=Health.Report(model_cache=[cached]))


@pytest.mark.parametrize(
    ("workers", "words"),
    [
        (
            [worker(), worker("ARTIFACT_CORRUPT: a piece")],
            "1 of 2 workers could not load demo: ARTIFACT_CORRUPT: a piece",
        ),
        ([worker(), worker(model="other")], "1 of 2 workers still load demo"),
        ([worker(model="other")], "none of 1 workers serves demo"),
        ([], "no worker has a link"),
    ],
)
def test_explanation_is_the_workers_own(workers: list[Worker], words: str) -> None:
    assert words in explain(workers, "demo")
