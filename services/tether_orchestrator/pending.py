"""Outcomes that wait for the store: kept in a journal on this node's disk, and written once it is back.

Who asked was told that the end is pending; from then on it is this orchestrator's to write, also after a restart. What
the store refuses for good is logged and forgotten: another outcome held, or the job is gone.
Source: docs/design/streams.md §5.
"""

import asyncio
import struct
from collections.abc import Awaitable, Callable
from itertools import islice

import structlog

from tether.errors import TetherError
from tether.job.state import State, is_open
from tether.node.journal import Journal
from tether.store.jobs import Settled
from tether.v1.placement_pb2 import CompleteRequest
from tether_orchestrator.ending import End, end_of, request_of
from tether_orchestrator.metrics import PENDING
from tether_orchestrator.store_health import GONE

_PREFIX = b"end/"
_BATCH_MAX = 256  # written at a time when the store is back: one group or two of the store
_GATEWAY, _WORKER = b"g", b"w"
_log = structlog.get_logger("tether.orchestrator")


class Pending:
    """Outcomes that are not written yet.

    Args:
        journal: keeps them.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._kept = {name: body for name, body in journal.entries() if name.startswith(_PREFIX)}
        PENDING.set(len(self._kept))

    def __len__(self) -> int:
        return len(self._kept)

    async def keep(self, end: End) -> None:
        """Keep an outcome; durable on return.

        Raises:
            TetherError: STORE_UNAVAILABLE where the journal cannot be written either.
        """
        who = _WORKER + end.worker.encode() if end.worker else _GATEWAY + end.gateway.encode()
        whose = _WORKER if end.worker else end.gateway.encode()  # side by side: of a race the driver's counts
        name = _PREFIX + end.job + struct.pack("<I", end.epoch) + whose
        body = struct.pack("<H", len(who)) + who + request_of(end).SerializeToString()
        await self._journal.add(name, body)
        self._kept[name] = body
        PENDING.set(len(self._kept))

    async def write(self, write: Callable[[End], Awaitable[object]]) -> int:
        """Write a batch of what is kept, oldest first; returns how many are settled. TetherError: the store is gone."""
        batch = list(islice(self._kept.items(), _BATCH_MAX))
        results = await asyncio.gather(*(write(_parse(body)) for _name, body in batch), return_exceptions=True)
        settled = 0
        for (name, body), result in zip(batch, results, strict=True):
            if isinstance(result, TetherError) and _stays(result):
                continue
            if isinstance(result, TetherError):
                _log.warning("pending_end_refused", job=_parse(body).job.hex(), reason=result.reason.name)
            elif isinstance(result, BaseException):
                raise result
            elif _undecided(_parse(body), result):
                self._kept[name] = self._kept.pop(name)  # behind the others
                continue
            settled += 1
            self._done(name, body)
        PENDING.set(len(self._kept))
        failed = next((result for result in results if isinstance(result, TetherError) and _stays(result)), None)
        if failed is not None:
            raise failed
        return settled

    def _done(self, name: bytes, body: bytes) -> None:
        if self._kept.get(name) is body:  # else the same end was asked for again meanwhile
            del self._kept[name]
            self._journal.done(name)


def _stays(error: TetherError) -> bool:
    return error.row.again or error.reason in GONE


def _undecided(end: End, result: object) -> bool:
    """Whether a whole answer, which somebody was given, waits for the end of a job that goes on."""
    return end.outcome is State.DONE and isinstance(result, Settled) and is_open(result.row.state)


def _parse(body: bytes) -> End:
    (length,) = struct.unpack_from("<H", body)
    who, raw = body[2 : 2 + length], body[2 + length :]
    node = who[1:].decode()
    request = CompleteRequest.FromString(raw)
    return end_of(request, worker=node) if who[:1] == _WORKER else end_of(request, gateway=node)
