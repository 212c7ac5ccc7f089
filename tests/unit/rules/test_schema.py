"""Schemas that are none, or that nothing satisfies, are refused before any model sees them; all others pass."""

import json
import time

import pytest

from tether.errors import Reason, TetherError
from tether.rules.schema import DEPTH_MAX, check_schema

NODE = {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}}


def nested(levels: int) -> str:
    return '{"items":' * (levels - 1) + "{}" + "}" * (levels - 1)


def recursive(**node: object) -> str:
    return json.dumps({"$ref": "#/$defs/node", "$defs": {"node": node}})


@pytest.mark.parametrize(
    "text",
    [
        "{}", "true", '{"type":"object"}', nested(DEPTH_MAX), recursive(**NODE),
        recursive(anyOf=[{"type": "null"}, {"$ref": "#/$defs/node"}]),
        recursive(type="array", items={"$ref": "#/$defs/node"}),
        recursive(type="array", items={"$ref": "#/$defs/node"}, minItems=1, prefixItems=[{"type": "null"}]),
        recursive(type=["object", "null"], properties={"next": {"$ref": "#/$defs/node"}}, required=["next"]),
        '{"$ref":"#/$defs/nowhere"}', '{"$ref":"http://example.com/x"}', '{"$ref":5,"required":5,"properties":[]}',
    ],
)  # fmt: skip
def test_schema_that_some_text_may_satisfy_passes(text):
    check_schema(text)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no JSON"), ("{", "no JSON"), ("nope", "no JSON"), ('{"maximum":NaN}', "no JSON"),
        ("[" * 60_000, "no JSON"),
        ('{"maximum":' + "9" * 5_000 + "}", "no JSON"), ("5", "object"), ('"string"', "object"), ("[1]", "object"),
        ("null", "object"), ("false", "nothing"), (nested(DEPTH_MAX + 1), "deep"),
        (recursive(**{"$ref": "#/$defs/node"}), "for ever"),
        (recursive(**NODE, required=["next"]), "for ever"),
        (recursive(allOf=[{"type": "object"}, {"$ref": "#/$defs/node"}]), "for ever"),
        (recursive(anyOf=[{"$ref": "#/$defs/node"}, {"$ref": "#"}]), "for ever"),
        (recursive(type="array", items={"$ref": "#/$defs/node"}, minItems=2), "for ever"),
        (recursive(type="array", items={}, minItems=1, prefixItems=[{"$ref": "#/$defs/node"}]), "for ever"),
    ],
)  # fmt: skip
def test_schema_that_is_none_or_that_nothing_satisfies_is_refused(text, why):
    with pytest.raises(TetherError, match=why) as refused:
        check_schema(text)
    assert refused.value.reason is Reason.SCHEMA_INVALID
    assert refused.value.field == "parameters.response_format"


def test_largest_schemas_are_checked_in_no_time():
    chain = {f"d{index}": {"$ref": f"#/$defs/d{index + 1}"} for index in range(2_000)}
    long = json.dumps({"$ref": "#/$defs/d0", "$defs": chain | {"d2000": {}}})
    wide = json.dumps({"anyOf": [{"$ref": "#"}] * 4_000 + [{}]})
    begin = time.perf_counter()
    check_schema(long)
    check_schema(wide)
    assert time.perf_counter() - begin < 0.5  # some milliseconds; a quadratic check takes seconds
