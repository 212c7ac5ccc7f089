"""From an attempt that is over to the next one, while readers wait: the same worker again, or another one.

A driver asks for another attempt; a reader asks who drives now, and takes over where nobody does. Nothing here costs a
client more than waiting: what was accepted stays, and the next attempt goes on from there.
Source: docs/design/streams.md §3, §4, §7.
"""

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import structlog

from tether.errors import Reason, TetherError
from tether.link import LinkEnd
from tether.v1 import infer_pb2, placement_pb2
from tether_gateway import metrics
from tether_gateway.attempt import (
    ATTEMPTS_MAX,
    POSITION_NONE,
    REFUSALS_WAIT_S,
    Lost,
    is_retry,
    unretried,
    wait_s,
)
from tether_gateway.config import Config
from tether_gateway.endings import Endings, meaning
from tether_gateway.flight import Flight, Placement
from tether_gateway.governor import RESUMED, Again, Governor
from tether_gateway.launcher import Launcher
from tether_gateway.links import WorkerLinks
from tether_gateway.tasks import Tasks

REATTACH_S = 0.1  # a worker that lives answers a hello in a few milliseconds; elsewhere costs about as much
DIAL_S = 1.0  # a worker that was just chosen and does not answer in this is gone
FOLLOW_S = 12.0  # two more than two leases of a session, the second since its orchestrator began anew (streams.md §3)
FOLLOW_WAIT_S = 0.5  # between two looks for a driver at most
_log = structlog.get_logger("tether.gateway")


class Finds(Protocol):
    """Finds where a job runs, for whoever has no request to place it with."""

    async def where(self, tenant: str, job: bytes) -> placement_pb2.PlaceResponse:
        """`Joined` or `Ended`."""


@dataclass(frozen=True, slots=True)
class Asks:
    """Whom a mover asks.

    Attributes:
        governor: places.
        finds: looks up.
        links: to workers.
    """

    governor: Governor
    finds: Finds
    links: WorkerLinks


class Mover:
    """Moves the jobs of one gateway.

    Args:
        asks: whom it asks.
        launcher: puts attempts on links.
        endings: where there is no next attempt.
        tasks: run the moves.
        config: limits.
        chance: uniform in [0, 1).
    """

    def __init__(
        self,
        asks: Asks,
        launcher: Launcher,
        endings: Endings,
        tasks: Tasks,
        config: Config,
        *,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._governor, self._finds, self._links = asks.governor, asks.finds, asks.links
        self._launcher = launcher
        self._endings = endings
        self._tasks = tasks
        self._config = config
        self._chance = chance

    def depart(self, flight: Flight) -> None:
        """Put a flight's first attempt on its way."""
        end = self._links.standing(flight.placed)
        if end is not None:
            self._launcher.launch(flight, end.number)
            self.hedge(flight)
        else:
            flight.moving = self._tasks.spawn(self._moving(flight, None))

    def move(self, flight: Flight, lost: Lost) -> None:
        """The present attempt is over: go on with the next."""
        if flight.moving is not None:
            flight.pending = (flight.epoch, lost)  # perhaps of the attempt that it is just landing on
        elif not flight.finished.done():
            flight.moving = self._tasks.spawn(self._moving(flight, lost))

    def undecided(self, flight: Flight) -> None:
        """The present attempt has ended, but it is not the one whose end counts, or not yet: look for that."""
        error = TetherError(Reason.WORKER_LOST, "Another attempt has taken this one's place.", retry_after_s=0.1)
        self.move(flight, Lost(placement_pb2.PLACE_CAUSE_TAKE_OVER, error))

    def stop(self, flight: Flight) -> None:
        """The job is over: nothing is looked for any more."""
        for task in (flight.moving, flight.hedging):
            if task is not None:
                task.cancel()

    async def _moving(self, flight: Flight, lost: Lost | None) -> None:
        began_s = time.monotonic()
        try:
            if lost is None:
                lost = await self._land(flight, flight.placed)
            elif lost.reattach and await self._reattach(flight):
                lost = _pending(flight)
            elif lost.reattach and flight.driver and flight.placed.relay.worker_id:
                lost = await self._relay(flight, lost)
            while lost is not None:
                metrics.MOVED.labels(lost.label).inc()
                _tell(flight, lost)
                lost = await self._next(flight, lost)
            metrics.MOVE_SECONDS.observe(time.monotonic() - began_s)
        except TetherError as error:
            self._endings.fail(flight, error)
        finally:
            flight.moving = None

    async def _next(self, flight: Flight, lost: Lost) -> Lost | None:
        """Find and launch the next attempt; returns why it is over already, or None."""
        response = await (self._replace(flight, lost) if flight.driver else self._follow(flight, lost))
        if response.ended.job.state == infer_pb2.JOB_STATE_ABANDONED and flight.admitted.raw:
            response = await self._place(flight, RESUMED)  # it has readers, so it runs again
        if response.WhichOneof("outcome") == "ended":
            self._endings.over(flight, response.ended)
            return None
        placed = response.placed if response.HasField("placed") else response.joined
        return await self._land(flight, placed)

    async def _land(self, flight: Flight, placed: Placement) -> Lost | None:
        """Put an attempt on its link; returns why that was not possible, or None."""
        flight.lands(placed)
        flight.pending = None
        try:
            end = await self._dialled(placed, DIAL_S)
        except TetherError as error:
            lost = TetherError(Reason.WORKER_LOST, f"The worker could not be reached: {error.message}")
            return Lost(placement_pb2.PLACE_CAUSE_REFUSED, lost, reached=False)
        self._launcher.launch(flight, end.number)
        self.hedge(flight)
        return _pending(flight)

    async def _reattach(self, flight: Flight) -> bool:
        """Take the present attempt up on a new link to the worker that runs it; False where that can't be had."""
        here, flight.pending = (flight.epoch, self._launcher.accepted(flight.job)), None
        if self._links.over(flight.placed.worker) or flight.reattached == here:
            return False
        flight.reattached = here
        try:
            end = await self._dialled(flight.placed, REATTACH_S)
        except TetherError:
            return False
        self._launcher.launch(flight, end.number)
        metrics.REATTACHED.inc()
        return True

    async def _relay(self, flight: Flight, lost: Lost) -> Lost | None:
        """Its relay may be gone, and not its worker: take the attempt up through another one; as `_land`."""
        if self._links.over(flight.placed.worker):
            return lost
        gone, at = flight.placed.relay.worker_id, self._launcher.accepted(flight.job)
        try:
            response = await self._place(flight, Again(flight.epoch - 1, placement_pb2.PLACE_CAUSE_HANDED_OVER, *at))
        except TetherError:  # nobody is there to tell which of them is gone
            return replace(lost, cause=placement_pb2.PLACE_CAUSE_HANDED_OVER)
        placed = response.placed
        if placed.epoch < flight.epoch or placed.relay.worker_id == gone:
            return lost
        landed = await self._land(flight, placed)
        return lost if landed is not None and not landed.reached else landed

    async def _dialled(self, placed: Placement, limit_s: float) -> LinkEnd:
        try:
            async with asyncio.timeout(limit_s):
                return await self._links.to(placed)
        except TimeoutError as fault:
            raise TetherError(Reason.WORKER_LOST, "The worker does not answer.") from fault

    # driver

    async def _replace(self, flight: Flight, lost: Lost) -> placement_pb2.PlaceResponse:
        """Ask for another attempt until there is one; raises what ends the job."""
        accepted = self._launcher.accepted(flight.job)
        if flight.attempts >= ATTEMPTS_MAX:
            raise lost.error
        refused = lost.reached and lost.cause == placement_pb2.PLACE_CAUSE_REFUSED and accepted == POSITION_NONE
        if refused:
            flight.refusals += 1
            if flight.refusals >= self._config.attempts_max:
                raise lost.error
        if is_retry(lost, accepted) and (hint_s := self._governor.retry(flight.admitted)) is not None:
            flight.failure = lost.error
            raise unretried(lost, hint_s)
        failures = 0
        while True:
            try:
                return await self._place(flight, self._launcher.again(flight, lost))
            except TetherError as error:
                left_s = flight.admitted.deadline_s - time.monotonic()
                pause_s = None if refused else wait_s(error, failures, self._chance(), left_s)
                if pause_s is None:
                    raise
                failures += 1
                _log.info("placed again soon", job=flight.job.hex(), reason=error.reason.name, failures=failures)
                await asyncio.sleep(pause_s)

    async def _place(self, flight: Flight, again: Again) -> placement_pb2.PlaceResponse:
        """Place; an attempt that nobody waits for any more is given up."""
        trace = {"traceparent": flight.traceparent} if flight.traceparent else {}
        task = asyncio.create_task(self._governor.place(flight.admitted, again, trace))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(lambda done: self._too_late(flight, done))
            raise

    def _too_late(self, flight: Flight, done: "asyncio.Task[placement_pb2.PlaceResponse]") -> None:
        if done.cancelled():
            return
        if (error := done.exception()) is not None:
            self._endings.unheard(flight.admitted, error, flight.newest)
        elif done.result().HasField("placed"):
            flight.newest = done.result().placed.epoch
            self._endings.give_up(flight, flight.newest, POSITION_NONE, None)

    # reader

    async def _follow(self, flight: Flight, lost: Lost) -> placement_pb2.PlaceResponse:
        """Look for the job's driver until another attempt runs, this one is worth another try, or nobody drives it."""
        now_s = time.monotonic()
        if flight.followed[0] != flight.epoch:
            flight.followed = (flight.epoch, now_s, 0)
        epoch, since_s, tries = flight.followed
        if now_s - since_s > FOLLOW_S:
            raise TetherError(Reason.WORKER_LOST, f"Nobody drives the job: {lost.error.message}", retry_after_s=0.5)
        flight.followed = (epoch, since_s, tries + 1)
        await self._pause(flight, min(FOLLOW_WAIT_S, REFUSALS_WAIT_S * tries))
        if not flight.admitted.raw:
            return await self._look(flight)
        asked = Again(flight.epoch, placement_pb2.PLACE_CAUSE_TAKE_OVER, *self._launcher.accepted(flight.job))
        try:
            return await self._place(flight, asked)
        except TetherError as error:
            if wait_s(error, 0, 0.0, flight.admitted.deadline_s - now_s) is None:
                raise
            return _same(flight)

    async def _look(self, flight: Flight) -> placement_pb2.PlaceResponse:
        response = await self._finds.where(flight.admitted.tenant, flight.job)
        if response.ended.job.state == infer_pb2.JOB_STATE_ABANDONED:
            raise meaning(response.ended.job)
        return response

    async def _pause(self, flight: Flight, seconds: float) -> None:
        """Wait, or hear of a newer attempt."""
        flight.poke.clear()
        try:
            async with asyncio.timeout(seconds):
                await flight.poke.wait()
        except TimeoutError:
            return

    # a late first chunk

    def hedge(self, flight: Flight) -> None:
        """Race the present attempt, if its first chunk is late and policy allows it."""
        placed = flight.placed
        if isinstance(placed, placement_pb2.Placed) and placed.HasField("hedge_after") and flight.hedging is None:
            flight.hedging = self._tasks.spawn(self._hedging(flight, placed))

    async def _hedging(self, flight: Flight, placed: placement_pb2.Placed) -> None:
        await asyncio.sleep(placed.hedge_after.ToMilliseconds() / 1_000)
        if flight.epoch != placed.epoch or flight.moving or self._launcher.accepted(flight.job) != POSITION_NONE:
            return
        try:
            asked = Again(placed.epoch, placement_pb2.PLACE_CAUSE_HEDGE, race=True)
            response = await self._place(flight, asked)
            if response.HasField("placed"):
                flight.newest = max(flight.newest, response.placed.epoch)
                end = await self._dialled(response.placed, DIAL_S)
                self._launcher.race(flight, response.placed, end.number)
        except TetherError as error:
            _log.info("first chunk could not be raced", job=flight.job.hex(), reason=error.reason.name)


def _tell(flight: Flight, lost: Lost) -> None:
    _log.info(
        "attempt is over",
        job=flight.job.hex(),
        correlation_id=flight.admitted.correlation_id,
        epoch=flight.epoch,
        worker=flight.placed.worker.worker_id,
        cause=lost.label,
        why=lost.text,
    )


def _pending(flight: Flight) -> Lost | None:
    """Why the attempt that was just launched is over already: its link fell while it was put there."""
    pending, flight.pending = flight.pending, None
    return pending[1] if pending is not None and pending[0] == flight.epoch else None


def _same(flight: Flight) -> placement_pb2.PlaceResponse:
    """The attempt that the flight knows of, to be tried once more."""
    placed = flight.placed
    if isinstance(placed, placement_pb2.Joined):
        return placement_pb2.PlaceResponse(job_id=flight.job, joined=placed)
    return placement_pb2.PlaceResponse(job_id=flight.job, placed=placed)
