"""Policies that are refused when they are set, and why."""

from datetime import timedelta

import pytest
from google.protobuf.duration_pb2 import Duration

from tether.errors import Reason, TetherError
from tether.policy import check_policy
from tether.v1.infer_pb2 import Infer
from tether.v1.policy_pb2 import DegradeTarget, Hedge, Policy, PolicyRule

KNOWN = ("demo", "small", "big")
ALL = [Infer.PRIORITY_LOW, Infer.PRIORITY_NORMAL, Infer.PRIORITY_HIGH]


def span(seconds: float) -> Duration:
    found = Duration()
    found.FromTimedelta(timedelta(seconds=seconds))
    return found


def refusal(*rules: PolicyRule, beside: tuple[Policy, ...] = (), tenant: str = "acme") -> TetherError:
    with pytest.raises(TetherError) as caught:
        check_policy(Policy(tenant_id=tenant, rules=rules), KNOWN, beside)
    return caught.value


def test_policy_that_says_much_passes() -> None:
    rule = PolicyRule(
        name="everything",
        models=["demo"],
        allowed_models=["demo", "small"],
        regions=["eu-west"],
        residency=["eu-west", "eu-north"],
        gpu_classes=["h100"],
        weight=1_000,
        points={"eu-west": -1.0},
        degrade=[DegradeTarget(model_id="small", version="1.0", max_tokens=16)],
        queue_wait_max=span(10),
        hedge=Hedge(after=span(0.01)),
    )
    check_policy(Policy(tenant_id="acme", rules=[rule], note="why"), KNOWN)
    check_policy(Policy(), KNOWN)
    check_policy(Policy(rules=[PolicyRule(name="big", models=["big"], forbid=True)]), KNOWN)


@pytest.mark.parametrize(
    "rule",
    [
        PolicyRule(),
        PolicyRule(name="x" * 129),
        PolicyRule(name="two\nlines"),
        PolicyRule(name="r", regions=["EU West"]),
        PolicyRule(name="r", residency=[""]),
        PolicyRule(name="r", gpu_classes=["h 100"]),
        PolicyRule(name="r", regions=[f"r{number}" for number in range(65)]),
        PolicyRule(name="r", models=["demo"] * 65),
        PolicyRule(name="r", weight=1_001),
        PolicyRule(name="nul\0"),
        PolicyRule(name="r", queue_wait_max=Duration(seconds=1, nanos=2**31 - 1)),
        PolicyRule(name="r", hedge=Hedge(after=Duration(seconds=2, nanos=-(2**31)))),
        PolicyRule(name="r", points={"eu": 1.5}),
        PolicyRule(name="r", points={"eu": float("nan")}),
        PolicyRule(name="r", degrade=[DegradeTarget()]),
        PolicyRule(name="r", degrade=[DegradeTarget(max_tokens=1)] * 9),
        PolicyRule(name="r", degrade=[DegradeTarget(version="one")]),
        PolicyRule(name="r", queue_wait_max=span(0)),
        PolicyRule(name="r", queue_wait_max=span(-1)),
        PolicyRule(name="r", queue_wait_max=span(3_601)),
        PolicyRule(name="r", hedge=Hedge(after=span(0.009))),
        PolicyRule(name="r", path=9),  # type: ignore[arg-type]
        PolicyRule(name="r", priority_max=9),  # type: ignore[arg-type]
        PolicyRule(name="r", priorities=[9]),  # type: ignore[list-item]
        PolicyRule(name="r", retain=9),  # type: ignore[arg-type]
        PolicyRule(name="r", away=9),  # type: ignore[arg-type]
        PolicyRule(name="r", without_store=9),  # type: ignore[arg-type]
    ],
)
def test_rule_out_of_range_is_refused(rule: PolicyRule) -> None:
    error = refusal(rule)
    assert error.reason is Reason.INVALID_FIELD
    assert str(error.field).startswith("rules[0].")


@pytest.mark.parametrize(
    "rule",
    [
        PolicyRule(name="r", models=["demos"]),
        PolicyRule(name="r", allowed_models=["demos"]),
        PolicyRule(name="r", degrade=[DegradeTarget(model_id="demos")]),
    ],
)
def test_unknown_model_is_refused_with_the_nearest(rule: PolicyRule) -> None:
    error = refusal(rule)
    assert error.reason is Reason.MODEL_UNKNOWN
    assert "demo" in error.message


def test_names_and_number_of_rules_are_checked() -> None:
    assert "named 'a'" in refusal(PolicyRule(name="a"), PolicyRule(name="b"), PolicyRule(name="a")).message
    assert "65" in refusal(*(PolicyRule(name=f"r{number}") for number in range(65))).message
    assert refusal(PolicyRule(name="a"), tenant="No Tenant").field == "tenant_id"
    with pytest.raises(TetherError, match="note"):
        check_policy(Policy(note="x" * 257), KNOWN)


@pytest.mark.parametrize(
    "rules",
    [
        pytest.param([PolicyRule(name="never", forbid=True)], id="forbid all"),
        pytest.param([PolicyRule(name="never", priorities=ALL, forbid=True)], id="forbid each class"),
        pytest.param([PolicyRule(name="never", models=KNOWN, forbid=True)], id="forbid each model"),
        pytest.param(
            [PolicyRule(name="never", allowed_models=["demo"]), PolicyRule(name="b", allowed_models=["big"])],
            id="no model in common",
        ),
        pytest.param(
            [PolicyRule(name="never", allowed_models=["demo"]), PolicyRule(name="b", models=["demo"], forbid=True)],
            id="the only model left is forbidden",
        ),
    ],
)
def test_policy_that_forbids_everything_is_refused(rules: list[PolicyRule]) -> None:
    error = refusal(*rules)
    assert error.reason is Reason.INVALID_FIELD
    assert "forbidding everything" in error.message
    assert "never" in error.message


def test_policy_that_leaves_no_region_is_refused() -> None:
    eu, us = PolicyRule(name="eu", regions=["eu"]), PolicyRule(name="us", residency=["us"], models=["big"])
    assert "eu, us" in refusal(eu, us).message
    assert (
        "gpu_classes"
        in refusal(PolicyRule(name="a", gpu_classes=["h100"]), PolicyRule(name="b", gpu_classes=["a100"])).message
    )
    low = PolicyRule(name="low", priorities=[Infer.PRIORITY_LOW], regions=["us"])
    assert refusal(eu, low).field == "rules"


def test_models_that_no_rule_names_are_tried_too() -> None:
    named = PolicyRule(name="named", models=["demo"], forbid=True)
    check_policy(Policy(rules=[named]), KNOWN)
    with pytest.raises(TetherError, match="forbidding everything"):
        check_policy(Policy(rules=[named]), ["demo"])


def test_policy_is_tried_beside_the_others() -> None:
    for_all = Policy(rules=[PolicyRule(name="eu", regions=["eu"])])
    us = PolicyRule(name="us", regions=["us"])
    check_policy(Policy(tenant_id="acme", rules=[us]), KNOWN)
    assert "tenant acme" in refusal(us, beside=(for_all,)).message
    with pytest.raises(TetherError, match="tenant acme"):
        check_policy(for_all, KNOWN, [Policy(tenant_id="acme", rules=[us])])


def test_policy_before_any_model_is_published_may_not_name_one() -> None:
    check_policy(Policy(rules=[PolicyRule(name="w", weight=2)]), ())
    with pytest.raises(TetherError, match="forbidding everything"):
        check_policy(Policy(rules=[PolicyRule(name="no", forbid=True)]), ())
