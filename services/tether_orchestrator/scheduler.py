"""Scheduler: resolves a request, asks policy and breakers, and picks the best worker of the fleet.

It chooses at once or says why not; who waits and who is shed is for `queue.py`.
Source: docs/design/design.md §4.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial

from tether._native import Query
from tether.errors import Reason, TetherError
from tether.placement import degrade
from tether.placement.breaker import Breakers
from tether.placement.query import Queries
from tether.placement.refusal import no_candidate
from tether.placement.resolve import Resolved, resolve
from tether.policy import Decision, enforce, evaluate
from tether.policy import Subject as PolicySubject
from tether.registry.catalogue import Catalogue
from tether.store.jobs import Worker
from tether.v1.control_pb2 import Breaker
from tether.v1.placement_pb2 import BreakerHint, ExplainResponse, Header
from tether.v1.policy_pb2 import DegradeTarget
from tether_orchestrator import explain
from tether_orchestrator.breakers import Standings
from tether_orchestrator.clock import monotonic_ms
from tether_orchestrator.fleet import FleetView

_EXCLUDE_MAX = 64  # as the native index takes
_PLACED_MAX = 1_024  # workers with a job that may still be given back: within a reservation's time
_NONE_LEFT = frozenset({Reason.NO_WORKER, Reason.OVERLOADED})


def lane(request: Resolved) -> str:
    """What a request waits for: its model version."""
    return f"{request.model.model_id}:{request.model.version}"


class Scheduler:
    """Chooses workers.

    Args:
        fleet: workers.
        catalogue: models.
        queries: native queries.
        breakers: by (model, region).
        standings: what is told of breakers, and which workers are ejected; made from the two where None.
        waiting: requests that wait for a model version, by its name.
    """

    def __init__(
        self,
        fleet: FleetView,
        catalogue: Catalogue,
        queries: Queries,
        breakers: Breakers,
        standings: Standings | None = None,
        waiting: Callable[[str], int] = lambda _lane: 0,
    ) -> None:
        self._fleet = fleet
        self._catalogue = catalogue
        self._queries = queries
        self._breakers = breakers
        self._standings = standings or Standings(fleet, breakers)
        self._waiting = waiting
        self._alone: dict[str, None] = {}
        self._placed: OrderedDict[str, tuple[str, str]] = OrderedDict()

    def decide(self, header: Header) -> Decision:
        """What policy says of a request."""
        subject = PolicySubject(header.tenant_id, header.model_id, header.priority)
        return evaluate(self._catalogue.policies(), subject)

    def resolve(self, header: Header, *, again: bool = False) -> Resolved:
        """Fill in what a request left open, and refuse what policy does not let run.

        Args:
            header: the request; it is changed.
            again: whether the job runs already: policy then says where it may go on, and no more whether.

        Raises:
            TetherError: MODEL_UNKNOWN, VERSION_UNKNOWN, POLICY_FORBIDS.
        """
        model = self._catalogue.model(header.model_id, header.version)
        decision = self.decide(header)
        if not again:
            enforce(decision, sealed=header.sealed)
            header.ClearField("degraded")  # that is ours to say
        return resolve(header, model, decision)

    def choose(
        self, request: Resolved, exclude: Sequence[str] = (), fingerprint: bytes = b"", *, alone: bool = False
    ) -> Worker:
        """The best worker; the job counts as placed there.

        Args:
            request: what is asked.
            exclude: node ids that are not wanted.
            fingerprint: of the engine that it should run on, where there is one with room; empty for any.
            alone: whether it should run with no other job beside it, where there is a worker for that.

        Raises:
            TetherError: OVERLOADED or NO_WORKER.
        """
        if not fingerprint:
            return self._choose(request, exclude, b"", alone=alone)
        try:
            return self._choose(request, exclude, fingerprint, alone=alone)
        except TetherError as refusal:
            if refusal.reason not in _NONE_LEFT:
                raise
        return self._choose(request, exclude, b"", alone=alone)

    def worth_a_try(self, request: Resolved) -> bool:
        """Whether choosing may come to something else than that all workers of the model are full; costs nothing."""
        census = self._fleet.census(request.model.model_id, request.model.version)
        return census.ready > 0 or census.full == 0

    def lower(self, request: Resolved, target: DegradeTarget) -> Resolved | None:
        """The request as it would run in place of what was asked; None where that cannot be."""
        if request.sent is None:
            return None
        try:
            same = target.model_id in ("", request.model.model_id) and not target.version
            version = request.model.version if same else target.version
            model = self._catalogue.model(target.model_id or request.model.model_id, version)
            header = Header()
            header.CopyFrom(request.sent)
            header.model_id = model.model_id
            decision = self.decide(header)
            enforce(decision, sealed=header.sealed)
        except TetherError:
            return None  # a target that is gone, or forbidden, is passed over
        return degrade.lower(request, header, target, model, decision) if degrade.fits(request, model) else None

    def give_back(self, worker: Worker) -> None:
        """The job did not come about on the worker."""
        self._fleet.unplaced(worker.node)
        last = self._placed.pop(worker.node, None)
        if last is not None:
            self._breakers.unsent(*last, monotonic_ms() / 1_000)

    def ended(
        self, model: str, worker: str, *, failed: bool, s_per_token: float, lost: bool = False
    ) -> BreakerHint | None:
        """A job, or an attempt, ended on a worker; returns what to tell gateways where that changed a breaker."""
        return self._standings.ended(model, worker, failed=failed, s_per_token=s_per_token, lost=lost)

    def breakers(self) -> list[Breaker]:
        """Breakers that have seen anything, and workers that are ejected."""
        return self._standings.list()

    def explain(self, header: Header, limit: int) -> ExplainResponse:
        """Every candidate with its terms, every worker a rule removed, and what policy says.

        Raises:
            TetherError: MODEL_UNKNOWN, VERSION_UNKNOWN.
        """
        request = self.resolve(header, again=True)
        model = request.model
        unhealthy = self._breakers.unhealthy(model.model_id, monotonic_ms() / 1_000)
        query = self._queries.of(model, header, request.decision, unhealthy)
        found, removed = self._fleet.explain(query, header.correlation_id or "explain", limit)
        lesser = (self.lower(request, target) for target in request.decision.degrade)
        degraded = [one.header.degraded for one in lesser if one is not None]
        loads = partial(self._fleet.loads, model=model.model_id, version=model.version)
        return explain.response(request, found, removed, degraded, self._waiting(lane(request)), loads)

    def _choose(self, request: Resolved, exclude: Sequence[str], fingerprint: bytes, *, alone: bool) -> Worker:
        model, header = request.model, request.header
        now_s = monotonic_ms() / 1_000
        unhealthy = self._breakers.unhealthy(model.model_id, now_s)
        query = self._queries.of(model, header, request.decision, unhealthy, fingerprint)
        without = [*exclude, *self._kept_alone()] if self._alone else exclude
        find = self._fleet.idlest if alone else self._fleet.best
        best = find(query, header.correlation_id, without[:_EXCLUDE_MAX])
        if best is None:
            raise self._refusal(request, exclude, fingerprint)
        self._fleet.placed(best.worker_id)
        if alone:
            self._alone[best.worker_id] = None
        self._breakers.sent(model.model_id, best.region, now_s)
        self._remember(best.worker_id, model.model_id, best.region)
        return Worker(best.worker_id, best.incarnation, best.address)

    def _remember(self, worker: str, model: str, region: str) -> None:
        """Keep what was placed last on a worker, for a job that is given back."""
        self._placed[worker] = (model, region)
        if len(self._placed) > _PLACED_MAX:
            self._placed.popitem(last=False)

    def _kept_alone(self) -> list[str]:
        """Workers that a job has for itself; nothing in flight means that it is over."""
        for worker in [worker for worker in self._alone if not self._fleet.in_flight(worker)]:
            del self._alone[worker]
        return list(self._alone)

    def _refusal(self, request: Resolved, exclude: Sequence[str], fingerprint: bytes) -> TetherError:
        model = request.model
        unhealthy = self._breakers.unhealthy(model.model_id, monotonic_ms() / 1_000)
        query = self._queries.of(model, request.header, request.decision, unhealthy, fingerprint)
        census = self._fleet.census(model.model_id, model.version)
        loading = 0 if census.ready or census.full else self._fleet.loading(model.model_id, model.version)
        full = bool(census.ready) and self._fits_later(request, query, exclude)
        return no_candidate(model.model_id, model.version, census, unhealthy, loading, full=full)

    def _fits_later(self, request: Resolved, query: Query, exclude: Sequence[str]) -> bool:
        """Whether a worker that is fit is only full, or kept for a job that runs alone."""
        key = request.header.correlation_id
        kept = bool(self._alone) and self._fleet.best(query, key, exclude) is not None
        return kept or self._fleet.full(query)
