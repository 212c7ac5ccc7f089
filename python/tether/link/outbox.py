"""A machine for links that carry control alone: queued entries out, whole entries in.

Orchestrators use it towards workers: reports, COMPLETE and OUTCOME; no credit, no chunks.
Source: docs/design/link.md.
"""

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from tether import _native
from tether.link.end import LinkEnd
from tether.link.kind import NO_JOB

_QUEUE_MAX = 16_384  # entries that wait on one link: 100 s of completions at 160/s; a peer so far behind is lost
_BATCH_MAX = 256  # entries taken into frames at a time, so that a frame leaves early
_BODY_BYTES_MAX = 1 << 20  # a COMPLETE with the largest kept answer is a quarter of it


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
        self._readers: dict[int, _native.FrameReader] = {}

    def send(self, link: LinkEnd, kind: int, body: bytes, *, job: bytes = NO_JOB, epoch: int = 0) -> None:
        """Queue one entry and wake the link; a link with too much waiting is closed."""
        queue = self._waiting.setdefault(link.number, deque())
        if len(queue) >= _QUEUE_MAX:
            link.close("stalled")
            return
        queue.append(Entry(job, epoch, int(kind), body))
        link.wake()

    def frame(self, link: LinkEnd, frame: bytes) -> None:
        """Hand the whole entries of a frame on; ValueError for anything malformed."""
        reader = self._readers.get(link.number)
        if reader is None:
            reader = self._readers[link.number] = _native.FrameReader(body_bytes_max=_BODY_BYTES_MAX)
        for job, epoch, kind, _tokens, _bytes, _credit, body in reader.feed(frame):
            self._on_entry(link, Entry(job, epoch, kind, body))

    def pull(self, link: LinkEnd) -> bytes | None:
        """Next frame to write, or None."""
        frames = self._frames.setdefault(link.number, deque())
        queue = self._waiting.get(link.number)
        if not frames and queue:
            batch = [queue.popleft() for _ in range(min(len(queue), _BATCH_MAX))]
            frames.extend(_native.encode_frame([(job, epoch, kind, 0, 0, 0, body) for job, epoch, kind, body in batch]))
        return frames.popleft() if frames else None

    def forget(self, link: LinkEnd) -> None:
        """Drop what an ended link had waiting; to be called from `LinkEvents.down`."""
        self._waiting.pop(link.number, None)
        self._frames.pop(link.number, None)
        self._readers.pop(link.number, None)
