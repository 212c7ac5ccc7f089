"""What services stand on, in virtual time: an overlay that tells at once, a node, a lasting journal."""

import asyncio
import contextvars
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

from loop import NODE, VirtualLoop, nobody
from net import Channel, Net, Server

from tether.errors import Reason, TetherError
from tether.identity import Identity, Role, Trust
from tether.node.caller import CallerInterceptor
from tether.node.channels import Channels
from tether.node.find import presence_of, topic_of
from tether.overlay.found import Change, ChangeKind, Found
from tether.rpc.unknown import methods
from tether.v1 import identity_pb2

EXPIRES_S = 15.0  # of a record whose writer is dead
TOLD_S = 0.05  # from an announcement to its watchers


class Board:
    """All records of the world: the overlay has its own tests; here it is only late."""

    def __init__(self, loop: VirtualLoop) -> None:
        self.loop = loop
        self._records: dict[tuple[str, str], Found] = {}
        self._watches: list[tuple[str, Callable[[Change], None], str]] = []

    def announce(self, topic: str, life: str, node_id: str, incarnation: int, content: Any) -> None:
        """A node says something on a topic."""
        body = identity_pb2.RecordBody(incarnation=incarnation)
        if isinstance(content, identity_pb2.ControlMessage):
            body.control.CopyFrom(content)
        elif isinstance(content, identity_pb2.Presence):
            body.presence.CopyFrom(content)
        else:
            return
        kind = ChangeKind.UPDATED if (topic, node_id) in self._records else ChangeKind.UP
        found = self._records[topic, node_id] = Found(node_id, body, 0.0)
        self._tell(topic, Change(kind, found))
        self._expire_after(topic, node_id, life, found)

    def _expire_after(self, topic: str, node_id: str, life: str, found: Found) -> None:
        def look() -> None:
            if self._records.get((topic, node_id)) is not found:
                return
            if life in self.loop.dead:
                self.withdraw(topic, node_id)
            else:
                self._later(EXPIRES_S, look)

        self._later(EXPIRES_S, look)

    def withdraw(self, topic: str, node_id: str) -> None:
        """A record is gone."""
        found = self._records.pop((topic, node_id), None)
        if found is not None:
            self._tell(topic, Change(ChangeKind.GONE, found))

    def leave(self, node_id: str) -> None:
        """A node takes all back that it said."""
        for topic, _ in [key for key in self._records if key[1] == node_id]:
            self.withdraw(topic, node_id)

    def watch(self, topic: str, on_change: Callable[[Change], None], life: str) -> Any:
        """Hear of a topic."""
        entry = (topic, on_change, life)
        self._watches.append(entry)
        for (of, _), found in list(self._records.items()):
            if of == topic:
                self._deliver(entry, Change(ChangeKind.UP, found))
        return SimpleNamespace(close=lambda: entry in self._watches and self._watches.remove(entry))

    def records(self, topic: str) -> list[Found]:
        """What is on a topic."""
        return [found for (of, _), found in self._records.items() if of == topic]

    def _tell(self, topic: str, change: Change) -> None:
        for entry in list(self._watches):
            if entry[0] == topic:
                self._deliver(entry, change)

    def _deliver(self, entry: tuple[str, Callable[[Change], None], str], change: Change) -> None:
        own = contextvars.Context()
        own.run(NODE.set, entry[2])
        self.loop.call_at(self.loop.time() + TOLD_S, self._hear, entry, change, context=own)

    def _hear(self, entry: tuple[str, Callable[[Change], None], str], change: Change) -> None:
        if entry in self._watches:
            entry[1](change)

    def _later(self, delay_s: float, work: Callable[[], None]) -> None:
        self.loop.call_at(self.loop.time() + delay_s, work, context=nobody())


class SimOverlay:
    """`tether.overlay.Overlay` of one life."""

    def __init__(self, board: Board, net: Net, identity: Identity, life: str) -> None:
        self._board, self._net, self._identity, self._life = board, net, identity, life
        self.address = "sim:0"

    async def announce(self, topic: str, content: Any, **_: Any) -> Any:
        """Say something until it is withdrawn."""
        say = lambda said: self._board.announce(  # noqa: E731
            topic, self._life, self._identity.node_id, self._identity.incarnation, said
        )
        say(content)

        async def withdraw() -> None:
            self._board.withdraw(topic, self._identity.node_id)

        return SimpleNamespace(update=say, withdraw=withdraw, close=lambda: None)

    async def lookup(self, topic: str) -> list[Found]:
        """Records of a topic."""
        return self._board.records(topic)

    def watch(self, topic: str, on_change: Callable[[Change], None]) -> Any:
        """Hear what changes."""
        return self._board.watch(topic, on_change, self._life)

    async def ping(self, node_id: str) -> float | None:
        """Whether a node lives."""
        await asyncio.sleep(self._net.delay())
        alive = node_id in self._net.alive and self._net.reaches(self._life, self._net.alive[node_id])
        if alive and self._net.alive[node_id] not in self._net.loop.dead:
            return 0.001
        await asyncio.sleep(1.0)
        return None


class SimNode:
    """`tether.node.Node` of one life."""

    def __init__(self, net: Net, board: Board, identity: Identity, trust: Trust, role: Role, name: str) -> None:
        self.identity, self.trust, self.role, self.region = identity, trust, role, "local"
        self.life = f"{name}#{identity.incarnation}"
        self.address = f"{name}:{identity.incarnation}"
        self._net = net
        self.overlay = SimOverlay(board, net, identity, self.life)
        self.channels = Channels(identity, lambda: int(net.loop.wall() * 1_000), lambda address: Channel(net, address))
        self._gate = CallerInterceptor(trust, identity.node_id, role, lambda: int(net.loop.wall() * 1_000))
        self.server = Server(self.life, self._gate)
        net.alive[identity.node_id] = self.life

    @property
    def node_id(self) -> str:
        """This node's id."""
        return self.identity.node_id

    @property
    def incarnation(self) -> int:
        """Number of its life."""
        return self.identity.incarnation

    async def serve(self, add: Callable[[Any], Sequence[str]]) -> None:
        """Serve what `add` adds."""
        names = list(add(self.server))
        self._gate.guard(methods(names))
        self._net.serve(self.address, self.server)

    async def present(self, store_id: bytes = b"") -> Any:
        """Announce where it serves."""
        content = presence_of(self.role, self.node_id, [self.address], store_id)
        return await self.overlay.announce(topic_of(self.role, self.region), content)


class SimJournal:
    """`tether.node.journal.Journal`: what was acknowledged is there in the next life.

    Args:
        kept: what outlives the process.
        delay: seconds of a write.
        most: entries; one more finds the disk full.
    """

    def __init__(self, kept: dict[bytes, bytes], delay: Callable[[], float], most: int = 10_000) -> None:
        self._kept, self._delay, self.most = kept, delay, most

    def __len__(self) -> int:
        return len(self._kept)

    def entries(self) -> list[tuple[bytes, bytes]]:
        """What a former life left, and this one added."""
        return list(self._kept.items())

    async def add(self, name: bytes, body: bytes) -> None:
        """Durable on return."""
        await asyncio.sleep(self._delay())
        if len(self._kept) >= self.most:
            raise TetherError(Reason.STORE_UNAVAILABLE, "The journal is full.")
        self._kept[name] = body

    def done(self, name: bytes) -> None:
        """Forget it."""
        self._kept.pop(name, None)

    async def close(self) -> None:
        """It stays."""
