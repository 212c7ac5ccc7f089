"""Links to orchestrators: one to each of the region, kept while it is announced.

On them go reports as beats, and the ends that no driver committed. Source: docs/design/streams.md §§5 to 7.
"""

import asyncio
from collections.abc import Iterable
from functools import partial

import structlog

from tether.identity import Role
from tether.link import NO_JOB, Dialler, Kind, LinkEnd
from tether.node.find import Peer
from tether.v1 import link_pb2
from tether_worker.machine import LogMachine

_log = structlog.get_logger("tether.worker")


def is_orchestrator(link: LinkEnd) -> bool:
    """Whether an orchestrator speaks for itself on a link, and not for a gateway."""
    return Role.ORCHESTRATOR in link.peer.roles and not link.peer.via


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

    def follow(self, dialler: Dialler, peers: Iterable[Peer]) -> None:
        """Keep a link to each of these; one that is announced no longer keeps its link while that stands."""
        known = {peer.node_id: peer.address for peer in peers}
        standing = {end.peer.node_id for end in self._standing.values()}
        for node_id in set(self._tasks) - set(known) - standing:
            self._tasks.pop(node_id).cancel()
        self._addresses |= known
        for node_id in set(known) - set(self._tasks):
            self._tasks[node_id] = asyncio.create_task(dialler.keep(node_id, partial(self._address, node_id)))

    def _address(self, node_id: str) -> str:
        return self._addresses[node_id]

    def up(self, link: LinkEnd) -> None:
        """A link stands."""
        if is_orchestrator(link):
            self._standing[link.number] = link

    def down(self, link: LinkEnd) -> None:
        """A link ended."""
        self._standing.pop(link.number, None)

    def beat(self, report: bytes) -> None:
        """Tell every orchestrator how this worker is."""
        for number in list(self._standing):
            self._machine.act(self._machine.logs.send(number, int(Kind.BEAT), NO_JOB, 0, report))

    @property
    def ready(self) -> bool:
        """Whether some orchestrator takes more: one that is stuck is not given the same again and again."""
        return any(link.idle for link in self._standing.values())

    def complete(self, job: bytes, epoch: int, body: bytes) -> bool:
        """Send a COMPLETE to one orchestrator: the one that alone knows the job, or one that takes more if any does.

        Returns:
            False without any.
        """
        knows = link_pb2.Link.Complete.FromString(body).orchestrator_id
        rank = {number: (link.peer.node_id != knows, not link.idle) for number, link in self._standing.items()}
        number = min(rank, key=lambda number: rank[number], default=None)
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
