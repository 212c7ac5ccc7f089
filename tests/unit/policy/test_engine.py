"""Decisions: restrictions add up, the first preference counts, and each rule that had a say is named."""

from datetime import timedelta

import pytest
from google.protobuf.duration_pb2 import Duration

from tether.errors import Reason, TetherError
from tether.policy import NO_RULES, Decision, Policies, Subject, enforce, evaluate, path, priority
from tether.v1.infer_pb2 import Infer
from tether.v1.policy_pb2 import Allowance, DegradeTarget, Hedge, Policy, PolicyRule, Retain

LOW, NORMAL, HIGH = Infer.PRIORITY_LOW, Infer.PRIORITY_NORMAL, Infer.PRIORITY_HIGH


def span(seconds: float) -> Duration:
    found = Duration()
    found.FromTimedelta(timedelta(seconds=seconds))
    return found


def decide(
    own: list[PolicyRule], for_all: list[PolicyRule], model: str = "demo", asked: Infer.Priority.ValueType = NORMAL
) -> Decision:
    policies = Policies([Policy(tenant_id="acme", rules=own), Policy(rules=for_all)])
    return evaluate(policies, Subject("acme", model, asked))


def refused(decision: Decision, *, sealed: bool = False) -> str:
    with pytest.raises(TetherError) as caught:
        enforce(decision, sealed=sealed)
    assert caught.value.reason is Reason.POLICY_FORBIDS
    return caught.value.message


def test_no_rules_allow_all() -> None:
    assert evaluate(Policies(), Subject("acme", "demo")) is NO_RULES
    enforce(NO_RULES, sealed=False)
    assert (path(Infer.PATH_UNSPECIFIED, NO_RULES), priority(0, NO_RULES)) == (Infer.PATH_DIRECT, NORMAL)
    assert (NO_RULES.retain, NO_RULES.away) == (Retain.RETAIN_NOTHING, Allowance.ALLOWANCE_REFUSE)


def test_rules_of_another_tenant_say_nothing() -> None:
    policies = Policies([Policy(tenant_id="other", rules=[PolicyRule(name="no", forbid=True)])])
    assert evaluate(policies, Subject("acme", "demo")) is NO_RULES
    assert evaluate(policies, Subject("other", "demo")).forbidden_by == "no"


def test_rule_matches_by_model_and_priority() -> None:
    rules = [PolicyRule(name="big", models=["big"], forbid=True), PolicyRule(name="low", priorities=[LOW], weight=7)]
    assert decide(rules, [], "big").forbidden_by == "big"
    assert decide(rules, [], "demo") == Decision()
    assert decide(rules, [], "demo", LOW).weight == 7


def test_unspecified_priority_of_a_rule_means_normal() -> None:
    rules = [PolicyRule(name="n", priorities=[Infer.PRIORITY_UNSPECIFIED], weight=7)]
    assert decide(rules, [], asked=NORMAL).weight == 7
    assert decide(rules, [], asked=HIGH).weight == 1


def test_restrictions_add_up_over_both_lists() -> None:
    own = [PolicyRule(name="eu", regions=["eu-west", "eu-north"], gpu_classes=["h100", "a100"])]
    for_all = [
        PolicyRule(name="home", residency=["eu-west", "us-east"]),
        PolicyRule(name="cap", gpu_classes=["a100"], priority_max=NORMAL, queue_wait_max=span(5)),
        PolicyRule(name="cap-low", priority_max=LOW, queue_wait_max=span(9), encryption_required=True),
    ]
    found = decide(own, for_all)
    assert found.regions == {"eu-west"}
    assert found.residency == {"eu-west", "us-east"}
    assert found.gpu_classes == {"a100"}
    assert (found.priority_max, found.queue_wait_max_s, found.encryption_required) == (LOW, 5.0, True)
    assert found.by["regions"] == "eu, home"


def test_allowed_models_intersect_and_name_the_rules_that_refuse() -> None:
    rules = [PolicyRule(name="a", allowed_models=["demo", "big"]), PolicyRule(name="b", allowed_models=["big"])]
    assert decide(rules[:1], rules[1:], "big").forbidden_by == ""
    assert "a, b" in refused(decide(rules[:1], rules[1:], "demo"))


def test_first_preference_counts_and_the_tenants_own_come_first() -> None:
    own = [PolicyRule(name="mine", path=Infer.PATH_RELAY, points={"eu-west": 0.5})]
    for_all = [
        PolicyRule(name="w", weight=3, path=Infer.PATH_DIRECT, retain=Retain.RETAIN_REQUEST),
        PolicyRule(name="late", weight=9, points={"eu-west": -1, "us-east": -0.5}),
    ]
    found = decide(own, for_all)
    assert (found.path, found.weight, found.retain) == (Infer.PATH_RELAY, 3, Retain.RETAIN_REQUEST)
    assert found.points == {"eu-west": 0.5, "us-east": -0.5}
    assert found.why == (
        "mine: path relay; points eu-west +0.5",
        "w: weight 3; retain request",
        "late: points us-east -0.5",
    )


def test_degrade_comes_whole_from_one_rule() -> None:
    small, tiny = DegradeTarget(model_id="small"), DegradeTarget(max_tokens=16, choices=1)
    own, for_all = [PolicyRule(name="mine", degrade=[small, tiny])], [PolicyRule(name="all", degrade=[tiny])]
    found = decide(own, for_all)
    assert (found.degrade, found.degrade_rule) == ((small, tiny), "mine")
    assert found.why == ("mine: degrade to small, the same model with max_tokens 16 and choices 1",)


def test_hedge_is_decided_by_the_first_that_mentions_it() -> None:
    never, after = PolicyRule(name="never", hedge=Hedge()), PolicyRule(name="after", hedge=Hedge(after=span(0.25)))
    assert decide([never], [after]).hedge_after_s is None
    assert decide([after], [never]).hedge_after_s == 0.25
    assert decide([never], [after]).why == ("never: hedge after never",)


def test_allowances_are_preferences() -> None:
    own = [PolicyRule(name="own", without_store=Allowance.ALLOWANCE_ALLOWANCE)]
    for_all = [PolicyRule(name="all", without_store=Allowance.ALLOWANCE_REFUSE, away=Allowance.ALLOWANCE_ALLOWANCE)]
    found = decide(own, for_all)
    assert (found.without_store, found.away) == (Allowance.ALLOWANCE_ALLOWANCE, Allowance.ALLOWANCE_ALLOWANCE)


def test_enforce_names_the_rules_that_leave_nothing() -> None:
    assert "eu, us" in refused(decide([PolicyRule(name="eu", regions=["eu"])], [PolicyRule(name="us", regions=["us"])]))
    gpus = decide([PolicyRule(name="x", gpu_classes=["h100"])], [PolicyRule(name="y", gpu_classes=["cpu"])])
    assert "gpu_classes" in refused(gpus)
    sealed = decide([PolicyRule(name="locked", encryption_required=True)], [])
    assert "locked" in refused(sealed)
    enforce(sealed, sealed=True)


def test_priority_is_lowered_to_the_cap() -> None:
    capped = decide([PolicyRule(name="c", priority_max=NORMAL)], [])
    assert [priority(asked, capped) for asked in (0, LOW, NORMAL, HIGH)] == [NORMAL, LOW, NORMAL, NORMAL]


def test_path_of_policy_stands_above_the_clients_wish() -> None:
    direct = decide([PolicyRule(name="d", path=Infer.PATH_DIRECT)], [])
    assert path(Infer.PATH_RELAY, direct) == Infer.PATH_DIRECT
    assert path(Infer.PATH_RELAY, NO_RULES) == Infer.PATH_RELAY


def test_equal_subjects_are_decided_once() -> None:
    policies = Policies([Policy(rules=[PolicyRule(name="w", weight=2)])])
    first = evaluate(policies, Subject("acme", "demo", NORMAL))
    assert evaluate(policies, Subject("acme", "demo", NORMAL)) is first
    assert evaluate(policies, Subject("other", "demo", NORMAL)) is first


def test_remembered_decisions_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tether.policy.engine._KEPT_MAX", 4)
    policies = Policies([Policy(rules=[PolicyRule(name="w", weight=2)])])
    for number in range(20):
        evaluate(policies, Subject("acme", f"m{number}", NORMAL))
    assert len(policies._kept) == 4
