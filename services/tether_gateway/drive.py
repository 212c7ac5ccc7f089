"""Jobs that this gateway drives for nobody: taken back out of the dead letters, to be fetched later.

A reader that throws all away stands for the clients, so that credit flows and the job is not abandoned; its answer
goes with the commit.
Source: docs/design/streams.md §2, docs/design/seams.md ("Requeue").
"""

import asyncio
import random
import time

import structlog

from tether.errors import TetherError
from tether.v1 import infer_pb2, placement_pb2
from tether_gateway.admission import Admitted
from tether_gateway.attempt import wait_s
from tether_gateway.conductor import Conductor
from tether_gateway.governor import Again, Governor
from tether_gateway.splice import Splice
from tether_gateway.tasks import Tasks

DRIVES_MAX = 256  # at a time: what an operator requeues beyond goes back to the dead letters
_log = structlog.get_logger("tether.gateway")


class Drives:
    """Drives jobs without readers.

    Args:
        governor: places.
        conductor: runs flights.
        splice: streams and table.
        tasks: run them.
        timeout_default_s: time that a job has where its header says nothing.
    """

    def __init__(
        self, governor: Governor, conductor: Conductor, splice: Splice, tasks: Tasks, timeout_default_s: float
    ) -> None:
        self._governor = governor
        self._conductor = conductor
        self._splice = splice
        self._tasks = tasks
        self._timeout_default_s = timeout_default_s
        self._running: set[bytes] = set()

    def drive(self, asked: placement_pb2.Drive) -> None:
        """Take a job over, unless it is driven here already."""
        if asked.job_id in self._running:
            return
        if self._governor.draining or len(self._running) >= DRIVES_MAX:
            self._tasks.spawn(self._bury_again(asked))
            return
        self._running.add(asked.job_id)
        self._tasks.spawn(self._drive(asked))

    async def _bury_again(self, asked: placement_pb2.Drive) -> None:
        """Say that the job stays dead: nobody else was asked, and its hold would stand until its deadline."""
        why = "DRAINING: the gateway that was asked to drive it again had no room; requeue it"
        request = placement_pb2.CompleteRequest(job_id=asked.job_id, outcome=infer_pb2.JOB_STATE_DEAD, error=why)
        try:
            await self._governor.complete(request)
        except TetherError as error:
            _log.warning("a requeued job was not taken", job=asked.job_id.hex(), reason=error.reason.name)

    async def _drive(self, asked: placement_pb2.Drive) -> None:
        header = asked.header
        timeout_s = header.timeout.ToMilliseconds() / 1_000 or self._timeout_default_s
        admitted = Admitted(asked.request, header, header.retry_token, time.monotonic() + timeout_s, "")
        try:
            async with asyncio.timeout(timeout_s):
                response = await self._placed(admitted, Again(asked.after_epoch))
                if response.HasField("placed"):
                    await self._run(admitted, response)
        except TimeoutError:
            _log.warning("a requeued job was not over in time", job=asked.job_id.hex())
        except TetherError as error:
            _log.warning("a requeued job failed", job=asked.job_id.hex(), reason=error.reason.name)
        finally:
            self._running.discard(asked.job_id)

    async def _placed(self, admitted: Admitted, again: Again) -> placement_pb2.PlaceResponse:
        failures = 0
        while True:
            try:
                return await self._governor.place(admitted, again)
            except TetherError as error:
                left_s = admitted.deadline_s - time.monotonic()
                pause_s = wait_s(error, failures, random.random(), left_s)  # noqa: S311 - spreads, no secret
                if pause_s is None:
                    raise
            failures += 1
            await asyncio.sleep(pause_s)

    async def _run(self, admitted: Admitted, response: placement_pb2.PlaceResponse) -> None:
        flight = await self._conductor.enter(admitted, response)
        reader = self._splice.join(flight.job, b"", b"")
        try:
            await reader.run(_discard)
        finally:
            self._splice.leave(reader)


async def _discard(_chunk: bytes) -> None:
    return
