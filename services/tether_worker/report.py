"""What a worker says of itself: one report, made from its tables. Pure but for reading the machine's memory."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tether.v1 import health_pb2, identity_pb2
from tether_worker.config import Config
from tether_worker.model import Loading, Served

Report = health_pb2.Health.Report
_ERROR_CHARS_MAX = 256  # as health.proto says; a line for people
_MEMINFO = Path("/proc/meminfo")


@dataclass(frozen=True, slots=True)
class Self:
    """What does not change in one life.

    Attributes:
        worker_id: node id.
        incarnation: life.
        config: settings.
    """

    worker_id: str
    incarnation: int
    config: Config


@dataclass(frozen=True, slots=True)
class Now:
    """What changes.

    Attributes:
        served: models that are loaded.
        loading: models that are being fetched or loaded, or are tried again soon.
        sequence: number of the report, from 1.
        started_total: starts accepted so far.
        draining: takes no more.
        exclusive: a job that must be alone runs or waits; there is no room beside it.
        tokens_per_second: made lately.
        address: host:port of its gRPC server.
    """

    served: tuple[Served, ...]
    loading: tuple[Loading, ...]
    sequence: int
    started_total: int
    draining: bool
    exclusive: bool
    tokens_per_second: float
    address: str


def make_report(me: Self, now: Now) -> Report:
    """The report of a worker."""
    ram_total, ram_free = memory_bytes()
    stats = [served.engine.stats for served in now.served]
    queue_max = me.config.queue_max * len(now.served)
    return Report(
        worker_id=me.worker_id,
        incarnation=me.incarnation,
        address=now.address,
        region=me.config.region,
        gpu_class=me.config.gpu_class,
        latency_hops=me.config.latency_hops,
        sequence=now.sequence,
        started_total=now.started_total,
        draining=now.draining,
        capacity=health_pb2.Health.Capacity(
            slots=sum(served.engine.runtime.slots_max for served in now.served),
            slots_free=0 if now.exclusive else sum(served.slots_free for served in now.served),
            queue_depth=queue_max if now.exclusive else sum(one.queued for one in stats),
            queue_max=queue_max,
            tokens_per_second=now.tokens_per_second,
        ),
        model_cache=[*_ready(now.served), *_loading(now.loading)],
        supported=[one.name.to_proto() for one in now.served],
        engines=[served.to_proto() for served in now.served],
        ram_total_bytes=ram_total,
        ram_free_bytes=ram_free,
    )


def make_presence(me: Self, report: Report) -> identity_pb2.Presence:
    """What a worker announces on its presence topic."""
    named = b"".join(ref.SerializeToString(deterministic=True) for ref in report.supported)
    return identity_pb2.Presence(
        worker_id=me.worker_id,
        role=identity_pb2.ROLE_WORKER,
        addresses=[report.address],
        gpu_class=me.config.gpu_class,
        capacity=report.capacity.slots,
        latency_hops=me.config.latency_hops,
        models_digest=hashlib.sha256(named).digest(),
    )


def memory_bytes(meminfo: Path = _MEMINFO) -> tuple[int, int]:
    """Total and free main memory in bytes; zeros where the system does not say."""
    try:
        lines = meminfo.read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError):
        return 0, 0
    fields = {key: value for key, _, value in (line.partition(":") for line in lines)}
    return _kib(fields.get("MemTotal", "")), _kib(fields.get("MemAvailable", ""))


def _kib(value: str) -> int:
    number = value.strip().removesuffix(" kB")
    return int(number) * 1_024 if number.isdigit() else 0


def _ready(served: Iterable[Served]) -> list[health_pb2.Health.CachedModel]:
    ready = health_pb2.Health.CACHE_STATE_READY
    return [
        health_pb2.Health.CachedModel(model=one.name.to_proto(), state=ready, memory_bytes=one.memory_bytes)
        for one in served
    ]


def _loading(models: Iterable[Loading]) -> list[health_pb2.Health.CachedModel]:
    state = health_pb2.Health.CACHE_STATE_LOADING
    return [
        health_pb2.Health.CachedModel(model=one.name.to_proto(), state=state, error=one.error[:_ERROR_CHARS_MAX])
        for one in models
    ]
