"""A machine for links that carry control alone: queued entries out, whole entries in, bodies put together again.

Orchestrators use it towards workers: reports, COMPLETE and OUTCOME; no credit, no chunks.
Source: docs/design/link.md.
"""

import struct
from collections import deque
from collections.abc import Callable, Iterator
from typing import NamedTuple

from google.protobuf.message import DecodeError

from tether import _native
from tether.errors import Reason, TetherError
from tether.link.end import LinkEnd
from tether.link.kind import NO_JOB
from tether.v1 import link_pb2

_HEADER = struct.Struct("<16sIBBHQQII")  # job, epoch, kind, flags, output, tokens, bytes, length, credit
_MORE = 1
_QUEUE_MAX = 16_384  # entries that wait on one link: 100 s of completions at 160/s; a peer so far behind is lost
_BATCH_MAX = 256  # entries taken into frames at a time, so that a frame leaves early
_BODY_BYTES_MAX = 1 << 20  # a COMPLETE with the largest kept answer is a quarter of it
_OPEN_MAX = 64  # bodies in pieces at a time on one link; a sender cuts one after the other


class Entry(NamedTuple):
    """One entry with its whole body."""

    job: bytes
    epoch: int
    kind: int
    body: bytes


class Outbox:
    """Entries that wait to leave, per link; what comes in goes to `on_entry`.

    Args:
        on_entry: called with each whole entry; ValueError or TetherError from it ends the link.
    """

    def __init__(self, on_entry: Callable[[LinkEnd, Entry], None]) -> None:
        self._on_entry = on_entry
        self._waiting: dict[int, deque[Entry]] = {}
        self._frames: dict[int, deque[bytes]] = {}
        self._pieces: dict[int, dict[tuple[bytes, int, int], bytearray]] = {}

    def send(self, link: LinkEnd, kind: int, body: bytes, *, job: bytes = NO_JOB, epoch: int = 0) -> None:
        """Queue one entry and wake the link; a link with too much waiting is closed."""
        queue = self._waiting.setdefault(link.number, deque())
        if len(queue) >= _QUEUE_MAX:
            link.close("stalled")
            return
        queue.append(Entry(job, epoch, int(kind), body))
        link.wake()

    def frame(self, link: LinkEnd, frame: bytes) -> None:
        """Hand the whole entries of a frame on; TetherError LINK_PROTOCOL for anything malformed."""
        pieces = self._pieces.setdefault(link.number, {})
        for job, epoch, kind, more, body in split(frame):
            whole = _join(pieces, (job, epoch, kind), body, more=more)
            if whole is not None:
                self._on_entry(link, Entry(job, epoch, kind, whole))

    def pull(self, link: LinkEnd) -> bytes | None:
        """Next frame to write, or None."""
        frames = self._frames.setdefault(link.number, deque())
        queue = self._waiting.get(link.number)
        if not frames and queue:
            batch = [queue.popleft() for _ in range(min(len(queue), _BATCH_MAX))]
            frames.extend(_native.encode_frame([(job, epoch, kind, 0, 0, 0, body) for job, epoch, kind, body in batch]))
        return frames.popleft() if frames else None

    def forget(self, link: LinkEnd) -> None:
        """Drop what an ended link had waiting."""
        self._waiting.pop(link.number, None)
        self._frames.pop(link.number, None)
        self._pieces.pop(link.number, None)


def split(frame: bytes) -> Iterator[tuple[bytes, int, int, bool, bytes]]:
    """Entries of a serialized Link.Frame as (job, epoch, kind, whether more follows, body); LINK_PROTOCOL if malformed."""
    try:
        entries = link_pb2.Link.Frame.FromString(frame).entries
    except DecodeError as fault:
        raise TetherError(Reason.LINK_PROTOCOL, "a frame is no valid message") from fault
    at = 0
    while at < len(entries):
        start = at + _HEADER.size
        if start > len(entries):
            raise TetherError(Reason.LINK_PROTOCOL, "a frame ends inside a header")
        job, epoch, kind, flags, _, _, _, length, _ = _HEADER.unpack_from(entries, at)
        at = start + length
        if at > len(entries):
            raise TetherError(Reason.LINK_PROTOCOL, "a frame ends inside a body")
        yield job, epoch, kind, bool(flags & _MORE), entries[start:at]


def _join(
    pieces: dict[tuple[bytes, int, int], bytearray], name: tuple[bytes, int, int], body: bytes, *, more: bool
) -> bytes | None:
    """Put a body together; returns it when it is whole."""
    if name not in pieces and not more:
        return body
    if name not in pieces and len(pieces) >= _OPEN_MAX:
        raise TetherError(Reason.LINK_PROTOCOL, "too many bodies in pieces at a time")
    joined = pieces.setdefault(name, bytearray())
    joined += body
    if len(joined) > _BODY_BYTES_MAX:
        raise TetherError(Reason.LINK_PROTOCOL, "a body is over the limit")
    return None if more else bytes(pieces.pop(name))
