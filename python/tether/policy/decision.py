"""What policy says of a request, and whether that lets it run.

A decision is a plain value: it is made once for a kind of request and read by all that act on it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from tether.errors import Reason, TetherError
from tether.v1.infer_pb2 import Infer
from tether.v1.policy_pb2 import Allowance, DegradeTarget, Retain

WEIGHT = 1  # of a tenant of which no rule says anything
_NONE: Mapping[str, float] = MappingProxyType({})
_NOBODY: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Subject:
    """What rules look at.

    Attributes:
        tenant: who pays.
        model: name of the model that would run.
        priority: `Infer.Priority` that is asked for; unspecified is NORMAL.
    """

    tenant: str
    model: str
    priority: int = Infer.PRIORITY_NORMAL


@dataclass(frozen=True, slots=True)
class Decision:
    """What the rules say of a request.

    Attributes:
        forbidden_by: rules that refuse it, or empty.
        regions: regions it may run in, `residency` counted in; None for all.
        gpu_classes: GPU classes it may run on; None for all.
        residency: regions that its content must not leave; None for all.
        encryption_required: whether only sealed requests may run.
        path: way of the chunks, `Infer.Path`; unspecified where no rule says.
        priority_max: highest class, `Infer.Priority`.
        weight: share of the tenant beside others of its class, from 1.
        points: what regions are worth, -1 to 1.
        degrade: what runs when nothing has room, in order.
        degrade_rule: the rule that says so, or empty.
        retain: what dead letters keep.
        away: what may be done while the home region cannot be reached.
        without_store: what may be done while the store cannot be reached.
        queue_wait_max_s: longest wait for a worker, seconds; None where no rule says.
        hedge_after_s: wait before a second attempt races a late first chunk, seconds; None for never.
        by: names of the rules that restrict, by what they restrict.
        why: a line for each rule that had a say: its name, a colon, what it decided.
        where: equal for decisions that say the same of regions, GPU classes and points.
    """

    forbidden_by: str = ""
    regions: frozenset[str] | None = None
    gpu_classes: frozenset[str] | None = None
    residency: frozenset[str] | None = None
    encryption_required: bool = False
    path: int = Infer.PATH_UNSPECIFIED
    priority_max: int = Infer.PRIORITY_HIGH
    weight: int = WEIGHT
    points: Mapping[str, float] = field(default_factory=lambda: _NONE)
    degrade: tuple[DegradeTarget, ...] = ()
    degrade_rule: str = ""
    retain: int = Retain.RETAIN_NOTHING
    away: int = Allowance.ALLOWANCE_REFUSE
    without_store: int = Allowance.ALLOWANCE_REFUSE
    queue_wait_max_s: float | None = None
    hedge_after_s: float | None = None
    by: Mapping[str, str] = field(default_factory=lambda: _NOBODY)
    why: tuple[str, ...] = ()
    where: str = field(init=False, default="")

    def __post_init__(self) -> None:
        """Write down once what is asked for with each request."""
        regions, classes = (None if one is None else sorted(one) for one in (self.regions, self.gpu_classes))
        where = (
            "" if regions is classes is None and not self.points else f"{regions}{classes}{sorted(self.points.items())}"
        )
        object.__setattr__(self, "where", where)


NO_RULES = Decision()


def enforce(decision: Decision, *, sealed: bool) -> None:
    """Pass a request that may run.

    Args:
        decision: what the rules say of it.
        sealed: whether its input is sealed.

    Raises:
        TetherError: POLICY_FORBIDS, naming the rules.
    """
    if decision.forbidden_by:
        raise _refusal(decision.forbidden_by, "do not let this tenant run this model so")
    for what, left in (("regions", decision.regions), ("gpu_classes", decision.gpu_classes)):
        if left is not None and not left:
            raise _refusal(decision.by.get(what, ""), f"leave no {what} to run in")
    if decision.encryption_required and not sealed:
        raise _refusal(decision.by.get("encryption_required", ""), "let only sealed requests run")


def priority(asked: int, decision: Decision) -> int:
    """The class a request runs in: as asked for, and not above what the rules allow."""
    return min(asked or Infer.PRIORITY_NORMAL, decision.priority_max)


def path(wished: int, decision: Decision) -> int:
    """The way of the chunks: as the rules say, else as the client wishes, else direct."""
    return decision.path or wished or Infer.PATH_DIRECT


def _refusal(rules: str, what: str) -> TetherError:
    return TetherError(Reason.POLICY_FORBIDS, f"Policy forbids it: {rules} {what}", metadata={"rule": rules})
