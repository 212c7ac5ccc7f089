"""The splice: client streams ↔ stream table ↔ links, without policy.

One native crossing per frame and per taken chunk; readers write where the frame came in. Everything that needs a
decision goes out through `Dispatch`.
Source: docs/design/design.md §2.
"""

import asyncio
from collections.abc import Callable
from time import monotonic_ns
from typing import Any

import structlog

from tether import _native
from tether.errors import TetherError
from tether.link import Dispatch, LinkBook, LinkEnd
from tether_gateway.cursor import Cursor
from tether_gateway.reader import Reader

TICK_S = 0.05  # as often as the table asks for
_log = structlog.get_logger("tether.gateway")


Foul = Callable[[LinkEnd, bytes, str], None]  # link, frame, what is wrong with it


def _ignore(_link: LinkEnd, _frame: bytes, _fault: str) -> None:
    return


def now_ms() -> int:
    """Monotonic milliseconds, the table's clock."""
    return monotonic_ns() // 1_000_000


class Splice(Dispatch):
    """All streams of a gateway over one `StreamTable`; the machine of its links.

    Args:
        table: the table.
        book: links of the process.
    """

    def __init__(self, table: _native.StreamTable, book: LinkBook) -> None:
        super().__init__()
        self.table = table
        self._readers: dict[int, Reader] = {}
        self._last = 0
        self._settling = False
        self._loop = asyncio.get_running_loop()
        self.foul: Foul = _ignore
        self.heard = b""  # the frame that is being acted on
        self.on("link", book.wake)
        self.on("reader", self._on_reader)
        self.on("end", self._on_end)
        self.on("failed", self._on_failed)

    def __repr__(self) -> str:
        return f"Splice({len(self._readers)} readers, {self.table!r})"

    # links

    def frame(self, link: LinkEnd, frame: bytes) -> None:
        """A frame came in; ValueError when malformed."""
        try:
            actions = self.table.frame(link.number, frame, now_ms())
        except ValueError as fault:
            self.foul(link, frame, str(fault))
            raise
        self.heard = frame
        self.act(actions)

    def pull(self, link: LinkEnd) -> bytes | None:
        """Next frame to write."""
        return self.table.pull(link.number)

    def up(self, link: LinkEnd) -> None:
        """A link stands."""
        _log.info("link stands", peer=link.peer.node_id, incarnation=link.peer.incarnation)

    def down(self, link: LinkEnd, why: str) -> None:
        """A link ended: its jobs are silent."""
        _log.info("link is gone", peer=link.peer.node_id, why=why)
        self.act(self.table.link_lost(link.number, now_ms()))

    # readers

    def join(self, job: bytes, stamp: bytes, first: bytes, cursor: Cursor | None = None) -> Reader:
        """Read a job from position 0, or from a cursor; to be left with `leave`."""
        self._last += 1
        reader = self._readers[self._last] = Reader(self._last, self.table.take, self._taken)
        begin: dict[str, Any] = {}
        if cursor is not None:
            begin = {"tokens": cursor.tokens, "bytes": cursor.text_bytes, "chain_state": cursor.chain_state or None}
        self.act(self.table.join(job, reader.number, stamp, first, now_ms(), **begin))
        return reader

    def leave(self, reader: Reader) -> None:
        """A client is done, or gone."""
        if self._readers.pop(reader.number, None) is not None:
            self.act(self.table.leave(reader.number, now_ms()))

    def interrupt(self, error: TetherError) -> None:
        """End all calls with an error and leave their jobs as they are, for readers elsewhere."""
        readers, self._readers = list(self._readers.values()), {}
        for reader in readers:
            reader.interrupt(error)

    async def run(self) -> None:
        """Tick until cancelled."""
        while True:
            await asyncio.sleep(TICK_S)
            self.act(self.table.tick(now_ms()))

    def _taken(self) -> None:
        """A reader took: what that causes is asked once per turn of the loop."""
        if not self._settling:
            self._settling = True
            self._loop.call_soon(self._settle)

    def _settle(self) -> None:
        self._settling = False
        self.act(self.table.actions())

    def _on_reader(self, number: int) -> None:
        reader = self._readers.get(number)
        if reader is not None:
            reader.ring()

    def _on_end(self, number: int) -> None:
        reader = self._readers.get(number)
        if reader is not None:
            reader.over = True
            reader.ring()

    def _on_failed(self, number: int, failure: bytes) -> None:
        reader = self._readers.get(number)
        if reader is not None:
            reader.over, reader.failure = True, failure
            reader.ring()
