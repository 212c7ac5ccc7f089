"""A rule as it is evaluated: the message's fields as plain values, read once.

Source: proto/tether/v1/policy.proto.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tether.policy.decision import Subject
from tether.v1.infer_pb2 import Infer
from tether.v1.policy_pb2 import Allowance, DegradeTarget, PolicyRule, Retain


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule.

    Attributes:
        name: for explanations.
        models: models it is for; empty for all.
        priorities: classes it is for; empty for all.
        forbid: refuses what it matches.
        sets: what it allows, by field of `PolicyRule`; only fields that say something.
        encryption_required: lets only sealed requests run.
        priority_max: highest class; 0 says nothing.
        queue_wait_max_s: longest wait; None says nothing.
        prefers: what it prefers, by field of `Decision`; only fields that say something.
        points: what regions are worth.
    """

    name: str
    models: frozenset[str]
    priorities: frozenset[int]
    forbid: bool
    sets: Mapping[str, frozenset[str]]
    encryption_required: bool
    priority_max: int
    queue_wait_max_s: float | None
    prefers: Mapping[str, object]
    points: Mapping[str, float]

    def matches(self, subject: Subject) -> bool:
        """Whether the rule is for this request."""
        if self.models and subject.model not in self.models:
            return False
        return not self.priorities or (subject.priority or Infer.PRIORITY_NORMAL) in self.priorities


def read(message: PolicyRule) -> Rule:
    """The rule that a message states; its ranges have been checked."""
    wait = message.queue_wait_max
    return Rule(
        name=message.name,
        models=frozenset(message.models),
        priorities=frozenset(int(one) or Infer.PRIORITY_NORMAL for one in message.priorities),
        forbid=message.forbid,
        sets=_sets(message),
        encryption_required=message.encryption_required,
        priority_max=message.priority_max,
        queue_wait_max_s=wait.ToTimedelta().total_seconds() if message.HasField("queue_wait_max") else None,
        prefers=_prefers(message),
        points=dict(message.points),
    )


def _sets(message: PolicyRule) -> dict[str, frozenset[str]]:
    stated = {
        "allowed_models": message.allowed_models,
        "regions": message.regions,
        "residency": message.residency,
        "gpu_classes": message.gpu_classes,
    }
    return {what: frozenset(names) for what, names in stated.items() if names}


def _prefers(message: PolicyRule) -> dict[str, object]:
    stated: dict[str, object] = {
        "path": message.path,
        "weight": message.weight,
        "degrade": tuple(message.degrade),
        "retain": message.retain,
        "away": message.away,
        "without_store": message.without_store,
    }
    found = {what: value for what, value in stated.items() if value}
    if message.HasField("hedge"):
        found["hedge_after_s"] = _hedge_s(message)
    return found


def _hedge_s(message: PolicyRule) -> float | None:
    hedge = message.hedge
    return hedge.after.ToTimedelta().total_seconds() if hedge.HasField("after") else None


def words(what: str, value: object) -> str:
    """What a rule decided, for people."""
    shown = _shown(what, value)
    return f"degrade to {shown}" if what == "degrade" else f"{what.removesuffix('_s').replace('_', ' ')} {shown}"


def _shown(what: str, value: object) -> str:
    if isinstance(value, frozenset):
        return ", ".join(sorted(value))
    if isinstance(value, tuple):
        return ", ".join(map(target_words, value))
    if isinstance(value, int) and what in _NAMES:
        return _NAMES[what](value).partition("_")[2].lower()
    return "never" if value is None else f"{value:g} s" if isinstance(value, float) else str(value)


def target_words(target: DegradeTarget) -> str:
    """What would run, for people."""
    model = target.model_id + (f":{target.version}" if target.version else "") or "the same model"
    limits = (("max_tokens", target.max_tokens), ("choices", target.choices))
    stated = [f"{what} {value}" for what, value in limits if value]
    return f"{model} with {' and '.join(stated)}" if stated else model


_NAMES: Mapping[str, Callable[[int], str]] = {
    "path": lambda value: Infer.Path.Name(Infer.Path.ValueType(value)),
    "priority_max": lambda value: Infer.Priority.Name(Infer.Priority.ValueType(value)),
    "retain": lambda value: Retain.Name(Retain.ValueType(value)),
    "away": lambda value: Allowance.Name(Allowance.ValueType(value)),
    "without_store": lambda value: Allowance.Name(Allowance.ValueType(value)),
}
