"""Requests of OpenAI's API: what is understood, and what is refused by name."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tether.edge.openai.request import Kind, read_chat, read_completion, refuse_embeddings
from tether.errors import Reason, TetherError
from tether.v1.infer_pb2 import Infer

CHAT = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
TEXT = {"model": "m", "prompt": "hi"}


def chat(**changes):
    return read_chat(json.dumps(CHAT | changes).encode())


def completion(**changes):
    return read_completion(json.dumps(TEXT | changes).encode())


def refusal(read, body, *args):
    with pytest.raises(TetherError) as caught:
        read(body if isinstance(body, bytes) else json.dumps(body).encode(), *args)
    return caught.value


def test_chat_becomes_a_request():
    call = chat(model="llama3.1-8b:1.2", max_tokens=5, temperature=0, top_p=0.5, seed=7, stop=["a", "b"], n=2, top_k=3)
    assert (call.kind, call.stream, call.include_usage, call.keyed) == (Kind.CHAT, False, False, False)
    assert call.request == Infer.Request(
        model_id="llama3.1-8b",
        version="1.2",
        input=Infer.Input(chat=Infer.Chat(messages=[Infer.Message(role="user", content="hi")])),
        parameters=Infer.Parameters(
            max_tokens=5, temperature=0, top_p=0.5, seed=7, stop=["a", "b"], choices=2, top_k=3
        ),
    )


def test_chat_leaves_unset_what_is_not_said():
    parameters = chat(temperature=None, max_tokens=None, stop=None).request.parameters
    assert parameters == Infer.Parameters()
    assert not parameters.HasField("temperature")


def test_chat_zero_temperature_is_said():
    assert chat(temperature=0).request.parameters.HasField("temperature")


def test_chat_newer_name_of_max_tokens_wins():
    assert chat(max_tokens=3, max_completion_tokens=9).request.parameters.max_tokens == 9


def test_chat_roles_parts_and_calls_are_read():
    messages = [
        {"role": "developer", "content": "be brief"},
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "name": "bob"},
        {"role": "assistant", "content": None, "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
        {"role": "tool", "content": "4", "tool_call_id": "c1"},
    ]  # fmt: skip
    made = chat(messages=messages).request.input.chat.messages
    assert [(one.role, one.content) for one in made] == [
        ("system", "be brief"), ("user", "ab"), ("assistant", ""), ("tool", "4"),
    ]  # fmt: skip
    assert made[1].name == "bob"
    assert made[2].tool_calls[0] == Infer.ToolCall(id="c1", name="f", arguments_json="{}")
    assert made[3].tool_call_id == "c1"


def test_chat_tools_and_forms_are_read():
    tool = {"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}}
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}
    made = chat(tools=[tool], tool_choice={"type": "function", "function": {"name": "f"}}, response_format=form)
    parameters = made.request.parameters
    assert parameters.tools[0] == Infer.Tool(name="f", description="d", parameters_json='{"type":"object"}')
    assert parameters.tool_choice == "f"
    assert parameters.response_format.json_schema == '{"type":"object"}'
    assert chat(response_format={"type": "json_object"}).request.parameters.response_format.json_object
    assert not chat(response_format={"type": "text"}).request.parameters.HasField("response_format")
    assert chat(response_format={"type": "regex", "regex": "a+"}).request.parameters.response_format.regex == "a+"


@pytest.mark.parametrize(("asked", "sent", "shown"), [(None, 1, 0), (0, 1, 0), (1, 1, 1), (20, 20, 20)])
def test_chat_logprobs_are_asked_for(asked, sent, shown):
    call = chat(logprobs=True, **({} if asked is None else {"top_logprobs": asked}))
    assert (call.logprobs, call.request.parameters.logprobs, call.alternatives) == (True, sent, shown)


def test_chat_stream_with_usage():
    call = chat(stream=True, stream_options={"include_usage": True})
    assert (call.stream, call.include_usage) == (True, True)


@pytest.mark.parametrize("seed", [0, 5, -1, -(1 << 63), (1 << 64) - 1])
def test_chat_seed_is_any_64_bits(seed):
    assert chat(seed=seed).request.parameters.seed == seed % (1 << 64)


NEUTRAL = {
    "user": "u",
    "metadata": {"a": "b"},
    "store": False,
    "service_tier": "auto",
    "logit_bias": {},
    "modalities": ["text"],
}


@pytest.mark.parametrize("name", NEUTRAL)
def test_chat_field_that_changes_nothing_is_taken(name):
    assert chat(**{name: NEUTRAL[name]}).request == chat().request


UNSUPPORTED = {
    "store": True, "service_tier": "flex", "logit_bias": {"1": 5}, "modalities": ["audio"], "audio": {},
    "prediction": {},
    "web_search_options": {}, "reasoning_effort": "high", "functions": [{}],
}  # fmt: skip


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_chat_field_that_cannot_be_done_is_refused_by_name(name):
    error = refusal(read_chat, CHAT | {name: UNSUPPORTED[name]})
    assert (error.reason, error.field, error.row.http) == (Reason.UNSUPPORTED, name, 501)


@pytest.mark.parametrize("name", ["temprature", "max_token", "__proto__", ""])
def test_chat_unknown_field_is_refused_by_name(name):
    error = refusal(read_chat, CHAT | {name: 1})
    assert (error.reason, error.field) == (Reason.UNKNOWN_FIELD, name)


WRONG = [
    ("model", 5), ("model", ""), ("model", "../x"), ("model", "a:b"), ("model", "A"), ("messages", []),
    ("messages", {}),
    ("messages", "hi"), ("temperature", "hot"), ("temperature", True), ("temperature", [1]), ("temperature", 1e300),
    ("max_tokens", -1), ("max_tokens", 0), ("max_tokens", 1 << 32), ("max_tokens", 1.5), ("max_tokens", "5"), ("n", 0),
    ("n", 9), ("stop", 5), ("stop", ["a"] * 9), ("stop", {"a": 1}), ("seed", 1 << 64), ("seed", 0.5), ("stream", "yes"),
    ("stream", 1), ("logprobs", 3), ("tools", {}), ("response_format", "json"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_chat_field_of_another_kind_is_refused_by_name(name, value):
    error = refusal(read_chat, CHAT | {name: value})
    assert error.reason is Reason.INVALID_FIELD
    assert error.field.startswith(name)


DEEP = [
    ([{"role": "robot", "content": "x"}], "messages[0].role", Reason.INVALID_FIELD),
    ([{"content": "x"}], "messages[0].role", Reason.INVALID_FIELD),
    ([{"role": "user", "content": 5}], "messages[0].content", Reason.INVALID_FIELD),
    ([{"role": "user", "content": "x", "wings": 2}], "messages[0].wings", Reason.UNKNOWN_FIELD),
    (["x"], "messages[0]", Reason.INVALID_FIELD),
    ([{"role": "user", "content": [{"type": "image_url"}]}], "messages[0].content[0].type", Reason.UNSUPPORTED),
    ([{"role": "user", "content": [{"type": "text"}]}], "messages[0].content[0].text", Reason.INVALID_FIELD),
    ([{"role": "user", "content": "x"}] * 257, "messages", Reason.INVALID_FIELD),
]


@pytest.mark.parametrize(("messages", "field", "reason"), DEEP)
def test_chat_bad_message_is_refused_by_its_path(messages, field, reason):
    error = refusal(read_chat, CHAT | {"messages": messages})
    assert (error.field, error.reason) == (field, reason)


@pytest.mark.parametrize("missing", ["model", "messages"])
def test_chat_missing_field_is_named(missing):
    error = refusal(read_chat, {key: value for key, value in CHAT.items() if key != missing})
    assert (error.reason, error.field) == (Reason.INVALID_FIELD, missing)


def test_chat_stream_options_need_a_stream():
    assert refusal(read_chat, CHAT | {"stream_options": {"include_usage": True}}).field == "stream_options"


def test_chat_rivals_need_logprobs():
    assert refusal(read_chat, CHAT | {"top_logprobs": 3}).field == "top_logprobs"


NO_JSON = [
    b"", b"hi", b"[]", b"5", b"null", b"{", b"\xff\xfe{}", b'{"model": NaN}', b'{"temperature": Infinity}',
    b"[" * 100_000,
    b'{"a": "\xff"}', '{"model": "m"}'.encode("utf-16"), b'{"n": ' + b"9" * 5_000 + b"}",
]  # fmt: skip


@pytest.mark.parametrize("body", NO_JSON)
def test_body_that_is_no_json_is_malformed(body):
    assert refusal(read_chat, body).reason is Reason.MALFORMED


def test_body_with_half_a_character_is_malformed():
    body = b'{"model": "m", "messages": [{"role": "user", "content": "\\ud800"}]}'
    error = refusal(read_chat, body)
    assert (error.reason, error.field) == (Reason.MALFORMED, "messages[0].content")


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)
REFUSALS = {Reason.INVALID_FIELD, Reason.UNKNOWN_FIELD, Reason.UNSUPPORTED, Reason.MALFORMED}


@given(st.sampled_from(["messages", "stop", "tools", "response_format", "stream_options", "top_p", "model"]), JSON)
def test_body_of_any_shape_is_read_or_refused(name, value):
    reason = None
    try:
        read_chat(json.dumps(CHAT | {name: value}).encode())
    except TetherError as error:
        reason = error.reason
    assert reason is None or reason in REFUSALS


def test_completion_becomes_a_request():
    call = completion(max_tokens=4, logprobs=0, stream=True)
    assert (call.kind, call.request.input.text, call.request.parameters.logprobs) == (Kind.COMPLETION, "hi", 1)
    assert (call.logprobs, call.alternatives, call.stream) == (True, 0, True)
    assert completion(prompt=["one"]).request.input.text == "one"
    assert completion(echo=False, best_of=1, suffix="").request == completion().request


@pytest.mark.parametrize("prompt", [["a", "b"], [1, 2], [[1, 2]], []])
def test_completion_of_several_prompts_or_tokens_is_refused(prompt):
    error = refusal(read_completion, TEXT | {"prompt": prompt})
    assert (error.reason, error.field) == (Reason.UNSUPPORTED, "prompt")


@pytest.mark.parametrize(("name", "value"), [("echo", True), ("best_of", 2), ("suffix", "x")])
def test_completion_field_that_cannot_be_done_is_refused(name, value):
    assert refusal(read_completion, TEXT | {name: value}).reason is Reason.UNSUPPORTED


def test_idempotency_key_is_the_correlation_id():
    call = read_chat(json.dumps(CHAT).encode(), "order-7")
    assert (call.request.correlation_id, call.keyed) == ("order-7", True)


@pytest.mark.parametrize("key", ["a b", "ä", "x" * 129, "a\nb"])
def test_idempotency_key_of_other_characters_is_refused(key):
    assert refusal(read_chat, CHAT, key).field == "Idempotency-Key"


def test_embeddings_are_refused_by_type():
    assert refuse_embeddings(b'{"model": "m", "input": "x"}').reason is Reason.UNSUPPORTED
    assert refusal(refuse_embeddings, {"input": "x"}).field == "model"


def test_numbers_stay_what_they_were():
    assert math.isclose(chat(temperature=0.7).request.parameters.temperature, 0.7, rel_tol=1e-6)
    assert chat(max_tokens=5.0).request.parameters.max_tokens == 5
