"""Refuses a policy that is malformed, names what is not there, or leaves nothing allowed, before it is stored.

Whether anything is left is tried out: each kind of request that the rules can tell apart is evaluated once.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

from google.protobuf.duration_pb2 import Duration

from tether import name
from tether.errors import Reason, TetherError
from tether.policy.decision import Decision, Subject
from tether.policy.engine import Policies, evaluate
from tether.rules import check
from tether.v1.infer_pb2 import Infer
from tether.v1.policy_pb2 import Allowance, DegradeTarget, Policy, PolicyRule, Retain

RULES_MAX = 64  # a page for people; two lists of them are evaluated in some 100 µs
NAME_BYTES_MAX, NOTE_BYTES_MAX = 128, 256  # as policy.proto says
NAMES_MAX, TARGETS_MAX = 64, 8  # as policy.proto says
WEIGHT_MAX = 1_000
WAIT_S_MAX = 3_600.0  # the longest deadline of a request
HEDGE_S_MIN = 0.01  # as policy.proto says: below it every first chunk is late
CHOICES_MAX, TOKENS_MAX = 128, 10_000_000  # beyond any model; only absurd numbers are refused
_PRIORITIES = (Infer.PRIORITY_LOW, Infer.PRIORITY_NORMAL, Infer.PRIORITY_HIGH)
_OTHER = "-"  # stands for every model that no rule names; no model has this name


def check_policy(policy: Policy, known_models: Collection[str], beside: Iterable[Policy] = ()) -> None:
    """Check a policy before it is stored.

    Args:
        policy: for a tenant, or for all.
        known_models: names of the models that are published.
        beside: policies it will stand beside: the one for all where this is a tenant's, the tenants' where it is the
            one for all.

    Raises:
        TetherError: INVALID_FIELD, or MODEL_UNKNOWN with the nearest names.
    """
    if policy.tenant_id:
        name.tenant(policy.tenant_id)
    check.text("note", policy.note, NOTE_BYTES_MAX)
    check.count("rules", policy.rules, RULES_MAX)
    for index, rule in enumerate(policy.rules):
        _check_rule(f"rules[{index}]", rule, known_models)
    names = [rule.name for rule in policy.rules]
    twice = next((one for one in names if names.count(one) > 1), None)
    check.holds("rules", ok=twice is None, found=f"two rules named {twice!r}", rule="of different names")
    _check_leaves_something(policy, known_models, ())
    for other in beside:
        if other.tenant_id != policy.tenant_id:
            _check_leaves_something(policy, known_models, (other,))


def _check_rule(at: str, rule: PolicyRule, known_models: Collection[str]) -> None:
    check.text(f"{at}.name", rule.name, NAME_BYTES_MAX, 1)
    check.holds(f"{at}.name", ok=rule.name.isprintable(), found="not printable", rule="text on one line")
    for field, models in (("models", rule.models), ("allowed_models", rule.allowed_models)):
        check.count(f"{at}.{field}", models, NAMES_MAX)
        for model in models:
            _check_known(f"{at}.{field}", model, known_models)
    _check_slugs(at, rule)
    _check_enums(at, rule)
    _check_numbers(at, rule)
    check.count(f"{at}.degrade", rule.degrade, TARGETS_MAX)
    for index, target in enumerate(rule.degrade):
        _check_target(f"{at}.degrade[{index}]", target, known_models)


def _check_known(field: str, model: str, known: Collection[str]) -> None:
    name.model(model, field)
    if model not in known:
        text = f"{field}: there is no model {model!r}.{name.did_you_mean(model, known)}"
        raise TetherError(Reason.MODEL_UNKNOWN, text, field=field)


def _check_slugs(at: str, rule: PolicyRule) -> None:
    kinds: tuple[tuple[str, Collection[str], Callable[[str], bool]], ...] = (
        ("regions", rule.regions, name.is_region),
        ("residency", rule.residency, name.is_region),
        ("gpu_classes", rule.gpu_classes, name.is_slug),
        ("points", rule.points, name.is_region),
    )
    for field, values, fits in kinds:
        check.count(f"{at}.{field}", values, NAMES_MAX)
        wrong = next((one for one in values if not fits(one)), None)
        check.holds(f"{at}.{field}", ok=wrong is None, found=repr(wrong), rule="slugs of 1 to 31 bytes")


def _check_enums(at: str, rule: PolicyRule) -> None:
    for one in rule.priorities:
        check.choice(f"{at}.priorities", one, Infer.Priority.values())
    check.choice(f"{at}.priority_max", rule.priority_max, Infer.Priority.values())
    check.choice(f"{at}.path", rule.path, Infer.Path.values())
    check.choice(f"{at}.retain", rule.retain, Retain.values())
    check.choice(f"{at}.away", rule.away, Allowance.values())
    check.choice(f"{at}.without_store", rule.without_store, Allowance.values())


def _check_numbers(at: str, rule: PolicyRule) -> None:
    check.number(f"{at}.weight", rule.weight, 0, WEIGHT_MAX)
    for region, points in rule.points.items():
        check.number(f"{at}.points[{region}]", points, -1, 1)
    if rule.HasField("queue_wait_max"):
        field = f"{at}.queue_wait_max"
        check.number(field, _seconds(field, rule.queue_wait_max), 0, WAIT_S_MAX, over=True)
    if rule.HasField("hedge") and rule.hedge.HasField("after"):
        field = f"{at}.hedge.after"
        check.number(field, _seconds(field, rule.hedge.after), HEDGE_S_MIN, WAIT_S_MAX)


def _check_target(at: str, target: DegradeTarget, known_models: Collection[str]) -> None:
    if target.model_id:
        _check_known(f"{at}.model_id", target.model_id, known_models)
    if target.version:
        name.version(target.version, f"{at}.version")
    check.number(f"{at}.max_tokens", target.max_tokens, 0, TOKENS_MAX)
    check.number(f"{at}.choices", target.choices, 0, CHOICES_MAX)
    says = bool(target.model_id or target.version or target.max_tokens or target.choices)
    check.holds(at, ok=says, found="empty", rule="another model, or lower limits")


def _seconds(field: str, span: Duration) -> float:
    whole = -1_000_000_000 < span.nanos < 1_000_000_000
    check.holds(field, ok=whole, found="malformed", rule="a Duration, its nanos under a second")
    return span.seconds + span.nanos / 1e9


def _check_leaves_something(policy: Policy, known_models: Collection[str], beside: Sequence[Policy]) -> None:
    tenant = policy.tenant_id or next((one.tenant_id for one in beside), "")
    decisions = list(_decisions(Policies([policy, *beside]), tenant, known_models))
    allowed = [one for one in decisions if not one.forbidden_by]
    whose = f" for tenant {tenant}" if beside and tenant else ""
    if decisions and not allowed:
        rules = ", ".join(dict.fromkeys(one.forbidden_by for one in decisions))
        raise check.refusal("rules", f"forbidding everything{whose} (by {rules})", "a policy that lets something run")
    for what in ("regions", "gpu_classes"):
        empty = next((one for one in allowed if _is_empty(one, what)), None)
        if empty is not None:
            found = f"leaving no {what}{whose} ({empty.by.get(what, '')} have none in common)"
            raise check.refusal("rules", found, "with at least one in common, or say `forbid`")


def _is_empty(decision: Decision, what: str) -> bool:
    left = getattr(decision, what)
    return left is not None and not left


def _decisions(policies: Policies, tenant: str, known_models: Collection[str]) -> Iterator[Decision]:
    """The decision of each kind of request that the rules can tell apart."""
    rules = policies.rules(tenant)
    named: set[str] = set().union(*(rule.models | rule.sets.get("allowed_models", frozenset()) for rule in rules))
    kinds = sorted(named & set(known_models)) + ([_OTHER] if not known_models or set(known_models) - named else [])
    for model in kinds:
        for priority in _PRIORITIES:
            yield evaluate(policies, Subject(tenant, model, priority))
