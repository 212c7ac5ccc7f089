"""The fleet's shell: links are proof, presence is a hint, onlookers see changes."""

import asyncio

import pytest

from tether._native import Fleet, Query
from tether.errors import TetherError
from tether.v1.control_pb2 import WorkerStanding
from tether.v1.health_pb2 import Health
from tether.v1.identity_pb2 import Presence
from tether_orchestrator.fleet import FleetView

A, B = "a" * 52, "b" * 52


def report(worker: str, sequence: int = 1, incarnation: int = 1) -> bytes:
    return Health.Report(
        worker_id=worker,
        incarnation=incarnation,
        sequence=sequence,
        region="local",
        address="127.0.0.1:9",
        gpu_class="cpu",
        capacity=Health.Capacity(slots=1, slots_free=1),
    ).SerializeToString()


@pytest.fixture
def fleet() -> FleetView:
    return FleetView(Fleet())


def standing(fleet: FleetView, worker: str) -> str:
    return WorkerStanding.Name(fleet.worker(worker).standing).removeprefix("WORKER_STANDING_")


def test_worker_goes_through_its_standings(fleet: FleetView) -> None:
    assert standing(fleet, A) == "DEAD"
    fleet.announce(Presence(worker_id=A, addresses=["127.0.0.1:9"]))
    assert standing(fleet, A) == "ANNOUNCED"
    fleet.report(A, report(A))
    assert standing(fleet, A) == "LIVE"
    fleet.suspect(A)
    assert standing(fleet, A) == "SUSPECT"
    fleet.beat(A)
    assert standing(fleet, A) == "LIVE"
    fleet.drain(A)
    assert standing(fleet, A) == "DRAINING"
    fleet.dead(A)
    assert standing(fleet, A) == "DEAD"
    assert fleet.workers() == []


def test_presence_that_ends_takes_no_linked_worker_away(fleet: FleetView) -> None:
    fleet.announce(Presence(worker_id=A))
    fleet.report(A, report(A))
    fleet.withdraw(A)
    assert standing(fleet, A) == "LIVE"


def test_workers_are_those_linked_and_those_announced(fleet: FleetView) -> None:
    fleet.report(B, report(B))
    fleet.announce(Presence(worker_id=A))
    assert fleet.workers() == [A, B]
    assert fleet.lives(B, 1)
    assert not fleet.lives(B, 2)
    assert not fleet.lives(A, 1)


def test_report_of_another_worker_is_refused(fleet: FleetView) -> None:
    with pytest.raises(ValueError, match="."):
        fleet.report(A, report(B))


def test_onlookers_are_bounded(fleet: FleetView, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tether_orchestrator.fleet._WATCHERS_MAX", 1)
    fleet.watch()
    with pytest.raises(TetherError, match="OVERLOADED"):
        fleet.watch()


async def test_onlooker_sees_what_changed_once(fleet: FleetView) -> None:
    watcher = fleet.watch()
    fleet.report(A, report(A))
    fleet.suspect(A)
    fleet.report(A, report(A))  # not newer: no change
    assert await asyncio.wait_for(watcher.take(), 1) == [A]
    fleet.end_watches()
    assert await asyncio.wait_for(watcher.take(), 1) == []
    fleet.unwatch(watcher)


def test_loading_counts_workers_on_which_the_version_is_on_its_way() -> None:
    now_ms = 1_000
    fleet = FleetView(Fleet(), lambda: now_ms)

    def tell(worker: str, state: int, sequence: int) -> None:
        told = Health.Report.FromString(report(worker, sequence))
        told.model_cache.add(model=Health.ModelRef(model_id="demo", version="1.0"), state=state)
        fleet.report(worker, told.SerializeToString())

    tell(A, Health.CACHE_STATE_LOADING, 1)
    tell(B, Health.CACHE_STATE_READY, 1)
    assert (fleet.loading("demo", "1.0"), fleet.loading("demo", "1.1"), fleet.loading("other", "1.0")) == (1, 0, 0)
    tell(A, Health.CACHE_STATE_READY, 2)
    now_ms += 1_000
    assert fleet.loading("demo", "1.0") == 0


def test_several_orchestrators_draw_from_the_best_and_one_takes_it() -> None:
    native = Fleet()
    alone, fleet = FleetView(native), FleetView(native)
    query = Query("demo", "1.0", regions={"local": 1.0})
    for number in range(8):
        told = Health.Report.FromString(report(f"{number}" * 52))
        told.capacity.slots = told.capacity.slots_free = 8
        ref = Health.ModelRef(model_id="demo", version="1.0")
        told.supported.append(ref)
        fleet.report(f"{number}" * 52, told.SerializeToString())

    def chosen(view: FleetView) -> list[str]:
        found = [view.best(query, f"job-{number}", ()) for number in range(20)]
        return [one.worker_id for one in found if one is not None]

    first = chosen(alone)
    fleet.spread("me", lambda: 4)
    assert chosen(fleet) == first
    fleet.tick()
    assert len(chosen(fleet)) == 20
    assert chosen(fleet) != first
