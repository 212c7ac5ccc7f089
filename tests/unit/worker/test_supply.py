"""Supply and report: what is loading is told as loading, with why it failed, and never as something that takes jobs."""

from pathlib import Path

from tether.errors import Reason, TetherError
from tether.v1.health_pb2 import Health
from tether.v1.registry_pb2 import Model
from tether_worker.config import Config
from tether_worker.engine.runtime import ModelRuntime
from tether_worker.engine.simulated import SimulatedRuntime
from tether_worker.model import ModelTable
from tether_worker.report import Now, Report, Self, make_report
from tether_worker.supply import Supply

MODEL = Model(name="demo:1.0", model_id="demo", version="1.0", digest=bytes(32), context_tokens=64)


class Opener:
    """Fails so often, then opens a simulated engine."""

    def __init__(self, failures: int) -> None:
        self.failures = failures

    async def open(self, model: Model) -> tuple[ModelRuntime, int]:
        self.failures -= 1
        if self.failures >= 0:
            raise TetherError(Reason.ARTIFACT_CORRUPT, "a piece does not match" + "." * 999)
        return SimulatedRuntime(slots=2, token_ms=1, context_tokens_max=64), 7


def told(config: Config, models: ModelTable, supply: Supply) -> Report:
    now = Now(tuple(models), supply.loading(), 1, 0, False, False, 0.0, "127.0.0.1:9")
    return make_report(Self("w" * 52, 1, config), now)


async def test_model_that_fails_to_load_is_told_as_loading_with_its_error_until_it_is_ready(tmp_path: Path) -> None:
    config, models = Config(state=tmp_path, engine="simulated"), ModelTable()
    supply = Supply(config, models, Opener(1), lambda *_: None)
    assert not await supply.reconcile([MODEL])
    report = told(config, models, supply)
    [cached] = report.model_cache
    assert (cached.model.model_id, cached.state) == ("demo", Health.CACHE_STATE_LOADING)
    assert cached.error.startswith("ARTIFACT_CORRUPT: a piece")
    assert len(cached.error) == 256
    assert not report.supported

    assert await supply.reconcile([MODEL])
    report = told(config, models, supply)
    [cached] = report.model_cache
    assert (cached.state, cached.error, len(report.supported)) == (Health.CACHE_STATE_READY, "", 1)
    assert supply.loading() == ()
    await supply.close()


async def test_model_that_is_wanted_no_longer_is_not_told_as_loading(tmp_path: Path) -> None:
    config, models = Config(state=tmp_path, engine="simulated"), ModelTable()
    supply = Supply(config, models, Opener(1), lambda *_: None)
    assert not await supply.reconcile([MODEL])
    assert await supply.reconcile([])
    assert supply.loading() == ()
