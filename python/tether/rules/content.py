"""Rules of `Infer.Input`: what a model may be asked."""

import math
import struct

from tether.rules import check
from tether.v1 import infer_pb2

MESSAGES_MAX = 256
ROLES = ("system", "user", "assistant", "tool")
LABEL_BYTES_MAX = 64  # names of speakers, calls and functions
TENSORS_MAX, TENSOR_NAME_BYTES_MAX, DIMENSIONS_MAX, EXTENT_MAX = 64, 128, 8, (1 << 31) - 1
ENCAPSULATED_BYTES, TAG_BYTES, SEALED_KEYS_MAX, KEY_ID_BYTES, WRAPPED_BYTES_MAX = 32, 16, 16, 8, 128

ELEMENT_BYTES = {
    infer_pb2.Infer.DATA_TYPE_BOOL: 1,
    infer_pb2.Infer.DATA_TYPE_INT8: 1,
    infer_pb2.Infer.DATA_TYPE_INT16: 2,
    infer_pb2.Infer.DATA_TYPE_INT32: 4,
    infer_pb2.Infer.DATA_TYPE_INT64: 8,
    infer_pb2.Infer.DATA_TYPE_UINT8: 1,
    infer_pb2.Infer.DATA_TYPE_UINT16: 2,
    infer_pb2.Infer.DATA_TYPE_UINT32: 4,
    infer_pb2.Infer.DATA_TYPE_UINT64: 8,
    infer_pb2.Infer.DATA_TYPE_FP16: 2,
    infer_pb2.Infer.DATA_TYPE_BF16: 2,
    infer_pb2.Infer.DATA_TYPE_FP32: 4,
    infer_pb2.Infer.DATA_TYPE_FP64: 8,
}


def check_input(content: infer_pb2.Infer.Input) -> None:
    """Check what a model is asked; its size in bytes is checked with the header.

    Raises:
        TetherError: INVALID_FIELD below `input`.
    """
    match content.WhichOneof("kind"):
        case "text":
            check.holds("input.text", ok=bool(content.text), found="empty", rule="1 byte or more")
        case "chat":
            _check_chat(content.chat)
        case "tensors":
            _check_tensors(content.tensors)
        case "sealed":
            _check_sealed(content.sealed)
        case _:
            raise check.refusal("input", "empty", "text, chat, tensors or sealed")


def _check_chat(chat: infer_pb2.Infer.Chat) -> None:
    check.count("input.chat.messages", chat.messages, MESSAGES_MAX, 1)
    for index, message in enumerate(chat.messages):
        path = f"input.chat.messages[{index}]"
        check.holds(f"{path}.role", ok=message.role in ROLES, found="another", rule=", ".join(ROLES))
        said = bool(message.content or message.tool_calls)
        check.holds(f"{path}.content", ok=said, found="empty", rule="there unless there are tool_calls")
        check.text(f"{path}.name", message.name, LABEL_BYTES_MAX)
        check.text(f"{path}.tool_call_id", message.tool_call_id, LABEL_BYTES_MAX)
        for number, call in enumerate(message.tool_calls):
            check.text(f"{path}.tool_calls[{number}].id", call.id, LABEL_BYTES_MAX)
            check.text(f"{path}.tool_calls[{number}].name", call.name, LABEL_BYTES_MAX)


def _check_tensors(tensors: infer_pb2.Infer.Tensors) -> None:
    check.count("input.tensors.tensors", tensors.tensors, TENSORS_MAX, 1)
    names = set()
    for index, tensor in enumerate(tensors.tensors):
        path = f"input.tensors.tensors[{index}]"
        check.text(f"{path}.name", tensor.name, TENSOR_NAME_BYTES_MAX, 1)
        check.holds(f"{path}.name", ok=tensor.name not in names, found="a repetition", rule="distinct")
        names.add(tensor.name)
        _check_tensor(path, tensor)


def _check_tensor(path: str, tensor: infer_pb2.Infer.Tensor) -> None:
    """Check one array: its type, its shape, and that its data has just that size."""
    check.choice(f"{path}.data_type", tensor.data_type, {*ELEMENT_BYTES, infer_pb2.Infer.DATA_TYPE_BYTES})
    check.count(f"{path}.shape", tensor.shape, DIMENSIONS_MAX)
    for extent in tensor.shape:
        check.number(f"{path}.shape", extent, 0, EXTENT_MAX)
    elements = math.prod(tensor.shape)
    if tensor.data_type == infer_pb2.Infer.DATA_TYPE_BYTES:
        fits = _strings(tensor.data) == elements
        check.holds(f"{path}.data", ok=fits, found="of another shape", rule=f"{elements} length-prefixed strings")
    else:
        check.size(f"{path}.data", tensor.data, elements * ELEMENT_BYTES[tensor.data_type])


def _strings(data: bytes) -> int:
    """Count length-prefixed byte strings; -1 where the last one is cut off."""
    found, offset = 0, 0
    while offset + 4 <= len(data):
        offset += 4 + struct.unpack_from("<I", data, offset)[0]
        found += 1
    return found if offset == len(data) else -1


def _check_sealed(sealed: infer_pb2.Infer.Sealed) -> None:
    check.size("input.sealed.encapsulated_key", sealed.encapsulated_key, ENCAPSULATED_BYTES)
    whole = len(sealed.ciphertext) >= TAG_BYTES
    check.holds("input.sealed.ciphertext", ok=whole, found=f"{len(sealed.ciphertext)} bytes", rule="16 bytes or more")
    check.count("input.sealed.keys", sealed.keys, SEALED_KEYS_MAX, 1)
    for index, key in enumerate(sealed.keys):
        path = f"input.sealed.keys[{index}]"
        check.size(f"{path}.key_id", key.key_id, KEY_ID_BYTES)
        fits = 0 < len(key.ciphertext) <= WRAPPED_BYTES_MAX
        check.holds(f"{path}.ciphertext", ok=fits, found=f"{len(key.ciphertext)} bytes", rule="1 to 128 bytes")
