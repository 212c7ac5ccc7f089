"""Forms become grammars: what they let come next, what is refused, what is kept, and how long it may take."""

import json
import random
import time

import pytest

from tether.errors import Reason, TetherError
from tether_worker.engine import grammar
from tether_worker.engine.form import Form, FormKind
from tether_worker.engine.grammar import GRAMMARS_MAX, CompiledForm, GrammarBook

END = 256
WORDS = (b"true", b'{"', b'": ', b"ab")
TABLE = (*(bytes([byte]) for byte in range(256)), b"", *WORDS, b"")  # single bytes, the end, words, an unused id
PERSON = json.dumps(
    {
        "type": "object",
        "properties": {"name": {"enum": ["ann", "bob"]}, "old": {"type": "boolean"}},
        "required": ["name", "old"],
        "additionalProperties": False,
    }
)


@pytest.fixture
def book() -> GrammarBook:
    return GrammarBook(TABLE, {END})


def schema(text: str) -> Form:
    return Form(FormKind.JSON_SCHEMA, text)


def regex(text: str) -> Form:
    return Form(FormKind.REGEX, text)


def allowed(mask: bytes) -> set[int]:
    return {token for token in range(len(TABLE)) if mask[token >> 3] >> (token & 7) & 1}


def fits(compiled: CompiledForm, text: bytes) -> bool:
    """Whether a text can be said byte by byte, and end."""
    walk = compiled.begin()
    return all(byte in allowed(walk.mask()) and walk.take(byte) for byte in text) and END in allowed(walk.mask())


def wander(compiled: CompiledForm, seed: int, steps: int) -> list[int]:
    """Random tokens that a walk allows, until it fails; the end only where nothing else may come."""
    walk, rng, taken = compiled.begin(), random.Random(seed), []
    while len(taken) < steps and taken[-1:] != [END]:
        may = allowed(walk.mask())
        token = rng.choice(sorted(may - {END} or may or {END}))
        if not walk.take(token):
            assert walk.fault.reason is Reason.SCHEMA_INVALID
            break
        taken.append(token)
    return taken


@pytest.mark.parametrize(
    ("form", "good", "bad"),
    [
        (schema(PERSON), [b'{"name":"ann","old":true}', b'{"name": "bob", "old": false}'],
         [b"{}", b'{"name":"eve","old":true}', b'{"name":"ann"}', b'{"name":  "ann","old":true}', b" ", b""]),
        (Form(FormKind.JSON_OBJECT), [b"{}", b'{"a":[1,{"b":null}]}', '{"ä":"日"}'.encode()], [b"[]", b'{"\xff":1}']),
        (schema("true"), [b"1", b'"x"', b"[null]"], [b"nul", b"{"]),
        (regex("[a-z]{2}-[0-9]+"), [b"ab-1", b"zz-123"], [b"a-1", b"ab-", b"ab-1 "]),
        (regex("^abc$"), [b"abc"], [b"abcd", b"ab"]),
        (regex(""), [b""], [b"a"]),
        (regex("[äöü]"), ["ö".encode()], [b"\xc3", b"o"]),
        (regex('a/b\n"\\\\'), [b'a/b\n"\\'], [b"a"]),
        (regex('a/\nstart: "x'), [b'a/\nstart: "x'], [b"x"]),  # ends no rule of the grammar
    ],
)  # fmt: skip
def test_form_lets_through_what_satisfies_it_alone(book, form, good, bad):
    compiled = book.compile(form)
    assert [text for text in good if not fits(compiled, text)] == []
    assert [text for text in bad if fits(compiled, text)] == []


def test_end_may_come_exactly_where_the_form_is_satisfied(book):
    walk = book.compile(regex("ab?")).begin()
    assert allowed(walk.mask()) == {ord("a"), TABLE.index(b"ab")}
    assert walk.take(ord("a"))
    assert allowed(walk.mask()) == {ord("b"), END}
    assert walk.take(ord("b"))
    assert allowed(walk.mask()) == {END}
    assert walk.take(END)


def test_tokens_of_several_bytes_may_come_and_tokens_without_may_not(book):
    may = allowed(book.compile(schema(PERSON)).begin().mask())
    assert may == {ord("{"), TABLE.index(b'{"')}
    assert not may & {len(TABLE) - 1, END}


def test_token_that_may_not_come_ends_the_walk(book):
    walk = book.compile(regex("ab")).begin()
    assert walk.fault is None
    assert not walk.take(ord("x"))
    assert not any(walk.mask())
    assert walk.fault.reason is Reason.SCHEMA_INVALID


def test_walks_of_one_grammar_do_not_see_each_other(book):
    compiled = book.compile(regex("a+b"))
    one, other = compiled.begin(), compiled.begin()
    assert one.take(ord("a"))
    assert allowed(other.mask()) == {ord("a"), TABLE.index(b"ab")}
    assert allowed(one.mask()) == {ord("a"), ord("b"), TABLE.index(b"ab")}


@pytest.mark.parametrize("form", [schema(PERSON), Form(FormKind.JSON_OBJECT), regex("(\\w+ ){1,9}[.!]")])
def test_walk_is_rebuilt_from_the_tokens_at_every_place(book, form):
    taken, walk = wander(book.compile(form), seed=7, steps=40), book.compile(form).begin()
    for place, token in enumerate(taken):
        again = GrammarBook(TABLE, {END}).compile(form).begin()
        assert all(again.take(one) for one in taken[:place])
        assert again.mask() == walk.mask()
        assert walk.take(token)


@pytest.mark.parametrize(
    "form",
    [
        schema("nope"), schema("[1]"), schema("5"), schema("false"), schema('{"type":5}'),
        schema('{"type":"nonsense"}'), schema('{"enum":[]}'), schema('{"type":"string","enum":[]}'),
        schema('{"type":"integer","minimum":5,"maximum":3}'),
        schema('{"type":"string","minLength":5,"maxLength":3}'), schema('{"type":"string","const":5}'),
        schema('{"allOf":[{"type":"string"},{"type":"integer"}]}'), schema('{"type":"string","pattern":"("}'),
        schema('{"type":"object","properties":{"a":false},"required":["a"]}'), schema('{"not":{}}'),
        schema('{"$ref":"#/nowhere"}'), schema('{"$ref":"https://example.com/schema"}'), schema('{"a":' * 3_000),
        schema('{"const":"\\ud800"}'), schema('{"$defs":{"a":{"$ref":"#/$defs/a"}},"$ref":"#/$defs/a"}'),
        regex("a^"), regex("$a"), regex("("), regex("(?=a)b"), regex("(a)\\1"), regex("[a&&b]"), regex("a\\bb"),
        regex("[^\\x00-\\U0010FFFF]"),
    ],
)  # fmt: skip
def test_form_that_is_none_or_that_nothing_satisfies_is_refused(book, form):
    with pytest.raises(TetherError) as refused:
        book.compile(form)
    assert refused.value.reason is Reason.SCHEMA_INVALID
    assert refused.value.field == "parameters.response_format"
    assert len(refused.value.message) < 300


HARD = [
    regex("a{100000}"), regex("((a{1000}){1000}){1000}"), regex("(a+)+b"), regex("(a|a)*b"), regex("(.*a){1000}"),
    regex("(a?){500}a{500}"), regex("(.*)(.*)(.*)(.*)x{500}"), regex(".*[aeiou].{14}"),
    regex("(a|b|ab){0,500}c.{0,500}"),
    schema(json.dumps({"const": "a" * 60_000})), schema(json.dumps({"enum": [f"v{index}" for index in range(6_000)]})),
    schema('{"type":"array","minItems":100000,"items":{"type":"string"}}'),
    schema('{"type":"string","minLength":100000}'),
    schema(json.dumps({"properties": {f"k{one}": {"pattern": f"^[a-z]{{1,{one}}}$"} for one in range(1, 900)}})),
    schema(json.dumps({"anyOf": [{"type": "object", "properties": {f"k{one}": {}}} for one in range(900)]})),
]  # fmt: skip


@pytest.mark.parametrize("form", HARD, ids=lambda form: form.text[:30])
def test_hard_form_is_never_slow(book, form):
    book.compile(regex("warm"))
    begin = time.perf_counter()
    compiled = book.compile(form)
    compiled_s = time.perf_counter() - begin
    wander(compiled, seed=1, steps=50)
    assert compiled_s < 1  # at most 100 ms by itself
    assert time.perf_counter() - begin < 3  # 50 steps of a few milliseconds


def test_walk_whose_shared_lexer_is_full_goes_on_as_if_alone(book, monkeypatch):
    monkeypatch.setitem(grammar.LIMITS, "max_lexer_states", 300)
    hard = regex(".*[aeiou].{14}")
    alone = [wander(GrammarBook(TABLE, {END}).compile(hard), seed, steps=60) for seed in range(12)]
    assert min(map(len, alone)) > 20
    shared = book.compile(hard)
    assert [wander(shared, seed, steps=60) for seed in range(12)] == alone
    assert shared.worn
    assert book.compile(hard) is not shared


def test_compiled_forms_are_kept_up_to_a_number(book):
    first = book.compile(regex("a{1}"))
    assert book.compile(regex("a{1}")) is first
    assert book.compile(schema('"a{1}"'.join(["{", ":1}"]))) is not first
    for index in range(2, GRAMMARS_MAX + 2):
        book.compile(regex(f"a{{{index}}}"))
    assert book.compile(regex("a{1}")) is not first
