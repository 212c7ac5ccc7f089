"""The native query of a request: made once per model version, decision and breaker state, then used for every request.

Source: docs/design/design.md §4.
"""

from collections import OrderedDict
from collections.abc import Collection, Mapping

from tether._native import Query
from tether.errors import Reason, TetherError
from tether.policy import Decision
from tether.v1.placement_pb2 import Header
from tether.v1.registry_pb2 import Model

_KEPT_MAX = 1_024  # (model version, decision, breakers) in use at a time; a query is some 500 bytes


class Queries:
    """Makes queries and keeps them.

    Args:
        proximity: of regions by slug, 0 to 1; other regions are at 0.
    """

    def __init__(self, proximity: Mapping[str, float]) -> None:
        self._proximity = dict(proximity)
        self._kept: OrderedDict[tuple[object, ...], Query] = OrderedDict()

    def of(
        self, model: Model, header: Header, decision: Decision, breakers: Mapping[str, float], fingerprint: bytes = b""
    ) -> Query:
        """The query of a request.

        Args:
            model: the version that runs.
            header: the request.
            decision: what policy says of it; its restrictions hold beside the model's own needs.
            breakers: health of regions whose breaker is not closed.
            fingerprint: of the engine that it must run on, 32 bytes; empty for any.

        Returns:
            A query; the same one for equal needs.
        """
        adapters = tuple((adapter.adapter_id, adapter.version) for adapter in header.adapters)
        unhealthy = tuple(sorted(breakers.items()))
        key = (model.digest, model.model_id, model.version, adapters, decision.where, unhealthy, fingerprint)
        query = self._kept.get(key)
        if query is None:
            query = self._keep(key, self._make(model, adapters, decision, breakers, fingerprint))
        return query

    def _make(
        self,
        model: Model,
        adapters: tuple[tuple[str, str], ...],
        decision: Decision,
        breakers: Mapping[str, float],
        fingerprint: bytes,
    ) -> Query:
        needs = model.requirements
        return Query(
            model.model_id,
            model.version,
            digest=model.digest,
            fingerprint=fingerprint,
            regions=self._proximity,
            regions_allowed=sorted(decision.regions or ()),
            gpu_classes=dict.fromkeys(gpu_classes(needs.gpu_classes, decision.gpu_classes), 1.0),
            vram_bytes_min=needs.vram_bytes_min,
            accelerators=list(needs.accelerators),
            adapters=adapters,
            breakers=dict(breakers),
            policy=dict(decision.points),
        )

    def _keep(self, key: tuple[object, ...], query: Query) -> Query:
        if len(self._kept) >= _KEPT_MAX:
            self._kept.popitem(last=False)
        self._kept[key] = query
        return query


def gpu_classes(needed: Collection[str], allowed: Collection[str] | None) -> list[str]:
    """GPU classes that a job may run on: those that the model needs and policy allows; empty for any.

    Raises:
        TetherError: POLICY_FORBIDS where they have none in common.
    """
    if not needed or allowed is None:
        return sorted(needed or allowed or ())
    both = sorted(set(needed) & set(allowed))
    if not both:
        words = (
            f"Policy allows GPU classes {', '.join(sorted(allowed))}, and the model needs {', '.join(sorted(needed))}"
        )
        raise TetherError(Reason.POLICY_FORBIDS, words)
    return both
