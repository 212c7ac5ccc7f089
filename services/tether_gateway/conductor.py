"""The conductor: carries out what the stream table asks about the jobs of this gateway.

The table says commit, silent, lost, won, abandon; the conductor hands each to those who know: endings, mover.
Source: docs/design/streams.md §§3, 5.
"""

import asyncio
import time

import structlog

from tether.errors import Reason, TetherError
from tether.link import Kind, LinkEnd, from_failure
from tether.v1 import infer_pb2, link_pb2, placement_pb2
from tether_gateway import metrics
from tether_gateway.admission import Admitted
from tether_gateway.attempt import POSITION_NONE, Lost, cause_of
from tether_gateway.endings import Endings
from tether_gateway.flight import Flight
from tether_gateway.links import WorkerLinks
from tether_gateway.mover import Mover
from tether_gateway.receipts import prompt_of, prompt_told
from tether_gateway.splice import Splice, now_ms
from tether_gateway.start import ANSWER_BYTES_MAX
from tether_gateway.tasks import Tasks

GONE_S = 1.0  # a last end of the same job is read out by then, or its client is slow
_log = structlog.get_logger("tether.gateway")
Key = tuple[str, str, str]


class Conductor:
    """Carries out what the table asks.

    Args:
        splice: streams and table.
        links: to workers.
        mover: finds next attempts.
        endings: write ends.
        tasks: of this gateway.
    """

    def __init__(self, splice: Splice, links: WorkerLinks, mover: Mover, endings: Endings, tasks: Tasks) -> None:
        self._splice = splice
        self._table = splice.table
        self._links = links
        self._mover = mover
        self._endings = endings
        self._tasks = tasks
        self._flights: dict[bytes, Flight] = {}
        self._named: dict[Key, Flight] = {}
        splice.on("commit", self._on_commit)
        splice.on("late", self._on_late)
        splice.on("silent", self._on_silent)
        splice.on("lost", self._on_lost)
        splice.on("won", self._on_won)
        splice.on("lost_race", self._on_lost_race)
        splice.on("fail", self._on_fail)
        splice.on("abandon", self._on_abandon)
        splice.on("finish", self._on_finish)
        splice.on("control", self._on_control)
        splice.on("foul", self._on_broke)
        splice.foul = self._on_foul

    def __len__(self) -> int:
        return len(self._flights)

    def __repr__(self) -> str:
        return f"Conductor({len(self._flights)} flights, {len(self._tasks)} tasks, {self._splice!r})"

    def get(self, job: bytes) -> Flight | None:
        """The flight of a job, while the table holds it."""
        return self._flights.get(job) if self._table.known(job) else None

    def knows(self, admitted: Admitted) -> bool:
        """Whether a request's job is here already."""
        flight = self._named.get(_key(admitted))
        return flight is not None and self._table.known(flight.job)

    def named(self, tenant: str, correlation_id: str, retry_token: str) -> Flight | None:
        """The flight of a job by its key, while the table holds it."""
        flight = self._named.get((tenant, correlation_id, retry_token))
        return None if flight is None else self.get(flight.job)

    def position(self, job: bytes) -> tuple[int, int]:
        """Accepted position of a job here, tokens and bytes; zeros for one that is not here."""
        found = self._table.position(job)
        return POSITION_NONE if found is None else found[1:]

    async def enter(self, admitted: Admitted, response: placement_pb2.PlaceResponse, traceparent: str = "") -> Flight:
        """The flight of a placed job: the one that is there, else a new one on its way to its worker.

        Raises:
            TetherError: WORKER_LOST where an earlier end of the job holds the table for too long.
        """
        job = response.job_id
        while (flight := self._flights.get(job)) is not None:
            if self._table.known(job):
                flight.lend(admitted)
                return flight
            await _gone(flight)
        placed = response.placed if response.WhichOneof("outcome") == "placed" else response.joined
        flight = self._flights[job] = Flight(job, admitted, placed, traceparent)
        self._named[_key(admitted)] = flight
        self._table.open(
            job,
            driver=flight.driver,
            keep_answer_bytes=ANSWER_BYTES_MAX if admitted.header.keyed else 0,
            on_disconnect=admitted.header.on_disconnect,
            deadline_ms=int(admitted.deadline_s * 1_000),
            now_ms=now_ms(),
        )
        self._mover.depart(flight)
        return flight

    def over(self, admitted: Admitted, ended: placement_pb2.Ended) -> None:
        """A job that was asked for has ended already."""
        self._endings.keep(admitted, ended)

    def orphaned(self, admitted: Admitted, response: placement_pb2.PlaceResponse) -> None:
        """A job was placed for a client that is gone: give it up, unless others read it here."""
        if response.WhichOneof("outcome") == "placed" and response.job_id not in self._flights:
            flight = Flight(response.job_id, admitted, response.placed)
            self._endings.give_up(flight, flight.epoch, POSITION_NONE, None)

    def cancelled(self, job: bytes) -> None:
        """A job was cancelled, and that is written: nothing but its end is delivered."""
        self._splice.act(self._table.cancel(job, now_ms()))

    def decided(self, outcome: placement_pb2.JobOutcome) -> None:
        """Somebody else wrote the outcome of a job."""
        flight = self._flights.get(outcome.job_id)
        if flight is None or outcome.outcome == infer_pb2.JOB_STATE_DONE:  # its END is on its way
            return
        if (
            outcome.outcome == infer_pb2.JOB_STATE_ABANDONED
        ):  # somebody took this gateway for gone; a keyed job runs again
            error = TetherError(Reason.WORKER_LOST, "The job was given up elsewhere.", retry_after_s=0.1)
            self._mover.move(flight, Lost(placement_pb2.PLACE_CAUSE_WORKER_LOST, error))
            return
        row = infer_pb2.Job(state=outcome.outcome, epoch=outcome.epoch)
        self._endings.over(flight, placement_pb2.Ended(job=row))

    def newer(self, newest: placement_pb2.NewEpoch) -> None:
        """A job has a newer attempt than the one that runs here."""
        flight = self._flights.get(newest.job_id)
        if flight is None or newest.epoch <= flight.newest:
            return
        if flight.moving is not None:
            flight.poke.set()
        elif not flight.driver:
            text = TetherError(Reason.WORKER_LOST, "Another attempt has taken this one's place.")
            self._mover.move(flight, Lost(placement_pb2.PLACE_CAUSE_TAKE_OVER, text))

    async def drain(self) -> None:
        """Return when every flight, commit and abandonment is over; detached jobs have their grace."""
        while self._flights:
            await asyncio.wait([flight.finished for flight in self._flights.values()])
        await self._tasks.idle()

    # what the table asks

    def _on_commit(self, job: bytes, epoch: int, chunk: bytes, answer: bytes | None) -> None:
        flight = self._flights[job]
        try:
            self._endings.commit(flight, epoch, chunk, answer)
        except TetherError as error:
            _log.warning("receipt does not hold", job=job.hex(), worker=flight.placed.worker.worker_id)
            if flight.driver:
                self._mover.move(flight, Lost(placement_pb2.PLACE_CAUSE_FAILED, error))
            else:
                self._endings.fail(flight, error)

    def _on_late(self, job: bytes, _epoch: int) -> None:
        self._endings.late(self._flights[job])

    def _on_silent(self, job: bytes, _epoch: int) -> None:
        flight = self._flights.get(job)
        if flight is None:
            return
        broken = not self._links.stands(flight.link)
        error = TetherError(Reason.WORKER_LOST, "The worker was lost.", retry_after_s=0.1)
        self._mover.move(flight, Lost(placement_pb2.PLACE_CAUSE_WORKER_LOST, error, reattach=broken))

    def _on_lost(self, job: bytes, _epoch: int, _tokens: int, _bytes: int, failure: bytes) -> None:
        flight = self._flights.get(job)
        if flight is None:
            return
        told = link_pb2.Link.Failure.FromString(failure)
        flight.over = True
        flight.reads(prompt_of(told.receipt))
        cause = cause_of(told, self.position(job))
        if cause is None:
            cause = placement_pb2.PLACE_CAUSE_FAILED if flight.driver else placement_pb2.PLACE_CAUSE_TAKE_OVER
        self._mover.move(flight, Lost(cause, from_failure(failure)))

    def _on_won(self, job: bytes, epoch: int, _lost: int) -> None:
        flight = self._flights.get(job)
        if flight is None or flight.raced is None:
            return
        hedge = epoch == flight.raced.epoch
        metrics.HEDGED.labels("second" if hedge else "first").inc()
        if hedge:
            link = flight.raced_link
            flight.lands(flight.raced)
            flight.link = link
        flight.raced = None

    def _on_lost_race(self, job: bytes, epoch: int) -> None:
        """One of two attempts is out before either brought anything: the other one is the job's."""
        flight = self._flights.get(job)
        if flight is None or flight.raced is None:
            return
        raced, link = flight.raced, flight.raced_link
        flight.raced = None
        if epoch != raced.epoch:
            flight.lands(raced)
            flight.link = link

    def _on_fail(self, job: bytes, _epoch: int, tokens: int, text_bytes: int, failure: bytes) -> None:
        flight = self._flights.get(job)
        if flight is not None:
            flight.over = True
            flight.reads(prompt_told(Kind.FAIL, failure))
            self._endings.give_up(flight, flight.newest, (tokens, text_bytes), from_failure(failure))

    def _on_abandon(self, job: bytes, _epoch: int, tokens: int, text_bytes: int) -> None:
        flight = self._flights.get(job)
        if flight is not None and flight.ended is None:
            self._endings.give_up(flight, flight.newest, (tokens, text_bytes), flight.failure)

    def _on_finish(self, job: bytes) -> None:
        flight = self._flights.pop(job, None)
        if flight is None:
            return
        if self._named.get(_key(flight.admitted)) is flight:
            del self._named[_key(flight.admitted)]
        self._mover.stop(flight)
        if not flight.finished.done():
            flight.finished.set_result(None)

    def _on_control(self, link: int, kind: int, job: bytes, epoch: int, body: bytes) -> None:
        if kind == Kind.PROGRESS and (flight := self._flights.get(job)) is not None and not flight.input_tokens:
            flight.reads(prompt_told(kind, body))
        elif kind in (Kind.END, Kind.FAIL):
            self._endings.farewell(job, epoch, prompt_told(kind, body))
        elif kind == Kind.DRAIN:
            _log.info("worker drains", link=link)

    def _on_foul(self, link: LinkEnd, frame: bytes, fault: str) -> None:
        """A worker sent what is no frame: this life of it is not dialled again for what it runs."""
        self._links.lost(link.peer.node_id, link.peer.incarnation)
        self._endings.broken(link.peer.node_id, frame, fault, time.monotonic())

    def _on_broke(self, _link: int, job: bytes, epoch: int) -> None:
        """What a worker sent of an attempt breaks a rule: its frame is kept, and "lost" follows."""
        flight = self._flights.get(job)
        maker = flight.makers.get(epoch) if flight is not None else None
        if maker is not None:
            metrics.BROKEN.inc()
            _log.warning("a worker's stream breaks a rule", job=job.hex(), epoch=epoch, worker=maker.worker_id)
            fault = "the stream does not continue what was accepted"
            self._endings.broken(maker.worker_id, self._splice.heard, fault, time.monotonic(), (job, epoch))


def _key(admitted: Admitted) -> Key:
    return (admitted.tenant, admitted.correlation_id, admitted.header.retry_token)


async def _gone(flight: Flight) -> None:
    try:
        async with asyncio.timeout(GONE_S):
            await asyncio.shield(flight.finished)
    except TimeoutError as fault:
        raise TetherError(Reason.WORKER_LOST, "The job's last end is still being read.", retry_after_s=1.0) from fault
