"""Links to workers: one per worker, dialled when a job needs it and kept while it stands."""

import asyncio

import structlog

from tether.errors import Reason, TetherError
from tether.link import Dialler, LinkBook, LinkEnd
from tether.v1 import placement_pb2

_log = structlog.get_logger("tether.gateway")


class WorkerLinks:
    """Links of one gateway to its workers.

    Args:
        dialler: opens them.
        book: links of the process.
    """

    def __init__(self, dialler: Dialler, book: LinkBook) -> None:
        self._dialler = dialler
        self._book = book
        self._dialling: dict[tuple[str, int], asyncio.Task[LinkEnd]] = {}
        self._holding: set[asyncio.Task[str]] = set()
        self._closed = False

    def standing(self, worker: placement_pb2.WorkerAddress) -> LinkEnd | None:
        """The link to this life of a worker, where it stands already."""
        end = self._book.of(worker.worker_id)
        if end is None or end.closed or end.peer.incarnation != worker.incarnation:
            return None
        return end

    async def to(self, worker: placement_pb2.WorkerAddress) -> LinkEnd:
        """The link to this life of a worker, dialled if need be; callers at the same time share one dial.

        Raises:
            TetherError: WORKER_LOST where it does not answer or lives another life, or an error of the hello.
        """
        end = self.standing(worker)
        if end is not None:
            return end
        name = (worker.worker_id, worker.incarnation)
        task = self._dialling.get(name)
        if task is None:
            task = self._dialling[name] = asyncio.create_task(self._dial(worker))
            task.add_done_callback(lambda done: self._dialled(name, done))
        return await asyncio.shield(task)

    def lost(self, worker_id: str, incarnation: int) -> None:
        """Orchestrators say that this life of a worker is over."""
        end = self._book.of(worker_id)
        if end is not None and end.peer.incarnation == incarnation:
            end.close("lost")

    async def close(self) -> None:
        """End all links."""
        self._closed = True
        for dial in list(self._dialling.values()):
            dial.cancel()
        for end in self._book:
            end.close("closed")
        await asyncio.gather(*self._dialling.values(), *self._holding, return_exceptions=True)

    async def _dial(self, worker: placement_pb2.WorkerAddress) -> LinkEnd:
        end = await self._dialler.dial(worker.worker_id, worker.address)
        hold = asyncio.create_task(self._dialler.hold(end))
        self._holding.add(hold)
        hold.add_done_callback(self._holding.discard)
        if end.peer.incarnation != worker.incarnation:
            raise TetherError(Reason.WORKER_LOST, "The worker was restarted since it was chosen.")
        return end

    def _dialled(self, name: tuple[str, int], done: "asyncio.Task[LinkEnd]") -> None:
        self._dialling.pop(name, None)
        if not done.cancelled() and (fault := done.exception()) is not None:
            _log.info("worker could not be dialled", worker=name[0], fault=str(fault))
