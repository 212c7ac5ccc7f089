"""Scheduler: resolves a request, asks policy and breakers, and picks the best worker of the fleet.

Source: docs/design/design.md §4.
"""

from collections.abc import Mapping, Sequence

from tether.errors import TetherError
from tether.placement.breaker import Breakers
from tether.placement.query import Queries
from tether.placement.refusal import no_candidate
from tether.placement.resolve import Resolved, resolve
from tether.policy import Decision, enforce, evaluate
from tether.policy import Subject as PolicySubject
from tether.registry.catalogue import Catalogue
from tether.store.jobs import Worker
from tether.v1.placement_pb2 import BreakerHint, Candidate, ExplainResponse, Header, Removed, Term
from tether_orchestrator.clock import monotonic_ms
from tether_orchestrator.fleet import FleetView
from tether_orchestrator.metrics import TRIPPED


class Scheduler:
    """Chooses workers.

    Args:
        fleet: workers.
        catalogue: models.
        queries: native queries.
        breakers: by (model, region).
    """

    def __init__(self, fleet: FleetView, catalogue: Catalogue, queries: Queries, breakers: Breakers) -> None:
        self._fleet = fleet
        self._catalogue = catalogue
        self._queries = queries
        self._breakers = breakers

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
        return resolve(header, model, decision)

    def choose(self, request: Resolved, exclude: Sequence[str] = (), fingerprint: bytes = b"") -> Worker:
        """The best worker; the job counts as placed there.

        Args:
            request: what is asked.
            exclude: node ids that are not wanted.
            fingerprint: of the engine that it must run on; empty for any.

        Raises:
            TetherError: OVERLOADED or NO_WORKER.
        """
        model, header = request.model, request.header
        now_s = monotonic_ms() / 1_000
        unhealthy = self._breakers.unhealthy(model.model_id, now_s)
        query = self._queries.of(model, header, request.decision, unhealthy, fingerprint)
        best = self._fleet.best(query, header.correlation_id, exclude)
        if best is None:
            raise self._refusal(model.model_id, model.version, unhealthy)
        self._fleet.placed(best.worker_id)
        self._breakers.sent(model.model_id, best.region, now_s)
        return Worker(best.worker_id, best.incarnation, best.address)

    def _refusal(self, model: str, version: str, unhealthy: Mapping[str, float]) -> TetherError:
        census = self._fleet.census(model, version)
        loading = 0 if census.ready or census.full else self._fleet.loading(model, version)
        return no_candidate(model, version, census, unhealthy, loading)

    def give_back(self, worker: Worker) -> None:
        """The job did not come about on the worker."""
        self._fleet.unplaced(worker.node)

    def ended(self, model: str, worker: str, *, failed: bool, s_per_token: float) -> BreakerHint | None:
        """A job ended on a worker; returns what to tell gateways where that changed a breaker."""
        region = self._fleet.region(worker)
        if not region:
            return None  # a dead worker's last jobs say nothing about those that live
        now_s = monotonic_ms() / 1_000
        changed = self._breakers.ended(model, region, failed=failed, s_per_token=s_per_token, now_s=now_s)
        if changed is None:
            return None
        TRIPPED.labels(changed.value).inc()
        return BreakerHint(model_id=model, region=region, state=changed.value)

    def explain(self, header: Header, limit: int) -> ExplainResponse:
        """Every candidate with its terms, and every worker a rule removed.

        Raises:
            TetherError: MODEL_UNKNOWN, VERSION_UNKNOWN.
        """
        request = self.resolve(header)
        model = request.model
        unhealthy = self._breakers.unhealthy(model.model_id, monotonic_ms() / 1_000)
        query = self._queries.of(model, header, request.decision, unhealthy)
        found, removed = self._fleet.explain(query, header.correlation_id or "explain", limit)
        return ExplainResponse(
            candidates=[
                Candidate(
                    worker_id=one.worker_id,
                    region=one.region,
                    score=one.score,
                    terms=[Term(name=name, value=value) for name, value in one.terms],
                    in_flight=one.in_flight,
                    address=one.address,
                )
                for one in found
            ],
            removed=[Removed(worker_id=one.worker_id, rule=one.rule, detail=one.detail) for one in removed],
            model_id=model.model_id,
            version=model.version,
        )
