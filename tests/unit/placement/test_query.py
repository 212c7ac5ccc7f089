"""Queries: made once for equal needs, anew when a breaker or a decision changes."""

import pytest

from tether.errors import TetherError
from tether.placement.query import Queries, gpu_classes
from tether.policy import NO_RULES, Decision
from tether.v1.placement_pb2 import Header
from tether.v1.registry_pb2 import Model

MODEL = Model(model_id="demo", version="1.0", digest=b"d" * 32)


def test_equal_needs_share_a_query() -> None:
    queries = Queries({"local": 1.0})
    assert queries.of(MODEL, Header(), NO_RULES, {}) is queries.of(MODEL, Header(), NO_RULES, {})


def test_decisions_that_differ_in_nothing_but_weight_share_a_query() -> None:
    queries = Queries({"local": 1.0})
    heavy = Decision(regions=frozenset({"eu"}), weight=9)
    assert queries.of(MODEL, Header(), heavy, {}) is queries.of(
        MODEL, Header(), Decision(regions=frozenset({"eu"})), {}
    )


def test_other_needs_get_another_query() -> None:
    queries = Queries({})
    first = queries.of(MODEL, Header(), NO_RULES, {})
    assert queries.of(MODEL, Header(), NO_RULES, {"local": 0.0}) is not first
    assert queries.of(MODEL, Header(), NO_RULES, {}, b"f" * 32) is not first
    for other in (Decision(regions=frozenset({"eu"})), Decision(points={"eu": 1.0})):
        assert queries.of(MODEL, Header(), other, {}) is not first
    assert queries.of(MODEL, Header(), Decision(gpu_classes=frozenset({"h100"})), {}) is not first
    assert queries.of(Model(model_id="demo", version="1.1"), Header(), NO_RULES, {}) is not first
    with_adapter = Header()
    with_adapter.adapters.add(adapter_id="a", version="1.0")
    assert queries.of(MODEL, with_adapter, NO_RULES, {}) is not first


def test_gpu_classes_are_those_needed_and_allowed() -> None:
    assert gpu_classes([], None) == []
    assert gpu_classes(["h100"], None) == ["h100"]
    assert gpu_classes([], {"a100", "cpu"}) == ["a100", "cpu"]
    assert gpu_classes(["h100", "a100"], {"a100", "cpu"}) == ["a100"]
    with pytest.raises(TetherError, match="POLICY_FORBIDS"):
        gpu_classes(["h100"], {"cpu"})
