"""Rules: the first that matches decides."""

from tether.policy import ALLOW_ALL, Path, Rule, Subject, evaluate

ACME = Subject("acme", "demo", "1.0")


def test_evaluate_without_a_match_allows_all() -> None:
    ruling = evaluate([Rule("other", tenants=frozenset({"other"}))], ACME)
    assert (ruling.rule, ruling.regions, ruling.path) == ("allow-all", (), Path.DIRECT)


def test_evaluate_takes_the_first_match() -> None:
    rules = [
        Rule("model", models=frozenset({"big"}), regions=("eu-west",)),
        Rule("tenant", tenants=frozenset({"acme"}), regions=("local",), points={"local": 0.5}, path=Path.RELAY),
        ALLOW_ALL,
    ]
    ruling = evaluate(rules, ACME)
    assert (ruling.rule, ruling.regions, ruling.points, ruling.path) == (
        "tenant",
        ("local",),
        {"local": 0.5},
        Path.RELAY,
    )
    assert evaluate(rules, Subject("acme", "big", "1.0")).rule == "model"
