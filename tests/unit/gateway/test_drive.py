"""Requeued jobs that a gateway is asked to drive, and cannot."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from tether.errors import Reason, TetherError
from tether.v1 import infer_pb2, placement_pb2
from tether_gateway.drive import DRIVES_MAX, Drives
from tether_gateway.tasks import Tasks


class Governor:
    """A governor that places nothing before it is told to."""

    def __init__(self) -> None:
        self.draining = False
        self.completed: list[placement_pb2.CompleteRequest] = []
        self.go, self.told = asyncio.Event(), asyncio.Event()

    async def place(self, *_: Any) -> placement_pb2.PlaceResponse:
        await self.go.wait()
        raise TetherError(Reason.JOB_UNKNOWN, "gone")

    async def complete(self, request: placement_pb2.CompleteRequest) -> placement_pb2.CompleteResponse:
        self.completed.append(request)
        self.told.set()
        return placement_pb2.CompleteResponse()


def asked(number: int) -> placement_pb2.Drive:
    return placement_pb2.Drive(job_id=number.to_bytes(16, "big"), after_epoch=1)


@pytest.mark.parametrize("full", [True, False])
async def test_job_that_cannot_be_driven_goes_back_to_the_dead_letters(full: bool) -> None:
    governor, tasks = Governor(), Tasks()
    unused: Any = SimpleNamespace()
    drives = Drives(governor, unused, unused, tasks, 60.0)  # type: ignore[arg-type]
    governor.draining = not full
    for number in range(DRIVES_MAX if full else 0):
        drives.drive(asked(number))
    drives.drive(asked(DRIVES_MAX))
    await asyncio.wait_for(governor.told.wait(), 5)
    [request] = governor.completed
    assert request.job_id == asked(DRIVES_MAX).job_id
    assert (request.outcome, request.epoch) == (infer_pb2.JOB_STATE_DEAD, 0)
    governor.go.set()
    await asyncio.wait_for(tasks.idle(), 5)
    assert len(governor.completed) == 1


async def test_job_that_is_driven_already_is_not_driven_twice() -> None:
    governor, tasks = Governor(), Tasks()
    unused: Any = SimpleNamespace()
    drives = Drives(governor, unused, unused, tasks, 60.0)  # type: ignore[arg-type]
    drives.drive(asked(1))
    drives.drive(asked(1))
    assert len(tasks) == 1
    governor.go.set()
    await asyncio.wait_for(tasks.idle(), 5)
    assert governor.completed == []
