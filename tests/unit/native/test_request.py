"""Cut requests against the protobuf library: same fields, same verdicts, and a hash that only meaning changes."""

import hashlib
import struct
from typing import Any

import pytest
from google.protobuf.descriptor import FieldDescriptor as Field
from google.protobuf.message import DecodeError, Message
from hypothesis import given, settings
from hypothesis import strategies as st

from tether import _native
from tether.v1 import infer_pb2, placement_pb2

Request = infer_pb2.Infer.Request
LABEL = b"tether/request/v1\0"
HASHED = ("tenant_id", "model_id", "version", "input", "parameters", "adapters")

texts = st.text(max_size=12)
small = st.integers(0, 2**32 - 1)
floats = st.floats(width=32, allow_nan=False)
calls = st.builds(infer_pb2.Infer.ToolCall, id=texts, name=texts, arguments_json=texts, index=small)
turns = st.builds(
    infer_pb2.Infer.Message,
    role=texts,
    content=texts,
    name=texts,
    tool_calls=st.lists(calls, max_size=2),
    tool_call_id=texts,
)
tensors = st.builds(
    infer_pb2.Infer.Tensor,
    name=texts,
    data_type=st.integers(0, 14),
    shape=st.lists(st.integers(-(2**63), 2**63 - 1), max_size=3),
    data=st.binary(max_size=12),
)
keys = st.builds(infer_pb2.Infer.WrappedKey, key_id=st.binary(max_size=8), ciphertext=st.binary(max_size=8))
sealed = st.builds(
    infer_pb2.Infer.Sealed,
    encapsulated_key=st.binary(max_size=8),
    ciphertext=st.binary(max_size=8),
    keys=st.lists(keys, max_size=2),
    sequence=st.integers(0, 2**64 - 1),
)
inputs = st.one_of(
    st.builds(infer_pb2.Infer.Input),
    st.builds(infer_pb2.Infer.Input, text=texts),
    st.builds(infer_pb2.Infer.Input, chat=st.builds(infer_pb2.Infer.Chat, messages=st.lists(turns, max_size=3))),
    st.builds(infer_pb2.Infer.Input, tensors=st.builds(infer_pb2.Infer.Tensors, tensors=st.lists(tensors, max_size=2))),
    st.builds(infer_pb2.Infer.Input, sealed=sealed),
)
formats = st.one_of(
    st.builds(infer_pb2.Infer.ResponseFormat),
    st.builds(infer_pb2.Infer.ResponseFormat, json_schema=texts),
    st.builds(infer_pb2.Infer.ResponseFormat, json_object=st.booleans()),
)
parameters = st.builds(
    infer_pb2.Infer.Parameters,
    max_tokens=st.none() | small,
    temperature=st.none() | floats,
    top_p=st.none() | floats,
    top_k=st.none() | small,
    stop=st.lists(texts, max_size=2),
    seed=st.none() | st.integers(0, 2**64 - 1),
    frequency_penalty=st.none() | floats,
    presence_penalty=st.none() | floats,
    response_format=st.none() | formats,
    choices=small,
    logprobs=small,
    tools=st.lists(st.builds(infer_pb2.Infer.Tool, name=texts, description=texts, parameters_json=texts), max_size=2),
    tool_choice=texts,
)
adapters = st.builds(infer_pb2.Infer.AdapterRef, adapter_id=texts, version=texts, scale=floats)
requests = st.builds(
    Request,
    tenant_id=texts,
    model_id=texts,
    version=texts,
    input=st.none() | inputs,
    correlation_id=texts,
    retry_token=texts,
    trace_id=texts,
    parameters=st.none() | parameters,
    adapters=st.lists(adapters, max_size=2),
    priority=st.integers(0, 3),
    stream=st.none() | st.builds(infer_pb2.Infer.StreamOptions, on_disconnect=st.integers(0, 2)),
)


def canonical(message: Message) -> bytes:
    """The canonical form as docs/design/streams.md describes it, by reflection."""
    return b"".join(
        struct.pack("<I", field.number) + part
        for field in sorted(message.DESCRIPTOR.fields, key=lambda field: field.number)
        for part in values(message, field)
    )


def values(message: Message, field: Field) -> list[bytes]:
    """Encoded values of one field: none where it says nothing."""
    value = getattr(message, field.name)
    if field.is_repeated:
        return [encoded(field, one) for one in value]
    if field.containing_oneof or field.has_presence:
        one_of = field.containing_oneof is not None
        said = message.HasField(field.name) and (one_of or field.type != Field.TYPE_MESSAGE or canonical(value))
        return [encoded(field, value)] if said else []
    silent = struct.pack("<f", value) == bytes(4) if field.type == Field.TYPE_FLOAT else not value
    return [] if silent else [encoded(field, value)]


def encoded(field: Field, value: Any) -> bytes:
    """One value."""
    if field.type == Field.TYPE_MESSAGE:
        form = canonical(value)
        return struct.pack("<Q", len(form)) + form
    if field.type == Field.TYPE_FLOAT:
        return struct.pack("<f", value)
    if field.type in {Field.TYPE_STRING, Field.TYPE_BYTES}:
        raw = value.encode() if isinstance(value, str) else value
        return struct.pack("<Q", len(raw)) + raw
    return struct.pack("<Q", int(value) & (2**64 - 1))


def reference_hash(request: infer_pb2.Infer.Request, tenant: str) -> bytes:
    """The request hash, made with the protobuf library alone."""
    kept = Request(tenant_id=tenant, model_id=request.model_id, version=request.version, adapters=request.adapters)
    if request.HasField("parameters"):
        kept.parameters.CopyFrom(request.parameters)
    if request.HasField("input"):
        kept.input.CopyFrom(request.input)
        if request.input.WhichOneof("kind") == "sealed":
            kept.input.sealed.CopyFrom(infer_pb2.Infer.Sealed(ciphertext=request.input.sealed.ciphertext))
    return hashlib.sha256(LABEL + canonical(kept)).digest()


@given(requests, texts)
def test_hash_is_that_of_the_canonical_form(request: infer_pb2.Infer.Request, tenant: str) -> None:
    raw = request.SerializeToString()
    assert _native.cut_request(raw, tenant).request_hash == reference_hash(request, tenant)
    assert _native.request_hash(raw, tenant) == reference_hash(request, tenant)


@given(requests, st.randoms(use_true_random=False))
def test_hash_does_not_depend_on_field_order(request: infer_pb2.Infer.Request, rng: Any) -> None:
    parts = [Request(**{field.name: value}).SerializeToString() for field, value in request.ListFields()]
    rng.shuffle(parts)
    assert _native.request_hash(b"".join(parts), "t") == _native.request_hash(request.SerializeToString(), "t")


@given(requests)
def test_header_holds_all_but_the_input(request: infer_pb2.Infer.Request) -> None:
    cut = _native.cut_request(request.SerializeToString(), "payer")
    header = placement_pb2.Header.FromString(cut.header)
    keyed = bool(request.correlation_id or request.retry_token)
    assert (header.tenant_id, header.model_id, header.version) == ("payer", request.model_id, request.version)
    assert header.correlation_id == (request.correlation_id or request.retry_token)
    assert (header.retry_token, header.keyed) == (request.retry_token, keyed)
    assert (header.parameters, list(header.adapters)) == (request.parameters, list(request.adapters))
    assert (header.request_hash, header.priority) == (cut.request_hash, request.priority)
    assert header.on_disconnect == (request.stream.on_disconnect or (1 if keyed else 2))
    assert (cut.tenant_id, cut.trace_id, cut.utf8, cut.unknown) == (request.tenant_id, request.trace_id, True, [])
    assert header.input_bytes == cut.input_bytes
    kind = request.input.WhichOneof("kind")
    number = request.input.DESCRIPTOR.fields_by_name[kind].number if kind else 0
    assert cut.input_kind == number


@given(requests, st.binary(max_size=6), st.integers(0, 200), st.integers(0, 6))
@settings(max_examples=300)
def test_damaged_bytes_are_judged_as_the_library_judges_them(
    request: infer_pb2.Infer.Request, noise: bytes, at: int, gone: int
) -> None:
    raw = request.SerializeToString()
    damaged = raw[:at] + noise + raw[at + gone :]
    try:
        parsed = Request.FromString(damaged)
    except DecodeError:
        parsed = None
    try:
        cut = _native.cut_request(damaged, "t")
    except ValueError:
        assert parsed is None
        return
    assert (parsed is not None) == cut.utf8
    if parsed is not None:
        assert cut.request_hash == reference_hash(parsed, "t")


@pytest.mark.parametrize(
    ("request_", "size", "parts"),
    [
        (Request(input={"text": "hé"}), 3, 1),
        (Request(input={"chat": {"messages": [{"role": "user", "content": "hi"}, {"content": "x"}]}}), 7, 2),
        (Request(input={"tensors": {"tensors": [{"data": b"1234"}]}}), 4, 1),
        (Request(input={"sealed": {"ciphertext": b"12345", "encapsulated_key": b"k"}}), 5, 1),
        (Request(), 0, 0),
    ],
)
def test_input_is_measured(request_: infer_pb2.Infer.Request, size: int, parts: int) -> None:
    cut = _native.cut_request(request_.SerializeToString(), "t")
    assert (cut.input_bytes, cut.input_parts) == (size, parts)


def test_unknown_fields_are_named_at_any_depth() -> None:
    request = Request(input={"chat": {"messages": [{"role": "user"}]}}).SerializeToString()
    inner = b"\x22\x08" + b"\x12\x06\x0a\x04\xfa\x3f\x01x"  # input.chat.messages[0] with field 1023
    assert _native.cut_request(request + inner + b"\xf8\x3f\x01", "t").unknown == [1023]


def test_invalid_utf8_is_told_and_gives_no_header() -> None:
    cut = _native.cut_request(b"\x12\x02\xff\xfe", "t")
    assert (cut.utf8, cut.header, cut.tenant_id) == (False, b"", "")


def test_a_large_request_is_read_whole() -> None:
    request = Request(model_id="m", input={"text": "é" * 524_288}).SerializeToString()
    assert _native.cut_request(request, "t").input_bytes == 1_048_576


def filled(message: Message) -> Message:
    """Every field set once, at any depth; of a oneof the last."""
    for field in message.DESCRIPTOR.fields:
        value = getattr(message, field.name)
        if field.type == Field.TYPE_MESSAGE:
            filled(value.add() if field.is_repeated else value).SetInParent()
        elif field.is_repeated:
            value.append("x" if field.type == Field.TYPE_STRING else 1)
        elif field.type in {Field.TYPE_STRING, Field.TYPE_BYTES}:
            setattr(message, field.name, "x" if field.type == Field.TYPE_STRING else b"x")
        else:
            setattr(message, field.name, 1)
    return message


@pytest.mark.parametrize("kind", ["text", "chat", "tensors", "sealed"])
def test_every_field_of_the_contract_is_known(kind: str) -> None:
    request = Request()
    filled(request)
    one = infer_pb2.Infer.Input()
    value = getattr(one, kind)
    if kind == "text":
        one.text = "x"
    else:
        filled(value).SetInParent()
    request.input.CopyFrom(one)
    raw = request.SerializeToString()
    cut = _native.cut_request(raw, "t")
    assert cut.unknown == []
    assert cut.request_hash == reference_hash(request, "t")
