"""Degrading: what runs instead, and what the answer says of it."""

from tether.placement.degrade import fits, lower
from tether.placement.resolve import Resolved, resolve
from tether.policy import NO_RULES, Decision
from tether.v1.infer_pb2 import Infer
from tether.v1.placement_pb2 import Header
from tether.v1.policy_pb2 import DegradeTarget
from tether.v1.registry_pb2 import Model

BIG = Model(
    model_id="big",
    version="2.0",
    digest=b"b" * 32,
    context_tokens=1_000,
    capabilities=["text", "chat"],
    defaults=Infer.Parameters(max_tokens=512, temperature=0.7),
)
SMALL = Model(
    model_id="small",
    version="1.1",
    digest=b"s" * 32,
    context_tokens=100,
    capabilities=["text", "chat"],
    defaults=Infer.Parameters(max_tokens=64, temperature=0.1),
)
TARGET = DegradeTarget(model_id="small", max_tokens=32)
RULE = Decision(degrade=(TARGET,), degrade_rule="cheap")


def asked(**fields: object) -> Resolved:
    return resolve(Header(model_id="big", tenant_id="t", input_tokens_max=10, **fields), BIG, RULE)  # type: ignore[arg-type]


def lowered(request: Resolved, target: DegradeTarget = TARGET, model: Model = SMALL) -> Resolved:
    assert request.sent is not None
    return lower(request, request.sent, target, model, NO_RULES)


def test_lower_runs_the_target_with_its_own_defaults() -> None:
    found = lowered(asked())
    header = found.header
    assert (header.model_id, header.version, found.model) == ("small", "1.1", SMALL)
    assert header.parameters.temperature == Infer.Parameters(temperature=0.1).temperature
    assert (header.parameters.max_tokens, found.limit_tokens) == (32, 10 + 32)
    assert header.degraded == Infer.Degraded(
        asked_model_id="big", asked_version="2.0", parameters=["max_tokens"], rule="cheap"
    )


def test_lower_keeps_what_was_sent_and_names_only_what_is_less() -> None:
    found = lowered(asked(parameters=Infer.Parameters(max_tokens=8, temperature=0.9)))
    assert found.header.parameters.max_tokens == 8
    assert found.header.parameters.temperature == Infer.Parameters(temperature=0.9).temperature
    assert list(found.header.degraded.parameters) == []


def test_lower_of_the_same_model_lowers_its_parameters() -> None:
    request = asked(parameters=Infer.Parameters(choices=4))
    found = lowered(request, DegradeTarget(max_tokens=100, choices=2), BIG)
    assert found.limit_tokens < request.limit_tokens
    assert list(found.header.degraded.parameters) == ["max_tokens", "choices"]


def test_request_without_a_target_keeps_no_copy() -> None:
    assert resolve(Header(model_id="big"), BIG).sent is None


def test_fits_only_where_the_other_model_can_do_it() -> None:
    assert fits(asked(), SMALL)
    assert fits(asked(sealed=True), BIG)
    assert not fits(asked(sealed=True), SMALL)
    assert not fits(asked(adapters=[Infer.AdapterRef(adapter_id="a", version="1.0")]), SMALL)
    assert not fits(asked(), Model(digest=b"x" * 32, capabilities=["text"]))
    assert not fits(asked(parameters=Infer.Parameters(choices=2)), SMALL)
    long = resolve(Header(model_id="big", input_tokens_max=100), BIG, RULE)
    assert not fits(long, SMALL)
