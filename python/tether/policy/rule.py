"""Rules of an operator: who may run what where, and which way its chunks go.

Rules are tried in order and the first that matches decides, as in a firewall; a set that ends in `ALLOW_ALL` never
leaves a request without a ruling.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType


class Path(Enum):
    """The way of chunks from worker to gateway."""

    DIRECT = 1
    RELAY = 2


@dataclass(frozen=True, slots=True)
class Subject:
    """What a rule looks at.

    Attributes:
        tenant: who pays.
        model: name of the model.
        version: MAJOR.MINOR as resolved.
    """

    tenant: str
    model: str
    version: str


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule; an empty set matches all.

    Attributes:
        name: for explanations, at most 128 bytes.
        tenants: tenants it is for.
        models: models it is for.
        regions: regions the job may run in; empty for all.
        points: what regions are worth to the tenant, -1 to 1.
        path: way of the chunks.
    """

    name: str
    tenants: frozenset[str] = frozenset()
    models: frozenset[str] = frozenset()
    regions: tuple[str, ...] = ()
    points: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    path: Path = Path.DIRECT

    def matches(self, subject: Subject) -> bool:
        """Whether the rule is for this request."""
        if self.tenants and subject.tenant not in self.tenants:
            return False
        return not self.models or subject.model in self.models


@dataclass(frozen=True, slots=True)
class Ruling:
    """What the rules say of a request.

    Attributes:
        rule: name of the rule that decided.
        regions: regions the job may run in; empty for all.
        points: what regions are worth, -1 to 1.
        path: way of the chunks.
    """

    rule: str
    regions: tuple[str, ...]
    points: Mapping[str, float]
    path: Path


ALLOW_ALL = Rule("allow-all")


def evaluate(rules: Sequence[Rule], subject: Subject) -> Ruling:
    """The ruling of the first rule that matches; that of `ALLOW_ALL` where none does.

    Args:
        rules: in order.
        subject: the request.

    Returns:
        The ruling.
    """
    rule = next((rule for rule in rules if rule.matches(subject)), ALLOW_ALL)
    return Ruling(rule.name, rule.regions, rule.points, rule.path)
