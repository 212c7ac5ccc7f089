"""What is left over once all work has ended: slots, streams, jobs, journals, and what logs say that nobody expected."""

import asyncio
import re
import time

from world import World, patiently

from tether.v1.control_pb2 import ListWorkersRequest

REST_S = 40.0  # graces, leases and the last rounds of upkeep are over by then
ZERO = {
    "gateway": ("streams", "jobs", "waiting_bytes", "journaled"),
    "worker": ("running", "commits_pending"),
    "orchestrator": ("relays", "pending_ends", "offline_unwritten", "store_down"),
}
# each is a fault of ours, not of what the row broke
UNEXPECTED = re.compile(
    r"Traceback \(most recent|task_failed|a task of the gateway failed|handler failed|link failed|never retrieved"
    r"|Task was destroyed|a piece does not fit|the engine failed|store_operation_failed|no message"
)


async def leftovers(place: World, rest_s: float = REST_S) -> list[str]:
    """What does not come to rest in time, in words."""
    until_s = time.monotonic() + rest_s
    while found := [*await _held(place), *await asyncio.to_thread(_gauges, place)]:
        if time.monotonic() > until_s:
            break
        await asyncio.sleep(0.5)
    return [*found, *complaints(place)]


async def _held(place: World) -> list[str]:
    """Slots that nobody uses and nobody gave back."""
    async with place.operator() as operator:
        control = await operator.control()
        workers = (await patiently(lambda: control.ListWorkers(ListWorkersRequest()))).workers
    names, wrong = place.names("worker"), []
    live = [one for one in workers if one.standing == 1]
    if len(live) != len(names):
        wrong.append(f"{len(live)} workers live, {len(names)} run")
    for one in live:
        capacity = one.report.capacity
        if capacity.slots_free != capacity.slots or one.in_flight or capacity.queue_depth:
            wrong.append(
                f"worker {one.name[:8]} has {capacity.slots_free} of {capacity.slots} slots, {one.in_flight} in flight"
            )
    return wrong


def _gauges(place: World) -> list[str]:
    wrong = []
    for service, names in ZERO.items():
        for process in place.names(service):
            found = place.metrics(process)
            wrong += [
                f"{process}: {name} is {found[f'tether_{service}_{name}']:g}"
                for name in names
                if found.get(f"tether_{service}_{name}", 0.0)
            ]
    return wrong


def complaints(place: World, shown: int = 5) -> list[str]:
    """Lines of logs that nobody expected."""
    wrong = []
    for path in sorted(place.region.folder.glob("*.log")):
        lines = [line for line in path.read_text(errors="replace").splitlines() if UNEXPECTED.search(line)]
        wrong += [f"{path.stem} says: {line[:400]}" for line in lines[:shown]]
    return wrong
