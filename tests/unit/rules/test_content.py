"""Every rule on what a model is asked."""

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tether.errors import Reason, TetherError
from tether.rules import check_input
from tether.rules.content import ELEMENT_BYTES
from tether.v1 import infer_pb2

Infer = infer_pb2.Infer


def refused(content: Infer.Input) -> str:
    with pytest.raises(TetherError) as caught:
        check_input(content)
    assert caught.value.reason is Reason.INVALID_FIELD
    return caught.value.field


def chat(**message: object) -> Infer.Input:
    return Infer.Input(chat=Infer.Chat(messages=[Infer.Message(**{"role": "user", "content": "Hi", **message})]))


def tensor(**parts: object) -> Infer.Input:
    whole = {"name": "x", "data_type": Infer.DATA_TYPE_FP32, "shape": [2, 3], "data": bytes(24), **parts}
    return Infer.Input(tensors=Infer.Tensors(tensors=[Infer.Tensor(**whole)]))


def sealed(**parts: object) -> Infer.Input:
    keys = [Infer.WrappedKey(key_id=bytes(8), ciphertext=b"k")]
    whole = {"encapsulated_key": bytes(32), "ciphertext": bytes(16), "keys": keys, **parts}
    return Infer.Input(sealed=Infer.Sealed(**whole))


MESSAGE = "input.chat.messages[0]"
TENSOR = "input.tensors.tensors[0]"


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("input", Infer.Input()),
        ("input.text", Infer.Input(text="")),
        ("input.chat.messages", Infer.Input(chat=Infer.Chat())),
        ("input.chat.messages", Infer.Input(chat=Infer.Chat(messages=[Infer.Message()] * 257))),
        (f"{MESSAGE}.role", chat(role="")),
        (f"{MESSAGE}.role", chat(role="root")),
        (f"{MESSAGE}.content", chat(content="")),
        (f"{MESSAGE}.name", chat(name="n" * 65)),
        (f"{MESSAGE}.tool_call_id", chat(tool_call_id="n" * 65)),
        (f"{MESSAGE}.tool_calls[0].id", chat(tool_calls=[Infer.ToolCall(id="n" * 65)])),
        (f"{MESSAGE}.tool_calls[0].name", chat(tool_calls=[Infer.ToolCall(name="n" * 65)])),
        ("input.tensors.tensors", Infer.Input(tensors=Infer.Tensors())),
        (f"{TENSOR}.name", tensor(name="")),
        (f"{TENSOR}.name", tensor(name="n" * 129)),
        (f"{TENSOR}.data_type", tensor(data_type=0)),
        (f"{TENSOR}.data_type", tensor(data_type=99)),
        (f"{TENSOR}.shape", tensor(shape=[1] * 9)),
        (f"{TENSOR}.shape", tensor(shape=[-1])),
        (f"{TENSOR}.shape", tensor(shape=[2**31])),
        (f"{TENSOR}.data", tensor(data=bytes(23))),
        (f"{TENSOR}.data", tensor(shape=[2**31 - 1] * 8)),
        (f"{TENSOR}.data", tensor(data_type=Infer.DATA_TYPE_BYTES, shape=[1], data=struct.pack("<I", 9) + b"cut")),
        (f"{TENSOR}.data", tensor(data_type=Infer.DATA_TYPE_BYTES, shape=[2], data=struct.pack("<I", 1) + b"a")),
        ("input.sealed.encapsulated_key", sealed(encapsulated_key=b"short")),
        ("input.sealed.ciphertext", sealed(ciphertext=bytes(15))),
        ("input.sealed.keys", sealed(keys=[])),
        ("input.sealed.keys", sealed(keys=[Infer.WrappedKey()] * 17)),
        ("input.sealed.keys[0].key_id", sealed(keys=[Infer.WrappedKey(key_id=b"x", ciphertext=b"x")])),
        ("input.sealed.keys[0].ciphertext", sealed(keys=[Infer.WrappedKey(key_id=bytes(8))])),
        ("input.sealed.keys[0].ciphertext", sealed(keys=[Infer.WrappedKey(key_id=bytes(8), ciphertext=bytes(129))])),
    ],
)
def test_input_that_breaks_a_rule_is_refused_at_its_field(path: str, content: Infer.Input) -> None:
    assert refused(content) == path


def test_tensors_need_distinct_names() -> None:
    twice = tensor()
    twice.tensors.tensors.append(twice.tensors.tensors[0])
    assert refused(twice) == "input.tensors.tensors[1].name"


@pytest.mark.parametrize(
    "content",
    [
        Infer.Input(text="a"),
        chat(),
        chat(role="assistant", content="", tool_calls=[Infer.ToolCall(id="1", name="f", arguments_json="{}")]),
        chat(role="tool", tool_call_id="1"),
        Infer.Input(chat=Infer.Chat(messages=[Infer.Message(role="user", content="x")] * 256)),
        tensor(),
        tensor(shape=[], data=bytes(4)),
        tensor(shape=[0, 7], data=b""),
        tensor(data_type=Infer.DATA_TYPE_BYTES, shape=[2], data=struct.pack("<I1sI", 1, b"a", 0)[:5] + bytes(4)),
        sealed(),
    ],
)
def test_input_at_the_edge_of_a_rule_passes(content: Infer.Input) -> None:
    check_input(content)


def test_every_data_type_has_a_size() -> None:
    known = {value for value in Infer.DataType.values() if value}
    assert known == {*ELEMENT_BYTES, Infer.DATA_TYPE_BYTES}


@given(st.lists(st.binary(max_size=20), max_size=20))
def test_byte_strings_are_counted(texts: list[bytes]) -> None:
    data = b"".join(struct.pack("<I", len(text)) + text for text in texts)
    check_input(tensor(data_type=Infer.DATA_TYPE_BYTES, shape=[len(texts)], data=data))


@given(st.binary(max_size=200))
def test_any_bytes_end_in_a_verdict(raw: bytes) -> None:
    with contextlib.suppress(TetherError):
        check_input(tensor(data_type=Infer.DATA_TYPE_BYTES, shape=[3], data=raw))
