"""What a seed draws: the region, its rules, the requests and their clients. Pure."""

import random
from dataclasses import dataclass, replace
from typing import Any

from ask import Ask
from google.protobuf.duration_pb2 import Duration
from world import TENANTS, Setting

from tether.v1 import registry_pb2
from tether.v1.infer_pb2 import Infer
from tether.v1.policy_pb2 import Allowance, Hedge, Policy, PolicyRule

POISON = "poison"
SPAN_S = 2.5  # in which requests come


@dataclass(frozen=True)
class Mix:
    """A seed's world and its requests.

    Attributes:
        setting: the region.
        asks: requests.
        themes: what is special, for the story.
    """

    setting: Setting
    asks: list[Ask]
    themes: list[str]


def draw(rng: random.Random) -> Mix:
    """Draw a mix."""
    themes = [name for name, share in _SHARES.items() if rng.random() < share]
    counts = {"gateway": 2, "orchestrator": rng.choice((1, 1, 2)), "worker": rng.choice((2, 2, 3))}
    setting = Setting(counts)
    rule: dict[str, Any] = {}
    if "relay" in themes:
        rule["path"] = Infer.PATH_RELAY
    if "hedge" in themes:
        rule["hedge"] = Hedge(after=Duration(nanos=rng.choice((10, 30)) * 1_000_000))
    if "without store" in themes:
        rule["without_store"] = Allowance.ALLOWANCE_ALLOWANCE
    if rule:
        setting = replace(setting, policies=(Policy(version=1, rules=[PolicyRule(name="drawn", **rule)]),))
    if "quota" in themes:
        setting = replace(setting, quota=_quota(rng))
    if "overload" in themes:
        setting = replace(setting, slots=1)
    if "full disk" in themes:
        setting = replace(setting, journal_max=rng.choice((0, 1)))
    if "poison" in themes:
        setting = replace(setting, poison=POISON)
    return Mix(setting, _asks(rng, themes), themes)


_SHARES = {
    "relay": 0.15,
    "hedge": 0.15,
    "without store": 0.1,
    "quota": 0.15,
    "overload": 0.15,
    "full disk": 0.05,
    "poison": 0.1,
    "leave": 0.4,
    "cancel": 0.3,
    "repeat": 0.4,
    "conflict": 0.2,
}


def _quota(rng: random.Random) -> registry_pb2.Quota:
    kind = rng.choice(("requests_per_minute", "concurrent_jobs", "tokens_per_day", "tokens_per_minute"))
    most = {"requests_per_minute": 4, "concurrent_jobs": 2, "tokens_per_day": 400, "tokens_per_minute": 300}[kind]
    return registry_pb2.Quota(**{kind: most})


def _asks(rng: random.Random, themes: list[str]) -> list[Ask]:
    count = rng.randint(6, 10) if "overload" in themes else rng.randint(3, 6)
    span_s = 0.5 if "overload" in themes else SPAN_S
    asks = [_ask(rng, number, span_s) for number in range(count)]
    if "poison" in themes:
        asks[0].prompt = POISON
    if "leave" in themes:
        for ask in asks[1:3]:
            ask.leaves_s, ask.on_disconnect = rng.uniform(0.01, 0.5), rng.choice(("detach", "cancel"))
            if ask.name and ask.on_disconnect == "detach" and rng.random() < 0.7:
                ask.back_s = rng.uniform(0.05, 3.0)
    if "cancel" in themes:
        asks[-1].cancel_s = rng.uniform(0.005, 0.5)
    named = [ask for ask in asks if ask.name]
    if "repeat" in themes and named:
        asks.append(_twin(rng, rng.choice(named), len(asks)))
    if "conflict" in themes and named:
        other = _twin(rng, rng.choice(named), len(asks))
        other.seed += 1
        asks.append(other)
    return asks


def _ask(rng: random.Random, number: int, span_s: float) -> Ask:
    return Ask(
        number=number,
        tenant=rng.choice(TENANTS),
        seed=rng.getrandbits(62),
        tokens=rng.choice((1, 3, 10, 30, 80)),
        at_s=rng.uniform(0.0, span_s),
        name=f"ask-{number}" if rng.random() < 0.7 else "",
    )


def _twin(rng: random.Random, of: Ask, number: int) -> Ask:
    """The same key once more, a little later."""
    after_s = rng.choice((0.0, 0.01, 0.2, 1.0))
    return Ask(number, of.tenant, of.seed, of.tokens, of.at_s + after_s, of.name, of.prompt, twin=of.number)
