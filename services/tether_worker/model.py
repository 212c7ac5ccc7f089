"""Models that this worker serves: each with its engine, found by name, version and digest."""

from collections.abc import Iterator
from dataclasses import dataclass

from tether.errors import Reason, TetherError
from tether.v1 import health_pb2, infer_pb2
from tether_worker.engine.execution import ExecutionEngine
from tether_worker.engine.runtime import Continuity

_CONTINUITY = {
    Continuity.EXACT: infer_pb2.Infer.CONTINUITY_EXACT,
    Continuity.COHERENT: infer_pb2.Infer.CONTINUITY_COHERENT,
    Continuity.RERUN: infer_pb2.Infer.CONTINUITY_RERUN,
}


@dataclass(frozen=True, slots=True)
class ModelName:
    """A version of a model.

    Attributes:
        model_id: its name.
        version: MAJOR.MINOR.
        digest: SHA-256 of its manifest, 32 bytes.
    """

    model_id: str
    version: str
    digest: bytes

    def to_proto(self) -> health_pb2.Health.ModelRef:
        """As reports and announcements name it."""
        return health_pb2.Health.ModelRef(model_id=self.model_id, version=self.version, digest=self.digest)


@dataclass(frozen=True, slots=True)
class Loading:
    """A model that is on its way.

    Attributes:
        name: which one.
        error: why it failed when it was last tried, or empty.
    """

    name: ModelName
    error: str = ""


@dataclass(frozen=True, slots=True)
class Served:
    """A model that is loaded.

    Attributes:
        name: which one.
        engine: runs it.
        memory_bytes: what it takes while loaded.
    """

    name: ModelName
    engine: ExecutionEngine
    memory_bytes: int = 0

    @property
    def slots_free(self) -> int:
        """Sequences it would start now."""
        stats = self.engine.stats
        return max(0, self.engine.runtime.slots_max - stats.running - stats.queued)

    def to_proto(self) -> health_pb2.Health.Engine:
        """As reports name its engine."""
        runtime = self.engine.runtime
        return health_pb2.Health.Engine(
            model=self.name.to_proto(),
            kind=runtime.kind,
            fingerprint=runtime.fingerprint,
            continuity=_CONTINUITY[runtime.continuity],
        )


class ModelTable:
    """Loaded models by (name, version)."""

    def __init__(self) -> None:
        self._served: dict[tuple[str, str], Served] = {}

    def __len__(self) -> int:
        return len(self._served)

    def __iter__(self) -> Iterator[Served]:
        return iter(list(self._served.values()))

    def add(self, served: Served) -> None:
        """Serve a model from now on."""
        self._served[served.name.model_id, served.name.version] = served

    def pop(self, model_id: str, version: str) -> Served | None:
        """Serve a model no longer; the caller ends its engine."""
        return self._served.pop((model_id, version), None)

    def find(self, model_id: str, version: str, digest: bytes) -> Served:
        """The engine of a version; TetherError NO_WORKER where this worker has none of that digest."""
        served = self._served.get((model_id, version))
        if served is None or served.name.digest != digest:
            raise TetherError(Reason.NO_WORKER, f"This worker does not serve {model_id}:{version}.")
        return served

    def newest(self, model_id: str, version: str) -> Served:
        """The engine of a version, or of the newest; TetherError MODEL_UNKNOWN or VERSION_UNKNOWN."""
        versions = [served for served in self if served.name.model_id == model_id]
        if not versions:
            raise TetherError(Reason.MODEL_UNKNOWN, f"This worker does not serve {model_id}.")
        chosen = [served for served in versions if version in ("", served.name.version)]
        if not chosen:
            raise TetherError(Reason.VERSION_UNKNOWN, f"This worker does not serve version {version} of {model_id}.")
        return max(chosen, key=lambda served: tuple(int(part) for part in served.name.version.split(".")))
