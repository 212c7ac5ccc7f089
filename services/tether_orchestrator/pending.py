"""Outcomes that wait for the store: kept in a journal on this node's disk, and written once it is back.

Who asked was told that the end is pending; from then on it is this orchestrator's to write, also after a restart. What
the store refuses for good is logged and forgotten: another outcome held, or the job is gone.
Source: docs/design/streams.md §5.
"""

import struct
from collections.abc import Awaitable, Callable

import structlog

from tether.errors import TetherError
from tether.node.journal import Journal
from tether.v1.placement_pb2 import CompleteRequest
from tether_orchestrator.ending import End, end_of, request_of
from tether_orchestrator.metrics import PENDING

_PREFIX = b"end/"
_BATCH_MAX = 64  # written at a time when the store is back
_GATEWAY, _WORKER = b"g", b"w"
_log = structlog.get_logger("tether.orchestrator")


class Pending:
    """Outcomes that are not written yet.

    Args:
        journal: keeps them.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def __len__(self) -> int:
        return len(self._kept())

    async def keep(self, end: End) -> None:
        """Keep an outcome; durable on return.

        Raises:
            TetherError: STORE_UNAVAILABLE where the journal cannot be written either.
        """
        who = _WORKER + end.worker.encode() if end.worker else _GATEWAY + end.gateway.encode()
        name = _PREFIX + end.job + struct.pack("<I", end.epoch)
        await self._journal.add(name, struct.pack("<H", len(who)) + who + request_of(end).SerializeToString())
        PENDING.set(len(self))

    async def write(self, write: Callable[[End], Awaitable[object]]) -> None:
        """Write a batch of what is kept; TetherError where the store is gone again."""
        for name, body in self._kept()[:_BATCH_MAX]:
            end = _parse(body)
            try:
                await write(end)
            except TetherError as error:
                if error.row.again:
                    raise
                _log.warning("pending_end_refused", job=end.job.hex(), reason=error.reason.name)
            self._journal.done(name)
            PENDING.set(len(self))

    def _kept(self) -> list[tuple[bytes, bytes]]:
        return [(name, body) for name, body in self._journal.entries() if name.startswith(_PREFIX)]


def _parse(body: bytes) -> End:
    (length,) = struct.unpack_from("<H", body)
    who, raw = body[2 : 2 + length], body[2 + length :]
    node = who[1:].decode()
    request = CompleteRequest.FromString(raw)
    return end_of(request, worker=node) if who[:1] == _WORKER else end_of(request, gateway=node)
