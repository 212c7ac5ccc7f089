"""Finding a service: a watched set of the nodes in a role, and which of them to ask for a key.

All who ask for the same key choose the same node while it is there (rendezvous hashing); one that failed is passed over
for a moment, so that a caller takes the next.
Source: Thaler and Ravishankar, "A name-based mapping scheme for rendezvous" (1996).
"""

import asyncio
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Protocol

from tether import name
from tether.errors import Reason, TetherError
from tether.identity import Role
from tether.overlay import Change, ChangeKind, Found
from tether.v1 import identity_pb2

WAIT_S = 3.0  # as long as a service that restarts needs to be found again, with room
PASS_OVER_S = 1.0  # a failed node is tried again after this; a guess
CONTROL_ROLES = frozenset({Role.ORCHESTRATOR, Role.REGISTRY})  # they announce themselves on the control topic
_MISSING = {Role.ORCHESTRATOR: Reason.NO_ORCHESTRATOR, Role.WORKER: Reason.NO_WORKER}


@dataclass(frozen=True, slots=True)
class Peer:
    """A node that was found.

    Attributes:
        node_id: its id.
        address: host:port of its gRPC server.
        incarnation: its life.
        store_id: id of its job store, where it is an orchestrator; else empty.
    """

    node_id: str
    address: str
    incarnation: int
    store_id: bytes = b""


class Closable(Protocol):
    """A watch that can be ended."""

    def close(self) -> None:
        """End it."""


class Watched(Protocol):
    """What `Peers` needs of an overlay."""

    def watch(self, topic: str, on_change: Callable[[Change], None]) -> Closable:
        """Tell what is on a topic and what changes."""


def topic_of(role: Role, region: str) -> str:
    """Topic on which nodes in a role say where they are."""
    return name.control_topic(region) if role in CONTROL_ROLES else name.presence_topic(region)


def presence_of(
    role: Role, node_id: str, addresses: Iterable[str], store_id: bytes = b""
) -> identity_pb2.Presence | identity_pb2.ControlMessage:
    """What a node says of itself on `topic_of(role)`."""
    if role in CONTROL_ROLES:
        said = identity_pb2.ServicePresence(node_id=node_id, role=role.wire, addresses=addresses, store_id=store_id)
        return identity_pb2.ControlMessage(presence=said)
    return identity_pb2.Presence(worker_id=node_id, role=role.wire, addresses=addresses, store_id=store_id)


def peer_of(found: Found, role: Role) -> Peer | None:
    """The peer that a record speaks of; None where it is in another role or says no address."""
    said = found.body.control.presence if role in CONTROL_ROLES else found.body.presence
    if said.role != role.wire or not said.addresses:
        return None
    return Peer(found.node_id, said.addresses[0], found.body.incarnation, said.store_id)


def ranked(peers: Iterable[Peer], key: str) -> list[Peer]:
    """Peers in the order in which `key` prefers them; the same for everyone who asks."""
    return sorted(peers, key=lambda peer: _weight(peer.node_id, key), reverse=True)


def _weight(node_id: str, key: str) -> bytes:
    return blake2b(f"{node_id}\0{key}".encode(), digest_size=8).digest()


class Peers:
    """The nodes of a region in a role, as they come and go.

    Args:
        overlay: watched.
        region: slug.
        role: which nodes.
        now_s: monotonic seconds.
    """

    def __init__(self, overlay: Watched, region: str, role: Role, now_s: Callable[[], float] = time.monotonic) -> None:
        self._role = Role(role)
        self._region = region
        self._now_s = now_s
        self._peers: dict[str, Peer] = {}
        self._failed: dict[str, float] = {}
        self._listeners: list[Callable[[], None]] = []
        self._arrived = asyncio.Event()
        self._watch = overlay.watch(topic_of(self._role, region), self._on_change)

    def _on_change(self, change: Change) -> None:
        peer = peer_of(change.found, self._role)
        if peer is None and change.found.node_id not in self._peers:
            return
        self._failed.pop(change.found.node_id, None)
        if change.kind is ChangeKind.GONE or peer is None:
            self._peers.pop(change.found.node_id, None)
        else:
            self._peers[peer.node_id] = peer
            self._arrived.set()
            self._arrived = asyncio.Event()
        for listener in list(self._listeners):
            listener()

    def all(self) -> list[Peer]:
        """All that are known now, by node id."""
        return [self._peers[node_id] for node_id in sorted(self._peers)]

    def known(self, node_id: str) -> Peer | None:
        """The peer with this node id, where it is known now."""
        return self._peers.get(node_id)

    def listen(self, listener: Callable[[], None]) -> None:
        """Call `listener` after each change."""
        self._listeners.append(listener)

    def fail(self, peer: Peer) -> None:
        """Pass a peer over for a moment, because it did not answer."""
        if self._peers.get(peer.node_id) == peer:
            self._failed[peer.node_id] = self._now_s() + PASS_OVER_S

    def best(self, key: str) -> Peer | None:
        """The best peer for `key` now: one that failed lately only where there is no other."""
        return self.other(key, ())

    def other(self, key: str, but: Collection[str]) -> Peer | None:
        """The best peer for `key` now that is none of these node ids."""
        now_s = self._now_s()
        order = [peer for peer in ranked(self._peers.values(), key) if peer.node_id not in but]
        fine = [peer for peer in order if self._failed.get(peer.node_id, 0.0) <= now_s]
        return next(iter(fine or order), None)

    def next(self, key: str, failed: Peer) -> Peer | None:
        """Pass `failed` over and return the next best; None where there is no other."""
        self.fail(failed)
        return self.other(key, (failed.node_id,))

    async def one(self, key: str, timeout_s: float = WAIT_S) -> Peer:
        """The best peer for `key`, waited for where there is none.

        Raises:
            TetherError: NO_ORCHESTRATOR, NO_WORKER or UNREACHABLE where none comes in time.
        """
        await self.wait(timeout_s)
        best = self.best(key)
        return best if best is not None else self._missing()

    async def wait(self, timeout_s: float = WAIT_S) -> None:
        """Return once there is a peer.

        Raises:
            TetherError: as `one`.
        """
        try:
            async with asyncio.timeout(timeout_s):
                while not self._peers:
                    await self._arrived.wait()
        except TimeoutError:
            self._missing()

    def _missing(self) -> Peer:
        reason = _MISSING.get(self._role, Reason.UNREACHABLE)
        raise TetherError(reason, f"No {self._role.slug} is known in region {self._region}.", retry_after_s=1.0)

    def close(self) -> None:
        """Watch no more."""
        self._watch.close()
