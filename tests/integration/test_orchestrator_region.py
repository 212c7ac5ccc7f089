"""Workers as processes: one that starts is used, one that is killed is out of rotation, in seconds."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tether.identity import Identity
from tether.node.channels import Channels
from tether.testing.processes import ProcessRegion
from tether.v1 import control_pb2 as control
from tether.v1.control_pb2_grpc import ControlServiceStub

WAIT_S = 10.0  # the targets are 2 s on an idle machine; tests share theirs


class Operator:
    """Looks at the fleet."""

    def __init__(self, region: ProcessRegion) -> None:
        self.channels = Channels(Identity.load(region.folder / "operator"))
        self.node = Identity.load(region.folder / "orchestrator").node_id
        address = region.running["orchestrator"].endpoints["orchestrator"]
        self.stub = ControlServiceStub(self.channels.to(self.node, address))

    async def live(self) -> set[str]:
        """Workers that may be chosen."""
        request, metadata = control.ListWorkersRequest(), self.channels.metadata(self.node)
        found = await self.stub.ListWorkers(request, metadata=metadata, timeout=5)
        return {one.name for one in found.workers if one.standing == control.WORKER_STANDING_LIVE}

    async def until(self, workers: set[str]) -> float:
        """Wait until exactly these are live; returns the seconds it took."""
        began_s = time.monotonic()
        while (found := await self.live()) != workers:
            assert time.monotonic() - began_s < WAIT_S, (found, workers)
            await asyncio.sleep(0.01)
        return time.monotonic() - began_s


@pytest.fixture
async def region(tmp_path: Path) -> AsyncIterator[ProcessRegion]:
    region = ProcessRegion(tmp_path)
    try:
        for name in ("registry", "orchestrator", "worker-1"):
            await asyncio.to_thread(region.start, name)
        yield region
    finally:
        await asyncio.to_thread(region.stop)


async def test_worker_that_starts_is_used_and_one_that_is_killed_is_not(region: ProcessRegion) -> None:
    operator = Operator(region)
    ids = {name: Identity.load(region.folder / name).node_id for name in ("worker-1",)}
    await operator.until({ids["worker-1"]})
    await asyncio.to_thread(region.start, "worker-2")
    ids["worker-2"] = Identity.load(region.folder / "worker-2").node_id
    print(f"a worker that is ready is live after {await operator.until(set(ids.values())):.3f} s")
    region.running["worker-1"].child.kill()
    print(f"a killed worker is out after {await operator.until({ids['worker-2']}):.3f} s")
    await operator.channels.close()
