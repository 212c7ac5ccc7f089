"""Links to orchestrators: one to each of the region, kept while it is announced.

On them go reports as beats, and the ends that no driver committed. Source: docs/design/streams.md §§5 to 7.
"""

import asyncio

import structlog

from tether.identity import Role
from tether.link import NO_JOB, Dialler, Kind, LinkEnd
from tether_worker.machine import LogMachine

_log = structlog.get_logger("tether.worker")


class ControlLinks:
    """A worker's links to its orchestrators.

    Args:
        machine: moves their frames.
    """

    def __init__(self, machine: LogMachine) -> None:
        self._machine = machine
        self._standing: dict[int, LinkEnd] = {}
        self._addresses: dict[str, str] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def __len__(self) -> int:
        return len(self._standing)

    def found(self, dialler: Dialler, node_id: str, address: str) -> None:
        """An orchestrator is there, or moved: keep a link to it."""
        self._addresses[node_id] = address
        if node_id not in self._tasks:
            keep = dialler.keep(node_id, lambda: self._addresses[node_id])
            self._tasks[node_id] = asyncio.create_task(keep)

    def gone(self, node_id: str) -> None:
        """An orchestrator is announced no longer; a link that still stands stays until it breaks."""
        standing = any(end.peer.node_id == node_id for end in self._standing.values())
        task = None if standing else self._tasks.pop(node_id, None)
        if task is not None:
            task.cancel()

    def up(self, link: LinkEnd) -> None:
        """A link stands."""
        if Role.ORCHESTRATOR in link.peer.roles:
            self._standing[link.number] = link

    def down(self, link: LinkEnd) -> None:
        """A link ended."""
        self._standing.pop(link.number, None)

    def is_control(self, link: int) -> bool:
        """Whether a link leads to an orchestrator."""
        return link in self._standing

    def beat(self, report: bytes) -> None:
        """Tell every orchestrator how this worker is."""
        for number in list(self._standing):
            self._machine.act(self._machine.logs.send(number, int(Kind.BEAT), NO_JOB, 0, report))

    def complete(self, job: bytes, epoch: int, body: bytes) -> bool:
        """Send a COMPLETE to one orchestrator; False without any."""
        number = next(iter(self._standing), None)
        if number is None:
            return False
        self._machine.act(self._machine.logs.send(number, int(Kind.COMPLETE), job, epoch, body))
        return True

    def drain(self) -> None:
        """Tell every orchestrator that this worker takes no more."""
        for number in list(self._standing):
            self._machine.act(self._machine.logs.send(number, int(Kind.DRAIN), NO_JOB, 0, b""))

    async def close(self) -> None:
        """Keep no link any longer."""
        tasks = list(self._tasks.values())
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
