"""Answers in OpenAI's forms: each chunk once, an end only where there was one."""

import json

import pytest

from tether.edge.openai.answer import DONE, Events, Whole
from tether.edge.openai.request import Call, Kind
from tether.errors import Reason, TetherError
from tether.v1.infer_pb2 import Infer

NOW_S = 1_800_000_000.5
STARTED = Infer.Started(job_id="0" * 32, model_id="m", version="1.0")
USAGE = Infer.Usage(input_tokens=3, output_tokens=2, cached_input_tokens=1)


def call(kind=Kind.CHAT, *, usage=False, logprobs=False, alternatives=0):
    return Call(kind, Infer.Request(model_id="m"), True, usage, logprobs, alternatives)


def text(value, **fields):
    return Infer.Chunk(payload=Infer.Payload(text=value), **fields)


def first(value="", **fields):
    return text(value, started=STARTED, **fields)


def last(value="", reason=Infer.FINISH_REASON_STOP, **fields):
    return text(value, done=True, finish_reason=reason, usage=USAGE, **fields)


def events(raw):
    return [json.loads(line[6:]) for line in raw.decode().split("\n\n") if line and line != "data: [DONE]"]


def stream(encoder, *chunks):
    return b"".join(encoder.feed(one) for one in chunks)


def test_events_of_a_chat():
    encoder = Events(call(), NOW_S)
    raw = stream(encoder, first("Hel"), text("lo"), last("!"))
    made = events(raw)
    assert raw.endswith(DONE)
    assert encoder.done
    assert made[0] == {
        "id": "chatcmpl-" + "0" * 32,
        "object": "chat.completion.chunk",
        "created": 1_800_000_000,
        "model": "m:1.0",
        "choices": [
            {"index": 0, "delta": {"role": "assistant", "content": ""}, "logprobs": None, "finish_reason": None}
        ],
    }
    assert [one["choices"][0]["delta"].get("content") for one in made] == ["", "Hel", "lo", "!", None]
    assert [one["choices"][0]["finish_reason"] for one in made] == [None] * 4 + ["stop"]
    assert len({(one["id"], one["model"], one["created"]) for one in made}) == 1


def test_events_without_an_end_have_no_done():
    raw = stream(Events(call(), NOW_S), first("Hel"), text("lo"))
    assert b"[DONE]" not in raw
    assert all(one["choices"][0]["finish_reason"] is None for one in events(raw))


def test_events_with_usage_end_with_it():
    made = events(stream(Events(call(usage=True), NOW_S), first("a"), text("b"), last()))
    assert [one["usage"] for one in made[:-1]] == [None] * (len(made) - 1)
    assert made[-1]["choices"] == []
    assert made[-1]["usage"] == {
        "prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5, "prompt_tokens_details": {"cached_tokens": 1},
    }  # fmt: skip


@pytest.mark.parametrize(
    "value", ["plain", 'quote " and \\', "line\nbreak\r", "häß 漢字 🙂", "\u2028\u0000", "data: [DONE]"]
)
def test_events_plain_text_is_told_like_any_other(value):
    encoder = Events(call(), NOW_S)
    encoder.feed(first())
    fast = encoder.feed(text(value))
    slow = Events(call(), NOW_S)
    slow.feed(first())
    slow._is_plain = lambda _: False
    assert events(fast) == events(slow.feed(text(value)))
    assert fast.count(b"\n") == 2
    assert events(fast)[0]["choices"][0]["delta"] == {"content": value}


def test_events_of_several_outputs_begin_and_end_each():
    raw = stream(
        Events(call(), NOW_S),
        first("a"),
        text("b", output_index=1),
        text("", output_index=1, finish_reason=Infer.FINISH_REASON_LENGTH),
        last("c"),
    )
    choices = [one["choices"][0] for one in events(raw)]
    assert [one["index"] for one in choices if one["delta"].get("role")] == [0, 1]
    assert [(one["index"], one["finish_reason"]) for one in choices if one["finish_reason"]] == [
        (1, "length"),
        (0, "stop"),
    ]


def test_events_end_each_output_once():
    raw = stream(
        Events(call(), NOW_S), first("a", finish_reason=Infer.FINISH_REASON_LENGTH), Infer.Chunk(done=True, usage=USAGE)
    )
    reasons = [choice["finish_reason"] for one in events(raw) for choice in one["choices"]]
    assert [one for one in reasons if one] == ["length"]
    assert raw.endswith(DONE)


def test_events_of_calls_name_a_function_once():
    pieces = [
        first(tool_calls=[Infer.ToolCall(id="c1", name="f", index=0)]),
        Infer.Chunk(tool_calls=[Infer.ToolCall(arguments_json='{"a"', index=0)]),
        Infer.Chunk(tool_calls=[Infer.ToolCall(arguments_json=":1}", index=0)]),
        last(reason=Infer.FINISH_REASON_TOOL_CALLS),
    ]
    made = [one["choices"][0] for one in events(stream(Events(call(), NOW_S), *pieces))]
    deltas = [one["delta"]["tool_calls"][0] for one in made if "tool_calls" in one["delta"]]
    assert deltas[0] == {"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": ""}}
    assert "".join(one["function"]["arguments"] for one in deltas) == '{"a":1}'
    assert made[-1]["finish_reason"] == "tool_calls"


LOGPROBS = [
    Infer.TokenLogprob(
        token=token, logprob=-0.5, alternatives=[Infer.TokenLogprob.Alternative(token=b"x", logprob=-1.0)] * 3
    )
    for token in (b"He", b"y\xc3")
]


def test_events_with_logprobs_tell_tokens_and_rivals():
    raw = stream(Events(call(logprobs=True, alternatives=2), NOW_S), first("Hey", logprobs=LOGPROBS), last())
    content = events(raw)[1]["choices"][0]["logprobs"]["content"]
    assert [(one["token"], one["bytes"], one["logprob"]) for one in content] == [
        ("He", [72, 101], -0.5), ("y\ufffd", [121, 195], -0.5),
    ]  # fmt: skip
    assert [len(one["top_logprobs"]) for one in content] == [2, 2]


def test_events_of_a_completion():
    raw = stream(Events(call(Kind.COMPLETION), NOW_S), first("He"), text("y"), last())
    made = events(raw)
    assert made[0]["object"] == "text_completion"
    assert made[0]["id"].startswith("cmpl-")
    assert [one["choices"][0]["text"] for one in made] == ["He", "y", ""]


def test_events_of_a_completion_count_characters():
    raw = stream(
        Events(call(Kind.COMPLETION, logprobs=True), NOW_S),
        first("He", logprobs=LOGPROBS[:1]),
        text("ya", logprobs=LOGPROBS),
    )
    offsets = [one["choices"][0]["logprobs"]["text_offset"] for one in events(raw)]
    assert offsets == [[0], [2, 4]]


@pytest.mark.parametrize("make", [Events, Whole])
def test_answer_of_a_cancelled_job_is_an_error(make):
    with pytest.raises(TetherError) as caught:
        make(call(), NOW_S).feed(last(reason=Infer.FINISH_REASON_CANCELLED))
    assert caught.value.reason is Reason.JOB_CANCELLED


@pytest.mark.parametrize("make", [Events, Whole])
def test_answer_of_tensors_is_refused(make):
    with pytest.raises(TetherError) as caught:
        make(call(), NOW_S).feed(Infer.Chunk(payload=Infer.Payload(tensors=Infer.Tensors())))
    assert caught.value.reason is Reason.UNSUPPORTED


def whole(kind=Kind.CHAT, *chunks, **options):
    made = Whole(call(kind, **options), NOW_S)
    for one in chunks:
        made.feed(one)
    return json.loads(made.body())


def test_whole_chat():
    made = whole(Kind.CHAT, first("Hel"), text("lo"), last("!", Infer.FINISH_REASON_LENGTH))
    assert made["object"] == "chat.completion"
    assert made["choices"] == [
        {
            "index": 0,
            "logprobs": None,
            "finish_reason": "length",
            "message": {"role": "assistant", "content": "Hello!", "refusal": None},
        }
    ]
    assert made["usage"]["total_tokens"] == 5


def test_whole_completion_with_logprobs():
    made = whole(Kind.COMPLETION, first("Hey", logprobs=LOGPROBS), last(), logprobs=True, alternatives=1)
    choice = made["choices"][0]
    assert (choice["text"], choice["logprobs"]["tokens"], choice["logprobs"]["text_offset"]) == (
        "Hey",
        ["He", "y\ufffd"],
        [0, 2],
    )
    assert choice["logprobs"]["top_logprobs"] == [{"x": -1.0}] * 2


def test_whole_calls_are_put_together():
    made = whole(
        Kind.CHAT,
        first(tool_calls=[Infer.ToolCall(id="c1", name="f", arguments_json="{")]),
        Infer.Chunk(tool_calls=[Infer.ToolCall(arguments_json="}")]),
        last(reason=Infer.FINISH_REASON_TOOL_CALLS),
    )
    message = made["choices"][0]["message"]
    assert message["content"] is None
    assert message["tool_calls"] == [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]


def test_whole_without_an_end_is_an_error():
    made = Whole(call(), NOW_S)
    made.feed(first("Hel"))
    with pytest.raises(TetherError) as caught:
        made.body()
    assert caught.value.reason is Reason.WORKER_LOST


def test_whole_over_the_limit_is_refused():
    made = Whole(call(), NOW_S, bytes_max=100)
    made.feed(text("0" * 60))
    with pytest.raises(TetherError) as caught:
        made.feed(text("0" * 60))
    assert caught.value.reason is Reason.TOO_LARGE
