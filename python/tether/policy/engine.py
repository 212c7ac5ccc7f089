"""Evaluates policy: from the rules for all and those of a tenant to one decision.

Every rule that matches counts. What rules restrict adds up over both lists; what they prefer is decided by the first
that states it, the tenant's own rules first. A kind of request is evaluated once and remembered.
Source: the combination is XACML's deny-overrides for restrictions and first-applicable for preferences.
"""

from collections import OrderedDict
from collections.abc import Iterable
from typing import Any

from tether.policy.decision import NO_RULES, Decision, Subject
from tether.policy.rule import Rule, read, words
from tether.v1.policy_pb2 import Policy

_KEPT_MAX = 8_192  # kinds of requests in use at a time; a decision is about 1 KiB


class Policies:
    """The policies of a network, ready to be evaluated; made anew when one of them changes.

    Args:
        policies: at most one for each tenant, and one for all.
    """

    def __init__(self, policies: Iterable[Policy] = ()) -> None:
        self._by_tenant = {one.tenant_id: tuple(map(read, one.rules)) for one in policies}
        self._for_all = self._by_tenant.pop("", ())
        self._kept: OrderedDict[tuple[str, str, int], Decision] = OrderedDict()

    def __repr__(self) -> str:
        return f"Policies({len(self._for_all)} rules for all, {len(self._by_tenant)} tenants with their own)"

    def rules(self, tenant: str) -> tuple[Rule, ...]:
        """Rules that are for a tenant: its own first."""
        return self._by_tenant.get(tenant, ()) + self._for_all

    def decide(self, subject: Subject) -> Decision:
        """See `evaluate`."""
        tenant = subject.tenant if subject.tenant in self._by_tenant else ""
        if not tenant and not self._for_all:
            return NO_RULES
        key = (tenant, subject.model, subject.priority)
        found = self._kept.get(key)
        if found is None:
            found = decision_of((rule for rule in self.rules(tenant) if rule.matches(subject)), subject.model)
            if len(self._kept) >= _KEPT_MAX:
                self._kept.popitem(last=False)
            self._kept[key] = found
        return found


def evaluate(policies: Policies, subject: Subject) -> Decision:
    """What the rules say of a request; that of no rules where none matches.

    Args:
        policies: all that hold.
        subject: the request.

    Returns:
        The decision; `enforce` refuses by it.
    """
    return policies.decide(subject)


def decision_of(rules: Iterable[Rule], model: str) -> Decision:
    """The decision of rules that match a request for a model, in order."""
    draft = _Draft()
    for rule in rules:
        draft.add(rule)
    return draft.decision(model)


class _Draft:
    """A decision in the making."""

    def __init__(self) -> None:
        self._sets: dict[str, frozenset[str]] = {}
        self._by: dict[str, list[str]] = {}
        self._values: dict[str, Any] = {}
        self._points: dict[str, float] = {}
        self._why: list[str] = []

    def add(self, rule: Rule) -> None:
        """One more rule has its say."""
        said = [*self._restrict(rule), *self._prefer(rule)]
        if said:
            self._why.append(f"{rule.name}: {'; '.join(said)}")

    def _restrict(self, rule: Rule) -> Iterable[str]:
        if rule.forbid:
            self._by.setdefault("forbid", []).append(rule.name)
            yield "forbids it"
        for what, names in rule.sets.items():
            self._sets[what] = self._sets.get(what, names) & names
            self._by.setdefault(what, []).append(rule.name)
            yield words(what, names)
        if rule.encryption_required:
            self._values["encryption_required"] = True
            self._by.setdefault("encryption_required", []).append(rule.name)
            yield "only sealed requests"
        for what in ("priority_max", "queue_wait_max_s"):
            limit = getattr(rule, what)
            if limit:
                self._values[what] = min(limit, self._values.get(what, limit))
                yield words(what, limit)

    def _prefer(self, rule: Rule) -> Iterable[str]:
        for what, value in rule.prefers.items():
            if what not in self._values:
                self._values[what] = value
                if what == "degrade":
                    self._values["degrade_rule"] = rule.name
                yield words(what, value)
        new = {region: points for region, points in rule.points.items() if region not in self._points}
        self._points |= new
        if new:
            yield f"points {', '.join(f'{region} {points:+g}' for region, points in sorted(new.items()))}"

    def decision(self, model: str) -> Decision:
        """What has been said."""
        sets, allowed = self._sets, self._sets.get("allowed_models")
        refusing = list(self._by.get("forbid", ()))
        if allowed is not None and model not in allowed:
            refusing += self._by["allowed_models"]
        by = {what: ", ".join(names) for what, names in self._by.items()}
        regions = [sets[what] for what in ("regions", "residency") if what in sets]
        if regions:
            by["regions"] = ", ".join(dict.fromkeys(self._by.get("regions", []) + self._by.get("residency", [])))
        return Decision(
            forbidden_by=", ".join(dict.fromkeys(refusing)),
            regions=frozenset.intersection(*regions) if regions else None,
            gpu_classes=sets.get("gpu_classes"),
            residency=sets.get("residency"),
            points=self._points,
            by=by,
            why=tuple(self._why),
            **self._values,
        )
