"""Discovery: workers of the region, operators' drains, and rivals that live."""

from collections.abc import Callable

import pytest

from tether._native import Fleet
from tether.errors import TetherError
from tether.overlay import Change, ChangeKind, Found
from tether.placement.rival import Orchestrator
from tether.v1.control_pb2 import WorkerStanding
from tether.v1.health_pb2 import Health
from tether.v1.identity_pb2 import ControlMessage, Presence, RecordBody, Role, ServicePresence
from tether_orchestrator.discovery import DiscoverySub
from tether_orchestrator.fleet import FleetView
from tether_orchestrator.gate import Gate

ME = Orchestrator("m" * 52, b"1" * 16)
OTHER = "a" * 52


class Watch:
    def __init__(self, overlay: "Overlay", topic: str) -> None:
        self.overlay, self.topic = overlay, topic

    def close(self) -> None:
        del self.overlay.listeners[self.topic]


class Overlay:
    """Records as the test states them."""

    def __init__(self, found: list[Found] | None = None, *, alive: bool = True) -> None:
        self.found, self.alive = found or [], alive
        self.listeners: dict[str, Callable[[Change], None]] = {}

    async def lookup(self, _topic: str) -> list[Found]:
        return self.found

    def watch(self, topic: str, on_change: Callable[[Change], None]) -> Watch:
        self.listeners[topic] = on_change
        return Watch(self, topic)

    async def ping(self, _node_id: str) -> float | None:
        return 0.001 if self.alive else None

    def tell(self, topic: str, kind: ChangeKind, found: Found) -> None:
        self.listeners[topic](Change(kind, found))


class NoDoubt:
    def __init__(self) -> None:
        self.said: list[str] = []

    def gone(self, worker: str) -> None:
        self.said.append(worker)


def orchestrator(node: str = OTHER, store_id: bytes = b"2" * 16) -> Found:
    said = ServicePresence(node_id=node, role=Role.ROLE_ORCHESTRATOR, store_id=store_id)
    return Found(node, RecordBody(control=ControlMessage(presence=said)), 0.0)


def worker(node: str = OTHER, role: Role.ValueType = Role.ROLE_WORKER) -> Found:
    return Found(node, RecordBody(presence=Presence(worker_id=node, role=role)), 0.0)


class World:
    def __init__(self) -> None:
        self.overlay, self.fleet, self.gate, self.doubt = Overlay(), FleetView(Fleet()), Gate(ME), NoDoubt()
        self.discovery = DiscoverySub(self.overlay, "local", ME)
        self.discovery.start(self.fleet, self.doubt, self.gate)


async def test_rival_that_lives_refuses_the_start() -> None:
    with pytest.raises(TetherError, match="PostgreSQL"):
        await DiscoverySub(Overlay([orchestrator()]), "local", ME).refuse_rivals()


@pytest.mark.parametrize(
    ("found", "alive"),
    [
        ([orchestrator()], False),
        ([orchestrator(store_id=ME.store_id)], True),
        ([orchestrator(ME.node)], True),
        ([], True),
    ],
)
async def test_record_of_nobody_else_does_not(found: list[Found], alive: bool) -> None:
    await DiscoverySub(Overlay(found, alive=alive), "local", ME).refuse_rivals()


def test_worker_is_announced_and_its_end_is_told() -> None:
    world = World()
    world.overlay.tell("tether/presence/local", ChangeKind.UP, worker())
    assert world.fleet.workers() == [OTHER]
    world.overlay.tell("tether/presence/local", ChangeKind.GONE, worker())
    assert (world.fleet.workers(), world.doubt.said) == ([], [OTHER])


def test_presence_of_a_gateway_is_no_worker() -> None:
    world = World()
    world.overlay.tell("tether/presence/local", ChangeKind.UP, worker(role=Role.ROLE_GATEWAY))
    assert world.fleet.workers() == []


def test_rival_that_appears_later_closes_the_gate_of_the_higher_id() -> None:
    world = World()
    world.overlay.tell("tether/control/local", ChangeKind.UP, orchestrator())
    with pytest.raises(TetherError, match="another job store"):
        world.gate.check()
    world.overlay.tell("tether/control/local", ChangeKind.GONE, orchestrator())
    world.gate.check()


def test_operator_drains_a_worker_by_a_control_message() -> None:
    world = World()
    report = Health.Report(
        worker_id=OTHER, incarnation=1, sequence=1, region="local", address="127.0.0.1:9", gpu_class="cpu"
    )
    world.fleet.report(OTHER, report.SerializeToString())
    asked = Found("operator", RecordBody(control=ControlMessage(drain_worker_id=OTHER)), 0.0)
    world.overlay.tell("tether/control/local", ChangeKind.UP, asked)
    assert world.fleet.worker(OTHER).standing == WorkerStanding.WORKER_STANDING_DRAINING


def test_close_ends_the_watches() -> None:
    world = World()
    world.discovery.close()
    assert world.overlay.listeners == {}
