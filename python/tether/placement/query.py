"""The native query of a request: made once per model version, ruling and breaker state, then used for every request.

Source: docs/design/design.md §4.
"""

from collections import OrderedDict
from collections.abc import Mapping

from tether._native import Query
from tether.policy import Ruling
from tether.v1.placement_pb2 import Header
from tether.v1.registry_pb2 import Model

_KEPT_MAX = 1_024  # (model version, rule, breakers) in use at a time; a query is some 500 bytes


class Queries:
    """Makes queries and keeps them.

    Args:
        proximity: of regions by slug, 0 to 1; other regions are at 0.
    """

    def __init__(self, proximity: Mapping[str, float]) -> None:
        self._proximity = dict(proximity)
        self._kept: OrderedDict[tuple[object, ...], Query] = OrderedDict()

    def of(
        self, model: Model, header: Header, ruling: Ruling, breakers: Mapping[str, float], fingerprint: bytes = b""
    ) -> Query:
        """The query of a request.

        Args:
            model: the version that runs.
            header: the request.
            ruling: what policy says of it.
            breakers: health of regions whose breaker is not closed.
            fingerprint: of the engine that it must run on, 32 bytes; empty for any.

        Returns:
            A query; the same one for equal needs.
        """
        adapters = tuple((adapter.adapter_id, adapter.version) for adapter in header.adapters)
        unhealthy = tuple(sorted(breakers.items()))
        key = (model.digest, model.model_id, model.version, adapters, ruling.rule, unhealthy, fingerprint)
        query = self._kept.get(key)
        if query is None:
            query = self._keep(key, self._make(model, adapters, ruling, breakers, fingerprint))
        return query

    def _make(
        self,
        model: Model,
        adapters: tuple[tuple[str, str], ...],
        ruling: Ruling,
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
            regions_allowed=ruling.regions,
            gpu_classes=dict.fromkeys(needs.gpu_classes, 1.0),
            vram_bytes_min=needs.vram_bytes_min,
            accelerators=list(needs.accelerators),
            adapters=adapters,
            breakers=dict(breakers),
            policy=dict(ruling.points),
        )

    def _keep(self, key: tuple[object, ...], query: Query) -> Query:
        if len(self._kept) >= _KEPT_MAX:
            self._kept.popitem(last=False)
        self._kept[key] = query
        return query
