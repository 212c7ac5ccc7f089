"""Every rule on a header and its parameters: what breaks it is refused at its field, what keeps it passes."""

import math
from collections.abc import Callable

import pytest
from google.protobuf.duration_pb2 import Duration

from tether import rules
from tether.errors import Reason, TetherError
from tether.rules import InputKind, Limits
from tether.v1 import control_pb2, infer_pb2, placement_pb2

Infer = infer_pb2.Infer
Header = placement_pb2.Header
Change = Callable[[Header], object]


def header() -> Header:
    return Header(
        tenant_id="demo",
        model_id="tether-demo",
        version="1.0",
        correlation_id="one",
        request_hash=bytes(32),
        input_bytes=5,
        on_disconnect=infer_pb2.Infer.ON_DISCONNECT_CANCEL,
    )


def parameter(name: str, value: object) -> Change:
    return lambda sent: setattr(sent.parameters, name, value)


def field(name: str, value: object) -> Change:
    return lambda sent: setattr(sent, name, value)


def tool(**parts: str) -> Change:
    return lambda sent: sent.parameters.tools.add(**{"name": "f", **parts})


def adapter(**parts: object) -> Change:
    return lambda sent: sent.adapters.add(**{"adapter_id": "a", **parts})


def times(count: int, change: Change) -> Change:
    return lambda sent: [change(sent) for _ in range(count)]


def stops(*texts: str) -> Change:
    return lambda sent: sent.parameters.stop.extend(texts)


def form(**kind: object) -> Change:
    return lambda sent: sent.parameters.response_format.CopyFrom(Infer.ResponseFormat(**kind))


def chosen(choice: str, *names: str) -> Change:
    def change(sent: Header) -> None:
        sent.parameters.tool_choice = choice
        for name in names:
            sent.parameters.tools.add(name=name)

    return change


def lasting(seconds: int = 0, nanos: int = 0) -> Change:
    return lambda sent: sent.timeout.CopyFrom(Duration(seconds=seconds, nanos=nanos))


BROKEN: list[tuple[str, Change]] = [
    ("tenant_id", field("tenant_id", "De mo")),
    ("tenant_id", field("tenant_id", "a" * 64)),
    ("model_id", field("model_id", "")),
    ("model_id", field("model_id", "Llama")),
    ("model_id", field("model_id", "../etc/passwd")),
    ("model_id", field("model_id", "a" * 64)),
    ("version", field("version", "1")),
    ("version", field("version", "01.0")),
    ("correlation_id", field("correlation_id", "a b")),
    ("correlation_id", field("correlation_id", "a\r\nb")),
    ("correlation_id", field("correlation_id", "a" * 129)),
    ("retry_token", field("retry_token", "é")),
    ("parameters.max_tokens", parameter("max_tokens", 0)),
    ("parameters.max_tokens", parameter("max_tokens", 513)),
    ("parameters.max_tokens", parameter("max_tokens", 4_294_967_295)),
    ("parameters.temperature", parameter("temperature", math.nan)),
    ("parameters.temperature", parameter("temperature", math.inf)),
    ("parameters.temperature", parameter("temperature", -0.1)),
    ("parameters.temperature", parameter("temperature", 2.1)),
    ("parameters.top_p", parameter("top_p", 0)),
    ("parameters.top_p", parameter("top_p", 1.01)),
    ("parameters.top_p", parameter("top_p", math.nan)),
    ("parameters.top_k", parameter("top_k", 1_001)),
    ("parameters.stop", stops(*"abcdefghi")),
    ("parameters.stop[1]", stops("a", "")),
    ("parameters.stop[0]", stops("a" * 129)),
    ("parameters.frequency_penalty", parameter("frequency_penalty", 2.5)),
    ("parameters.frequency_penalty", parameter("frequency_penalty", math.nan)),
    ("parameters.presence_penalty", parameter("presence_penalty", -2.5)),
    ("parameters.presence_penalty", parameter("presence_penalty", -math.inf)),
    ("parameters.choices", parameter("choices", 9)),
    ("parameters.logprobs", parameter("logprobs", 21)),
    ("parameters.response_format.json_schema", form(json_schema="x" * 65_537)),
    ("parameters.response_format.json_schema", form(json_schema="")),
    ("parameters.response_format.regex", form(regex="x" * 4_097)),
    ("parameters.tools", times(65, tool())),
    ("parameters.tools[1].name", times(2, tool())),
    ("parameters.tools[0].name", tool(name="")),
    ("parameters.tools[0].name", tool(name="a b")),
    ("parameters.tools[0].description", tool(description="x" * 4_097)),
    ("parameters.tools[0].parameters_json", tool(parameters_json="x" * 65_537)),
    ("parameters.tool_choice", chosen("other", "f")),
    ("parameters.tool_choice", chosen("required")),
    ("adapters", times(5, adapter())),
    ("adapters[0].adapter_id", adapter(adapter_id="A")),
    ("adapters[0].version", adapter(version="one")),
    ("adapters[0].scale", adapter(scale=4.5)),
    ("adapters[0].scale", adapter(scale=math.nan)),
    ("priority", field("priority", 9)),
    ("stream.on_disconnect", field("on_disconnect", 9)),
    ("stream.path", field("path", 9)),
    ("timeout", lasting()),
    ("timeout", lasting(seconds=-1)),
    ("timeout", lasting(seconds=3_601)),
    ("timeout", lasting(nanos=-5)),
    ("timeout", lasting(seconds=1, nanos=2_000_000_000)),
]


@pytest.mark.parametrize(("path", "change"), BROKEN)
def test_header_that_breaks_a_rule_is_refused_at_its_field(path: str, change: Change) -> None:
    sent = header()
    change(sent)
    with pytest.raises(TetherError) as caught:
        rules.check_header(sent, Limits(context_tokens=512))
    assert (caught.value.reason, caught.value.field) == (Reason.INVALID_FIELD, path)
    assert "must be" in caught.value.message


KEPT: list[Change] = [
    lambda _: None,
    field("tenant_id", ""),
    field("version", ""),
    field("correlation_id", ""),
    field("correlation_id", "!" * 128),
    parameter("max_tokens", 512),
    parameter("temperature", 0),
    parameter("temperature", 2),
    parameter("top_p", 1),
    parameter("top_k", 0),
    parameter("top_k", 1_000),
    stops(*"abcdefgh"),
    stops("é" * 64),
    parameter("frequency_penalty", -2),
    parameter("presence_penalty", 2),
    parameter("choices", 8),
    parameter("logprobs", 20),
    parameter("seed", 2**64 - 1),
    form(json_schema="{}"),
    form(json_object=True),
    chosen("f", "f"),
    chosen("required", "f", "g"),
    times(4, adapter(scale=4.0, version="2.1")),
    field("priority", Infer.PRIORITY_HIGH),
    lasting(nanos=1_000_000),
    lasting(seconds=3_600),
]


@pytest.mark.parametrize("change", KEPT)
def test_header_at_the_edge_of_a_rule_passes(change: Change) -> None:
    sent = header()
    change(sent)
    rules.check_header(sent, Limits(context_tokens=512))


def test_input_over_the_limit_is_too_large() -> None:
    sent = header()
    sent.input_bytes = 1_048_577
    with pytest.raises(TetherError) as caught:
        rules.check_header(sent)
    assert (caught.value.reason, caught.value.field) == (Reason.TOO_LARGE, "input")


def test_errors_never_repeat_content() -> None:
    sent = header()
    sent.parameters.stop.append("secret" * 100)
    with pytest.raises(TetherError) as caught:
        rules.check_header(sent)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("path", "change"),
    [
        ("tenant_id", field("tenant_id", "")),
        ("correlation_id", field("correlation_id", "")),
        ("request_hash", field("request_hash", b"")),
        ("on_disconnect", field("on_disconnect", 0)),
        ("prefix_hashes", lambda sent: sent.prefix_hashes.extend([bytes(8)] * 33)),
        ("prefix_hashes[0]", lambda sent: sent.prefix_hashes.append(b"short")),
        ("model_id", field("model_id", "")),
    ],
)
def test_place_needs_all_filled_in(path: str, change: Change) -> None:
    rules.check_place(header())
    sent = header()
    change(sent)
    with pytest.raises(TetherError) as caught:
        rules.check_place(sent)
    assert caught.value.field == path


@pytest.mark.parametrize(
    ("unknown", "kind", "utf8", "reason"),
    [
        ([77, 78], InputKind.TEXT, True, Reason.UNKNOWN_FIELD),
        ([], InputKind.TEXT, False, Reason.MALFORMED),
        ([], InputKind.NONE, True, Reason.INVALID_FIELD),
    ],
)
def test_cut_facts_are_checked(unknown: list[int], kind: int, utf8: bool, reason: Reason) -> None:
    with pytest.raises(TetherError) as caught:
        rules.check_cut(unknown, kind, utf8=utf8)
    assert caught.value.reason is reason


def test_cut_of_a_good_request_passes() -> None:
    rules.check_cut([], InputKind.CHAT, utf8=True)


SUPPORTED: list[tuple[str, str, Change]] = [
    ("choices", "parameters.choices", parameter("choices", 2)),
    ("logprobs", "parameters.logprobs", parameter("logprobs", 1)),
    ("response-format", "parameters.response_format", form(json_object=True)),
    ("tools", "parameters.tools", tool()),
    ("adapters", "adapters", adapter()),
]


@pytest.mark.parametrize(("capability", "path", "change"), SUPPORTED)
def test_feature_needs_its_capability(capability: str, path: str, change: Change) -> None:
    sent = header()
    rules.check_supported(sent, ["text"], InputKind.TEXT)
    change(sent)
    with pytest.raises(TetherError) as caught:
        rules.check_supported(sent, ["text"], InputKind.TEXT)
    assert (caught.value.reason, caught.value.field) == (Reason.UNSUPPORTED, path)
    rules.check_supported(sent, ["text", capability], InputKind.TEXT)


@pytest.mark.parametrize("kind", [InputKind.TEXT, InputKind.CHAT, InputKind.TENSORS, InputKind.SEALED])
def test_input_kind_needs_its_capability(kind: InputKind) -> None:
    with pytest.raises(TetherError) as caught:
        rules.check_supported(header(), [], kind)
    assert (caught.value.reason, caught.value.field) == (Reason.UNSUPPORTED, "input")
    rules.check_supported(header(), [kind.name.lower()], kind)


def request() -> Infer.Request:
    return Infer.Request(model_id="tether-demo", input=Infer.Input(text="Hello"))


def test_request_passes_whole() -> None:
    rules.check_request(request())


@pytest.mark.parametrize("trace_id", ["0" * 32, "A" * 32, "a" * 31, "xyz"])
def test_trace_id_must_be_one(trace_id: str) -> None:
    sent = request()
    sent.trace_id = trace_id
    with pytest.raises(TetherError) as caught:
        rules.check_request(sent)
    assert caught.value.field == "trace_id"


def test_request_input_is_measured_and_checked() -> None:
    with pytest.raises(TetherError) as caught:
        rules.check_request(Infer.Request(model_id="m", input=Infer.Input(text="x" * 2_000)), Limits(1_000))
    assert caught.value.reason is Reason.TOO_LARGE
    with pytest.raises(TetherError) as caught:
        rules.check_request(Infer.Request(model_id="m"))
    assert caught.value.field == "input"


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        ("job_id", {}),
        ("job_id", {"job_id": "xyz"}),
        ("job_id", {"job_id": "A" * 32}),
        ("correlation_id", {"job_id": "a" * 32, "correlation_id": "c"}),
        ("correlation_id", {"correlation_id": "a b"}),
        ("retry_token", {"correlation_id": "c", "retry_token": "\n"}),
        ("job_id", {"retry_token": "r"}),
    ],
)
def test_job_is_named_by_id_or_key(path: str, parts: dict[str, str]) -> None:
    for kind in (infer_pb2.CancelRequest, infer_pb2.GetJobRequest, control_pb2.LookupJobRequest):
        with pytest.raises(TetherError) as caught:
            rules.check_job_name(kind(**parts))
        assert caught.value.field == path
    rules.check_job_name(infer_pb2.GetJobRequest(job_id="a" * 32))
    rules.check_job_name(infer_pb2.GetJobRequest(correlation_id="c", retry_token="r"))


@pytest.mark.parametrize("time", [Duration(seconds=-1), Duration(nanos=-1), Duration(nanos=2**31 - 1)])
def test_time_left_that_is_no_time_is_refused(time: Duration) -> None:
    assert rules.request.time_left_s("timeout", Duration(seconds=10**6, nanos=5 * 10**8)) == 10**6 + 0.5
    with pytest.raises(TetherError) as caught:
        rules.request.time_left_s("timeout", time)
    assert (caught.value.reason, caught.value.field) == (Reason.INVALID_FIELD, "timeout")


def test_header_that_asks_for_more_than_a_database_holds_is_refused() -> None:
    with pytest.raises(TetherError) as caught:
        rules.request.check_place(
            placement_pb2.Header(
                tenant_id="t",
                model_id="m",
                correlation_id="c",
                request_hash=bytes(32),
                on_disconnect=infer_pb2.Infer.ON_DISCONNECT_CANCEL,
                input_tokens_max=2**64 - 1,
            )
        )
    assert caught.value.field == "input_tokens_max"
