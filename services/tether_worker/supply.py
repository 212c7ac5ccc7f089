"""Which models a worker serves, and how they come to be loaded.

Wanted is what the settings name and the registry has published; each is fetched, verified and opened as its format
says. One that fails is tried again later and never stops the others.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import Protocol

import structlog

from tether.errors import TetherError
from tether.v1 import registry_pb2
from tether_worker.config import Config
from tether_worker.engine.execution import ExecutionEngine, OnStep
from tether_worker.engine.runtime import ModelRuntime
from tether_worker.engine.simulated import SimulatedRuntime
from tether_worker.fault import read_faults
from tether_worker.faulty import FaultyRuntime
from tether_worker.model import Loading, ModelName, ModelTable, Served

RETRY_S = 5.0  # a registry or store that was away is asked again soon (a guess)
RETIRE_S = 60.0  # jobs of a model that is served no longer may end within
FORMATS = frozenset({"onnx-decoder", "onnx"})
_log = structlog.get_logger("tether.worker")


class Opener(Protocol):
    """Fetches, verifies and opens a model."""

    async def open(self, model: registry_pb2.Model) -> tuple[ModelRuntime, int]:
        """The runtime and the bytes of memory it takes; TetherError where it cannot be had."""


class SimulatedOpener:
    """Opens any model as a paced engine without one."""

    def __init__(self, config: Config) -> None:
        self._config = config

    async def open(self, model: registry_pb2.Model) -> tuple[ModelRuntime, int]:
        """A `SimulatedRuntime`."""
        return simulated(self._config, model.context_tokens or 4_096), 0


def simulated(config: Config, context_tokens_max: int = 4_096) -> SimulatedRuntime:
    """A paced engine as the settings say, with the faults that they order."""
    return FaultyRuntime(
        read_faults(config.simulate_faults),
        slots=config.slots,
        token_ms=config.simulated_token_ms,
        context_tokens_max=context_tokens_max,
    )


def wanted(models: Iterable[registry_pb2.Model], config: Config) -> dict[ModelName, registry_pb2.Model]:
    """Published versions that this worker is to serve."""
    chosen = frozenset(config.models)
    return {
        ModelName(model.model_id, model.version, model.digest): model
        for model in models
        if not chosen or chosen & {model.model_id, f"{model.model_id}:{model.version}"}
        if config.engine == "simulated" or (model.format in FORMATS and _fits(model, config))
    }


def _fits(model: registry_pb2.Model, config: Config) -> bool:
    classes = model.requirements.gpu_classes
    return not classes or config.gpu_class in classes


class Supply:
    """Keeps the model table as the catalogue wants it.

    Args:
        config: settings.
        models: the table.
        opener: fetches and opens.
        on_step: called with what engines make.
    """

    def __init__(self, config: Config, models: ModelTable, opener: Opener, on_step: OnStep) -> None:
        self._config = config
        self._models = models
        self._opener = opener
        self._on_step = on_step
        self._loading: dict[ModelName, str] = {}
        self._changed = asyncio.Event()
        self._retiring: set[asyncio.Task[None]] = set()

    def loading(self) -> tuple[Loading, ...]:
        """Models that are on their way, those that failed and are tried again included."""
        return tuple(Loading(name, error) for name, error in self._loading.items())

    def changed(self) -> None:
        """The catalogue has changed."""
        self._changed.set()

    async def run(self, published: Callable[[], Iterable[registry_pb2.Model]]) -> None:
        """Follow the catalogue until cancelled."""
        while True:
            self._changed.clear()
            whole = await self.reconcile(published())
            waited = asyncio.ensure_future(self._changed.wait())
            try:
                await asyncio.wait([waited], timeout=None if whole else RETRY_S)
            finally:
                waited.cancel()

    async def reconcile(self, published: Iterable[registry_pb2.Model]) -> bool:
        """Load what is wanted, retire what is not; returns whether all is as wanted."""
        want = wanted(published, self._config)
        have = {served.name: served for served in self._models}
        for name, served in have.items():
            if name not in want:
                self._models.pop(name.model_id, name.version)
                self._retire(served)
        missing = [name for name in want if name not in have]
        self._loading = {name: self._loading.get(name, "") for name in missing}
        results = [await self.load(want[name]) for name in missing]
        return all(results)

    async def load(self, model: registry_pb2.Model) -> bool:
        """Open one model and serve it; False where that failed."""
        name = ModelName(model.model_id, model.version, model.digest)
        try:
            runtime, memory_bytes = await self._opener.open(model)
        except TetherError as error:
            _log.error("model cannot be loaded", model=model.name, reason=error.reason.name, error=error.message)
            self._loading[name] = f"{error.reason.name}: {error.message}"
            return False
        self._loading.pop(name, None)
        self.serve(name, runtime, memory_bytes)
        return True

    def serve(self, name: ModelName, runtime: ModelRuntime, memory_bytes: int = 0) -> None:
        """Serve a runtime that is there."""
        engine = ExecutionEngine(runtime, self._on_step, queue_jobs_max=self._config.queue_max)
        engine.start()
        self._models.add(Served(name, engine, memory_bytes))
        _log.info("model is served", model=f"{name.model_id}:{name.version}", kind=runtime.kind)

    async def drain(self, grace_s: float) -> bool:
        """Let every engine finish; returns whether all did."""
        done = await asyncio.gather(*(served.engine.drain(grace_s) for served in self._models))
        return all(done)

    async def close(self) -> None:
        """End every engine."""
        for task in self._retiring:
            task.cancel()
        await asyncio.gather(*self._retiring, return_exceptions=True)
        await asyncio.gather(*(served.engine.close() for served in self._models))

    def _retire(self, served: Served) -> None:
        task = asyncio.create_task(self._retired(served))
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)

    async def _retired(self, served: Served) -> None:
        try:
            await served.engine.drain(RETIRE_S)
        finally:
            await served.engine.close()
