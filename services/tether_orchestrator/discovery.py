"""DiscoverySub: what the overlay tells an orchestrator: workers of its region, and other orchestrators.

Presence is a hint: it shows a worker as announced and its withdrawal ends doubts; only a link lets it be chosen.
Source: docs/design/overlay.md §3.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import structlog

from tether.name import control_topic, presence_topic
from tether.overlay import Change, ChangeKind, Found
from tether.placement.rival import Orchestrator, refusal, rivals
from tether.v1.identity_pb2 import Presence, Role
from tether_orchestrator.doubt import Doubt
from tether_orchestrator.fleet import FleetView
from tether_orchestrator.gate import Gate

_log = structlog.get_logger("tether.orchestrator")


class Closable(Protocol):
    """A watch or an announcement."""

    def close(self) -> None:
        """End it."""


class Overlay(Protocol):
    """What discovery needs of `tether.overlay.Overlay`."""

    async def lookup(self, topic: str) -> Sequence[Found]:
        """Verified records of a topic."""

    def watch(self, topic: str, on_change: Callable[[Change], None]) -> Closable:
        """Hear what changes on a topic."""

    async def ping(self, node_id: str) -> float | None:
        """Round trip in seconds, or None."""


class DiscoverySub:
    """Watches the topics of a region.

    Args:
        overlay: where they are.
        region: which one.
        me: this orchestrator.
    """

    def __init__(self, overlay: Overlay, region: str, me: Orchestrator) -> None:
        self._overlay = overlay
        self._region = region
        self._me = me
        self._watches: list[Closable] = []

    async def refuse_rivals(self) -> None:
        """Look whether another orchestrator with another store lives.

        Raises:
            TetherError: STATE_UNUSABLE, naming both.
        """
        found = await self._overlay.lookup(control_topic(self._region))
        others = [other for one in found if (other := orchestrator_of(one)) is not None]
        for rival in rivals(self._me, others):
            if await self._overlay.ping(rival.node) is not None:  # a record outlives its writer for some seconds
                _log.error("rival_orchestrator", me=self._me.node, rival=rival.node)
                raise refusal(self._me, rival, self._region)

    def start(self, fleet: FleetView, doubt: Doubt, gate: Gate) -> None:
        """Watch from now on."""

        def on_presence(change: Change) -> None:
            _presence_changed(change, fleet, doubt)

        def on_control(change: Change) -> None:
            _control_changed(change, self._me, gate, fleet)

        self._watches = [
            self._overlay.watch(presence_topic(self._region), on_presence),
            self._overlay.watch(control_topic(self._region), on_control),
        ]

    def close(self) -> None:
        """Watch no more."""
        for watch in self._watches:
            watch.close()
        self._watches = []


def orchestrator_of(found: Found) -> Orchestrator | None:
    """The orchestrator that a control record announces, or None."""
    presence = found.body.control.presence
    if presence.role != Role.ROLE_ORCHESTRATOR or not presence.store_id:
        return None
    return Orchestrator(found.node_id, presence.store_id)


def _presence_changed(change: Change, fleet: FleetView, doubt: Doubt) -> None:
    node, presence = change.found.node_id, change.found.body.presence
    if change.kind is ChangeKind.GONE:
        fleet.withdraw(node)
        doubt.gone(node)
    elif presence.role == Role.ROLE_WORKER and presence.worker_id == node:
        announced = Presence()
        announced.CopyFrom(presence)
        fleet.announce(announced)


def _control_changed(change: Change, me: Orchestrator, gate: Gate, fleet: FleetView) -> None:
    drained = change.found.body.control.drain_worker_id
    if drained and change.kind is not ChangeKind.GONE:
        fleet.drain(drained)
    other = orchestrator_of(change.found)
    if other is None or other.node == me.node:
        return
    if change.kind is ChangeKind.GONE:
        gate.gone(other.node)
    else:
        gate.seen(other)
