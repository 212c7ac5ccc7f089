"""Queries: made once for equal needs, anew when a breaker or a ruling changes."""

from tether.placement.query import Queries
from tether.policy import ALLOW_ALL, Rule, Subject, evaluate
from tether.v1.placement_pb2 import Header
from tether.v1.registry_pb2 import Model

MODEL = Model(model_id="demo", version="1.0", digest=b"d" * 32)
RULING = evaluate([ALLOW_ALL], Subject("t", "demo", "1.0"))


def test_equal_needs_share_a_query() -> None:
    queries = Queries({"local": 1.0})
    assert queries.of(MODEL, Header(), RULING, {}) is queries.of(MODEL, Header(), RULING, {})


def test_other_needs_get_another_query() -> None:
    queries = Queries({})
    first = queries.of(MODEL, Header(), RULING, {})
    other = evaluate([Rule("eu", regions=("eu",))], Subject("t", "demo", "1.0"))
    assert queries.of(MODEL, Header(), RULING, {"local": 0.0}) is not first
    assert queries.of(MODEL, Header(), other, {}) is not first
    assert queries.of(Model(model_id="demo", version="1.1"), Header(), RULING, {}) is not first
    with_adapter = Header()
    with_adapter.adapters.add(adapter_id="a", version="1.0")
    assert queries.of(MODEL, with_adapter, RULING, {}) is not first
