"""Whatever schema is asked for, random tokens that its grammar lets through make JSON that the schema allows."""

import json
import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tether_worker.engine.form import Form, FormKind
from tether_worker.engine.grammar import GrammarBook

END = 256
TABLE = (*(bytes([byte]) for byte in range(256)), b"", b'{"', b'":', b'", "', b"true", b"12", "ä".encode(), b"\xe6\x97")
BOOK = GrammarBook(TABLE, {END})
STEPS_MAX = 600

Schema = dict[str, Any]


def closed(properties: dict[str, Schema]) -> Schema:
    return {
        "type": "object", "properties": properties, "required": list(properties), "additionalProperties": False,
    }  # fmt: skip


numbers = st.tuples(st.integers(-999, 999), st.integers(0, 99)).map(
    lambda drawn: {"type": "integer", "minimum": drawn[0], "maximum": drawn[0] + drawn[1]}
)
texts = st.tuples(st.integers(0, 3), st.integers(0, 4)).map(
    lambda drawn: {"type": "string", "minLength": drawn[0], "maxLength": drawn[0] + drawn[1]}
)
choices = st.lists(st.sampled_from(["a", "ä", "", 'quo"te', 5, None, True]), min_size=1, max_size=4)
leaves = st.one_of(numbers, texts, choices.map(lambda drawn: {"enum": drawn}), st.just({"type": "boolean"}))
schemas = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.dictionaries(st.sampled_from(["a", "b", "ü", "long name"]), inner, max_size=3).map(closed),
        st.tuples(inner, st.integers(0, 2), st.integers(0, 2)).map(
            lambda drawn: {"type": "array", "items": drawn[0], "minItems": drawn[1], "maxItems": drawn[1] + drawn[2]}
        ),
        st.lists(inner, min_size=1, max_size=3).map(lambda drawn: {"anyOf": drawn}),
    ),
    max_leaves=6,
)


def holds(schema: Schema, value: object) -> bool:
    """Whether a value satisfies a schema of the kinds above."""
    if "anyOf" in schema:
        return any(holds(one, value) for one in schema["anyOf"])
    if "enum" in schema:
        return any(type(value) is type(one) and value == one for one in schema["enum"])
    if isinstance(value, list | dict):
        return holds_all(schema, value)
    match schema["type"], value:
        case "integer", int():
            return not isinstance(value, bool) and schema["minimum"] <= value <= schema["maximum"]
        case "string", str():
            return schema["minLength"] <= len(value) <= schema["maxLength"]
    return schema["type"] == "boolean" and isinstance(value, bool)


def holds_all(schema: Schema, value: list[object] | dict[str, object]) -> bool:
    """Whether a list or an object satisfies a schema, with all that is in it."""
    if isinstance(value, list):
        fits = schema["type"] == "array" and schema["minItems"] <= len(value) <= schema["maxItems"]
        return fits and all(holds(schema["items"], one) for one in value)
    members = schema.get("properties")
    return (
        members is not None
        and value.keys() == members.keys()
        and all(holds(members[name], value[name]) for name in members)
    )


def wander(form: Form, seed: int) -> bytes:
    """The text of random tokens up to the end."""
    walk, rng, text = BOOK.compile(form).begin(), random.Random(seed), b""
    for _ in range(STEPS_MAX):
        mask = walk.mask()
        token = rng.choice([one for one in range(len(TABLE)) if mask[one >> 3] >> (one & 7) & 1])
        assert walk.take(token)
        if token == END:
            return text
        text += TABLE[token]
    raise AssertionError(text)


@settings(max_examples=60, deadline=None)
@given(schemas, st.integers(0, 1 << 32))
def test_random_tokens_that_may_come_make_what_the_schema_allows(schema, seed):
    assert holds(schema, json.loads(wander(Form(FormKind.JSON_SCHEMA, json.dumps(schema)), seed)))
