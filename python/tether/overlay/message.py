"""Messages inside a session: request, answer or notice; the package's framing, read without trust.

    plain = type 1 | message id 20 | MessagePack
A request or notice is `[method, [arguments]]`; an answer is any value.
"""

from dataclasses import dataclass
from typing import Any

import umsgpack  # type: ignore[import-untyped]

from tether.overlay.refusal import Refusal
from tether.overlay.session import DATAGRAM_BYTES_MAX, SEALED_OVERHEAD

ID_BYTES = 20
REQUEST, ANSWER, NOTICE = 0, 1, 2
PLAIN_BYTES_MAX = DATAGRAM_BYTES_MAX - SEALED_OVERHEAD
VALUE_BYTES_MAX = PLAIN_BYTES_MAX - 1 - ID_BYTES


@dataclass(frozen=True, slots=True)
class Message:
    """A message that was read.

    Attributes:
        type: REQUEST, ANSWER or NOTICE.
        message_id: 20 bytes.
        method: name of what is asked; empty in an answer.
        value: arguments, or the answer.
    """

    type: int
    message_id: bytes
    method: str
    value: Any


def pack(type_: int, message_id: bytes, value: object) -> bytes:
    """Write a message.

    Raises:
        ValueError: it is over what fits into a datagram; the sender must page.
    """
    packed: bytes = umsgpack.packb(value)
    plain = bytes([type_]) + message_id + packed
    if len(plain) > PLAIN_BYTES_MAX:
        raise ValueError(f"a message of {len(plain)} bytes does not fit into a datagram")
    return plain


def unpack(plain: bytes) -> Message | Refusal:
    """Read a message."""
    if len(plain) < 2 + ID_BYTES:
        return Refusal.MALFORMED
    type_, message_id = plain[0], plain[1 : 1 + ID_BYTES]
    try:
        value = umsgpack.unpackb(plain[1 + ID_BYTES :])
    except Exception:  # noqa: BLE001  # hostile bytes raise many kinds; each is the same refusal, which is counted
        return Refusal.MALFORMED
    if type_ == ANSWER:
        return Message(type_, message_id, "", value)
    match value:
        case [str(method), list(arguments)] if type_ in {REQUEST, NOTICE}:
            return Message(type_, message_id, method, arguments)
    return Refusal.MALFORMED
