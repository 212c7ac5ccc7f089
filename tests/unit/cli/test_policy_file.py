"""Policies as operators write them: short words, both spellings, and errors that name what is wrong."""

import pytest
from google.protobuf.duration_pb2 import Duration

from tether.cli.policy_file import FILE_BYTES_MAX, parse, plain, text_of
from tether.errors import Reason, TetherError
from tether.v1.infer_pb2 import Infer
from tether.v1.policy_pb2 import Allowance, DegradeTarget, Hedge, Policy, PolicyRule, Retain

FULL = PolicyRule(
    name="all of it",
    models=["m"],
    priorities=[Infer.PRIORITY_LOW, Infer.PRIORITY_HIGH],
    residency=["eu-west"],
    encryption_required=True,
    path=Infer.PATH_RELAY,
    priority_max=Infer.PRIORITY_NORMAL,
    weight=7,
    points={"eu-west": 0.5},
    degrade=[DegradeTarget(model_id="s", max_tokens=512)],
    retain=Retain.RETAIN_REQUEST,
    without_store=Allowance.ALLOWANCE_ALLOWANCE,
    queue_wait_max=Duration(seconds=2, nanos=500_000_000),
    hedge=Hedge(after=Duration(nanos=80_000_000)),
)
WRITTEN = """
rules:
  - name: all of it
    models: [m]
    priorities: [low, high]
    residency: [eu-west]
    encryption_required: true
    path: relay
    priority_max: normal
    weight: 7
    points: {eu-west: 0.5}
    degrade: [{model_id: s, max_tokens: 512}]
    retain: request
    without_store: allowance
    queue_wait_max: 2.5s
    hedge: {after: 0.08s}
note: why
"""


def test_policy_file_says_every_field_in_short_words():
    assert parse(WRITTEN, "f") == Policy(rules=[FULL], note="why")


def test_policy_file_is_read_in_the_proto_s_own_spelling():
    text = '{"rules": [{"name": "r", "priorityMax": "PRIORITY_HIGH", "path": "PATH_RELAY", "queueWaitMax": "1s"}]}'
    assert parse(text, "f").rules[0].priority_max == Infer.PRIORITY_HIGH


def test_policy_that_is_shown_can_be_set_again():
    shown = Policy(tenant_id="acme", version=3, author="node", rules=[FULL], note="why")
    shown.created_at.FromMilliseconds(1_800_000_000_000)
    again = parse(text_of(shown), "f")
    assert (again.tenant_id, again.version, again.author, again.HasField("created_at")) == ("acme", 3, "", False)
    assert list(again.rules) == [FULL]
    assert plain(Policy())["name"] == "*"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("rules: [{name: r, path: sideways}]", "'sideways' is none of direct, relay"),
        ("rules: [{name: r, pathh: relay}]", "pathh"),
        ("rules: [{name: r, weight: many}]", "weight"),
        ("rules: [{name: r, weight: -1}]", "weight"),
        ("rules: r", "rules"),
        ("- r", "rules:"),
        ("", "rules:"),
        ("{", "line 1"),
        ("a: &a [x]\nrules: *a", "aliases"),
        ("rules: [{name: r, queue_wait_max: soon}]", "soon"),
        ("x" * (FILE_BYTES_MAX + 1), "bytes"),
        ("[" * 2_000, "no policy"),
    ],
)
def test_policy_file_that_is_wrong_is_named(text, words):
    with pytest.raises(TetherError, match="policy.yaml is no policy") as caught:
        parse(text, "policy.yaml")
    assert caught.value.reason is Reason.INVALID_FIELD
    assert words in caught.value.message
    assert len(caught.value.message) < 500
