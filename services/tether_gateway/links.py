"""Links to workers: one per life of a worker and way to it, dialled when a job needs it and kept while it stands.

The way is direct, or through an orchestrator that relays where policy says so.
Source: docs/design/streams.md §1, §6.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Collection
from contextvars import Context

import structlog

from tether.errors import Reason, TetherError
from tether.link import Dialler, LinkBook, LinkEnd
from tether.v1 import placement_pb2

LOST_MAX = 4_096  # lives of workers that are remembered as over
_log = structlog.get_logger("tether.gateway")
Placement = placement_pb2.Placed | placement_pb2.Joined
Name = tuple[str, int, str]  # worker, its incarnation, relaying orchestrator or empty


def name_of(placed: Placement) -> Name:
    """The way to an attempt's worker."""
    return (placed.worker.worker_id, placed.worker.incarnation, placed.relay.worker_id)


class WorkerLinks:
    """Links of one gateway to its workers.

    Args:
        dialler: opens them.
        book: links of the process.
    """

    def __init__(self, dialler: Dialler, book: LinkBook) -> None:
        self._dialler = dialler
        self._book = book
        self._ends: dict[Name, LinkEnd] = {}
        self._dialling: dict[Name, asyncio.Task[LinkEnd]] = {}
        self._holding: set[asyncio.Task[None]] = set()
        self._lost: OrderedDict[tuple[str, int], None] = OrderedDict()

    def standing(self, placed: Placement) -> LinkEnd | None:
        """The link to an attempt's worker, where it stands already."""
        end = self._ends.get(name_of(placed))
        return None if end is None or end.closed else end

    def stands(self, number: int) -> bool:
        """Whether the link with this number stands."""
        end = self._book.get(number)
        return end is not None and not end.closed

    def over(self, worker: placement_pb2.WorkerAddress) -> bool:
        """Whether this life of a worker is known to be over."""
        return (worker.worker_id, worker.incarnation) in self._lost

    async def to(self, placed: Placement) -> LinkEnd:
        """The link to an attempt's worker, dialled if need be; callers at the same time share one dial.

        Raises:
            TetherError: WORKER_LOST where it does not answer or lives another life, or an error of the hello.
        """
        end = self.standing(placed)
        if end is not None:
            return end
        name = name_of(placed)
        task = self._dialling.get(name)
        if task is None:
            task = self._dialling[name] = asyncio.create_task(self._dial(placed), context=Context())
            task.add_done_callback(lambda done: self._dialled(name, done))
        return await asyncio.shield(task)

    def lost(self, worker_id: str, incarnation: int) -> None:
        """Orchestrators say that this life of a worker is over."""
        self._lost[(worker_id, incarnation)] = None
        if len(self._lost) > LOST_MAX:
            self._lost.popitem(last=False)
        for name, end in list(self._ends.items()):
            if name[:2] == (worker_id, incarnation):
                end.close("lost")

    def revoked(self, node_ids: Collection[str]) -> None:
        """These nodes are no longer to be trusted."""
        for name in list(self._ends):
            if name[0] in node_ids or name[2] in node_ids:
                self.lost(name[0], name[1])

    async def close(self) -> None:
        """End all links."""
        for dial in list(self._dialling.values()):
            dial.cancel()
        for end in self._book:
            end.close("closed")
        await asyncio.gather(*self._dialling.values(), *self._holding, return_exceptions=True)

    async def _dial(self, placed: Placement) -> LinkEnd:
        worker, relay = placed.worker, placed.relay
        if relay.worker_id:
            end = await self._dialler.dial(relay.worker_id, relay.address, relay_to=worker.worker_id)
        else:
            end = await self._dialler.dial(worker.worker_id, worker.address)
        name = (worker.worker_id, end.peer.incarnation, relay.worker_id)
        self._ends[name] = end
        hold = asyncio.create_task(self._hold(end, name))
        self._holding.add(hold)
        hold.add_done_callback(self._holding.discard)
        if name != name_of(placed):
            raise TetherError(Reason.WORKER_LOST, "The worker was restarted since it was chosen.")
        return end

    async def _hold(self, end: LinkEnd, name: Name) -> None:
        try:
            await self._dialler.hold(end)
        finally:
            if self._ends.get(name) is end:
                del self._ends[name]

    def _dialled(self, name: Name, done: "asyncio.Task[LinkEnd]") -> None:
        self._dialling.pop(name, None)
        if not done.cancelled() and (fault := done.exception()) is not None:
            _log.info("worker could not be dialled", worker=name[0], relay=name[2], fault=str(fault))
