"""Breakers and ejections as they act: what jobs' ends change, who is told, and what operators see."""

import structlog

from tether.observe.trace import Tracing
from tether.placement.breaker import Breakers, Circuit
from tether.placement.outlier import Outliers, OutlierSettings
from tether.v1.control_pb2 import Breaker
from tether.v1.placement_pb2 import BreakerHint
from tether_orchestrator.clock import monotonic_ms
from tether_orchestrator.fleet import FleetView, Listener
from tether_orchestrator.metrics import BREAKERS_OPEN, EJECTED, EJECTIONS, TRIPPED

_log = structlog.get_logger("tether.orchestrator")
EJECTED_STATE = "ejected"


class Standings(Listener):
    """What is thought of models in regions, and of workers.

    Args:
        fleet: workers; it is listened to.
        breakers: by (model, region).
        outliers: workers beside their pools.
        tracing: each change is a span with an event.
    """

    def __init__(
        self,
        fleet: FleetView,
        breakers: Breakers,
        outliers: Outliers | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        self._fleet = fleet
        self._breakers = breakers
        self._outliers = outliers or Outliers(OutlierSettings())
        self._tracing = tracing or Tracing()
        fleet.listen(self)

    def ended(
        self, model: str, worker: str, *, failed: bool, s_per_token: float, lost: bool = False
    ) -> BreakerHint | None:
        """A job ended on a worker; returns what to tell gateways where that changed a breaker.

        Args:
            model: name of the model.
            worker: node id.
            failed: whether it failed by the worker's or model's fault.
            s_per_token: how long it took, per token.
            lost: whether it ended because the worker fell silent: with it end all its jobs, which says nothing about
                the model.
        """
        region = self._fleet.region(worker)
        if not region:
            return None  # a dead worker's last jobs say nothing about those that live
        now_s = monotonic_ms() / 1_000
        self._compare(model, region, worker, failed=failed, s_per_token=s_per_token, now_s=now_s)
        if lost:
            return None
        changed = self._breakers.ended(model, region, failed=failed, s_per_token=s_per_token, now_s=now_s)
        if changed is None:
            return None
        self._changed(model, region, changed)
        return BreakerHint(model_id=model, region=region, state=changed.value)

    def list(self) -> list[Breaker]:
        """Breakers that have seen anything, and workers that are ejected."""
        now_s = monotonic_ms() / 1_000
        found = [
            Breaker(
                model_id=one.model,
                region=one.region,
                state=one.circuit.value,
                error_rate=one.error_rate,
                trips=one.trips,
                why=one.why,
            )
            for one in self._breakers.all(now_s)
        ]
        return found + [
            Breaker(
                region=self._fleet.region(worker),
                worker_id=worker,
                state=EJECTED_STATE,
                error_rate=record.error_rate,
                trips=record.trips,
                why=record.why,
            )
            for worker, record in self._outliers.ejected()
        ]

    def tick(self) -> None:
        """Time passes: ejections end."""
        for worker in self._outliers.due(monotonic_ms() / 1_000):
            _log.info("worker_readmitted", worker=worker)
            self._fleet.set_health(worker, 1.0)
            self._count()

    def dead(self, worker: str) -> None:
        """A worker is gone."""
        self._outliers.forget(worker)
        self._count()

    def _compare(self, model: str, region: str, worker: str, *, failed: bool, s_per_token: float, now_s: float) -> None:
        pool = f"{model}@{region}"
        why = self._outliers.ended(worker, pool, failed=failed, s_per_token=s_per_token, now_s=now_s)
        if not why:
            return
        _log.warning("worker_ejected", worker=worker, model=model, region=region, why=why)
        self._fleet.set_health(worker, 0.0)
        EJECTIONS.inc()
        self._count()
        self._tell("eject", {"tether.worker": worker, "tether.why": why})

    def _changed(self, model: str, region: str, circuit: Circuit) -> None:
        TRIPPED.labels(circuit.value).inc()
        standing = [one for one in self._breakers.all(monotonic_ms() / 1_000) if one.circuit is not Circuit.CLOSED]
        BREAKERS_OPEN.set(len(standing))
        _log.warning("breaker_changed", model=model, region=region, state=circuit.value)
        self._tell(f"breaker {circuit.value}", {"tether.model": model, "tether.region": region})

    def _tell(self, what: str, facts: dict[str, str]) -> None:
        with self._tracing.span("breaker", attributes=dict(facts)) as span:
            span.event(what)

    def _count(self) -> None:
        EJECTED.set(len(list(self._outliers.ejected())))
