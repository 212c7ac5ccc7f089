"""ChunkLogs behind the links' seam: feeds frames, performs actions, rings writers."""

import time
from collections.abc import Callable

from tether import _native
from tether.link import Dispatch, LinkBook, LinkEnd


def now_ms() -> int:
    """Monotonic milliseconds, the clock of the native machines."""
    return time.monotonic_ns() // 1_000_000


class LogMachine(Dispatch):
    """All links of a worker over one `ChunkLogs`.

    Args:
        logs: the machine.
        book: links of the process.
        clock_ms: monotonic milliseconds.
    """

    def __init__(self, logs: _native.ChunkLogs, book: LinkBook, clock_ms: Callable[[], int] = now_ms) -> None:
        super().__init__()
        self.logs = logs
        self.clock_ms = clock_ms
        self.on("link", book.wake)

    def frame(self, link: LinkEnd, frame: bytes) -> None:
        """A frame came in; ValueError when malformed."""
        self.act(self.logs.frame(link.number, frame, self.clock_ms()))

    def pull(self, link: LinkEnd) -> bytes | None:
        """Next frame to write."""
        return self.logs.pull(link.number)

    def lost(self, link: LinkEnd) -> None:
        """A link is gone."""
        self.act(self.logs.link_lost(link.number, self.clock_ms()))

    def tick(self) -> None:
        """Time passes."""
        self.act(self.logs.tick(self.clock_ms()))
