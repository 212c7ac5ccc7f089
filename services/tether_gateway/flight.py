"""A job in the gateway's hands, and the conductor that carries out what the stream table asks about it.

The table says commit, abandon, silent or fail; the conductor asks the governor, and tells the table what came of it.
Source: docs/design/streams.md §§3, 5.
"""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import structlog
from google.protobuf.duration_pb2 import Duration

from tether.errors import Reason, TetherError
from tether.link import Kind, from_failure, to_failure
from tether.v1 import infer_pb2, link_pb2, placement_pb2
from tether_gateway import metrics
from tether_gateway.admission import Admitted
from tether_gateway.config import Config
from tether_gateway.governor import ANSWER_BYTES_MAX, NEW, Again, Governor
from tether_gateway.links import WorkerLinks
from tether_gateway.receipts import Expected
from tether_gateway.splice import Splice, now_ms

_log = structlog.get_logger("tether.gateway")


@dataclass(eq=False, slots=True)
class Flight:
    """A job that the stream table holds.

    Attributes:
        job: 16 bytes.
        admitted: the request that opened it.
        placed: where it runs.
        traceparent: of its span, or empty.
        attempt: how many workers were tried, from 1.
        link: number of the link it runs on; 0 before.
        again: set when it ends before its first chunk and may be placed another time.
        readers: calls that read it here.
        finished: resolved when the table has forgotten it.
    """

    job: bytes
    admitted: Admitted
    placed: placement_pb2.Placed | placement_pb2.Joined
    traceparent: str = ""
    attempt: int = 1
    link: int = 0
    again: Again | None = None
    readers: int = 0
    finished: "asyncio.Future[None]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    @property
    def driver(self) -> bool:
        """Whether this gateway drives it."""
        return isinstance(self.placed, placement_pb2.Placed)

    @property
    def expected(self) -> Expected:
        """What its receipt must say."""
        return Expected(
            job=self.job,
            epoch=self.placed.epoch,
            tenant=self.admitted.tenant,
            request_hash=self.admitted.header.request_hash,
            worker_id=self.placed.worker.worker_id,
            model_digest=self.placed.model_digest,
        )


class Conductor:
    """Carries out what the table asks.

    Args:
        splice: streams and table.
        governor: decides.
        links: to workers.
        config: limits.
    """

    def __init__(self, splice: Splice, governor: Governor, links: WorkerLinks, config: Config) -> None:
        self._splice = splice
        self._table = splice.table
        self._governor = governor
        self._links = links
        self._config = config
        self._flights: dict[bytes, Flight] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        handlers: dict[str, Callable[..., None]] = {
            "commit": self._on_commit,
            "late": self._on_late,
            "silent": self._on_silent,
            "fail": self._on_fail,
            "abandon": self._on_abandon,
            "finish": self._on_finish,
            "control": self._on_control,
        }
        for kind, handler in handlers.items():
            splice.on(kind, handler)

    def __len__(self) -> int:
        return len(self._flights)

    def __repr__(self) -> str:
        return f"Conductor({len(self._flights)} flights, {len(self._tasks)} tasks, {self._splice!r})"

    def get(self, job: bytes) -> Flight | None:
        """The flight of a job, while the table holds it."""
        return self._flights.get(job)

    def position(self, job: bytes) -> tuple[int, int]:
        """Accepted position of a job here, tokens and bytes; zeros for one that is not here."""
        found = self._table.position(job)
        return (0, 0) if found is None else found[1:]

    async def enter(
        self, admitted: Admitted, response: placement_pb2.PlaceResponse, attempt: int, traceparent: str
    ) -> Flight:
        """The flight of a placed job: the one that is there, else a new one on its way to its worker.

        Raises:
            TetherError: WORKER_LOST where an earlier end of the job holds the table for too long.
        """
        job = response.job_id
        flight = self._flights.get(job)
        if flight is not None and self._table.known(job):
            return flight
        if flight is not None:
            await self._gone(flight)
            return await self.enter(admitted, response, attempt, traceparent)
        placed = response.placed if response.WhichOneof("outcome") == "placed" else response.joined
        flight = self._flights[job] = Flight(job, admitted, placed, traceparent, attempt)
        keep = ANSWER_BYTES_MAX if admitted.header.keyed else 0
        self._table.open(
            job,
            driver=flight.driver,
            keep_answer_bytes=keep,
            on_disconnect=admitted.header.on_disconnect,
            deadline_ms=int(admitted.deadline_s * 1_000),
            now_ms=now_ms(),
        )
        self._depart(flight)
        return flight

    def orphaned(self, admitted: Admitted, response: placement_pb2.PlaceResponse) -> None:
        """A job was placed for a client that is gone: give it up, unless others read it here."""
        if response.WhichOneof("outcome") == "placed" and response.job_id not in self._flights:
            flight = Flight(response.job_id, admitted, response.placed)
            self._spawn(self._give_up(flight, response.placed.epoch, (0, 0), None))

    def unplaced(self, flight: Flight | None, error: TetherError | None) -> None:
        """A job could not be placed another time: its last attempt is settled, so that nothing is held for it."""
        if flight is not None and flight.driver:
            self._spawn(self._give_up(flight, flight.placed.epoch, (0, 0), error))

    def cancelled(self, job: bytes) -> None:
        """A job was cancelled, and that is written: nothing but its end is delivered."""
        self._splice.act(self._table.cancel(job, now_ms()))

    def decided(self, job: bytes, outcome: infer_pb2.JobState.ValueType) -> None:
        """Another gateway wrote the outcome of a job."""
        if outcome == infer_pb2.JOB_STATE_CANCELLED and job in self._flights:
            self.cancelled(job)

    async def drain(self) -> None:
        """Return when every flight, commit and abandonment is over; detached jobs have their grace."""
        while self._flights or self._tasks:
            await asyncio.wait([flight.finished for flight in self._flights.values()] or set(self._tasks))

    async def close(self) -> None:
        """Stop all tasks."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # towards the worker

    def _depart(self, flight: Flight) -> None:
        end = self._links.standing(flight.placed.worker)
        if end is not None:
            self._hand_over(flight, end.number)
        else:
            self._spawn(self._dial(flight))

    async def _dial(self, flight: Flight) -> None:
        try:
            end = await self._links.to(flight.placed.worker)
        except TetherError as error:
            lost = TetherError(Reason.WORKER_LOST, f"The worker could not be reached: {error.message}")
            self._try_again(flight, placement_pb2.PLACE_CAUSE_WORKER_LOST)
            self._end(flight, lost)
            return
        self._hand_over(flight, end.number)

    def _hand_over(self, flight: Flight, link: int) -> None:
        flight.link = link
        body = self._start_body(flight) if flight.driver else self._attach_body(flight)
        self._splice.act(self._table.placed(flight.job, flight.placed.epoch, link, body, now_ms()))

    def _start_body(self, flight: Flight) -> bytes:
        left_ms = max(1, int(flight.admitted.deadline_s * 1_000) - now_ms())
        timeout, grace = Duration(), Duration()
        timeout.FromMilliseconds(left_ms)
        grace.FromMilliseconds(int(self._config.detach_grace_s * 1_000))
        placed = flight.placed
        start = link_pb2.Link.Start(
            request=flight.admitted.raw,
            ticket=placed.ticket if isinstance(placed, placement_pb2.Placed) else b"",
            credit_bytes=self._config.window_bytes,
            traceparent=flight.traceparent,
            timeout=timeout,
            detach_grace=grace,
            answer_bytes_max=ANSWER_BYTES_MAX if flight.admitted.header.keyed else 0,
        )
        return start.SerializeToString()

    def _attach_body(self, flight: Flight) -> bytes:
        attach = link_pb2.Link.Attach(tenant_id=flight.admitted.tenant, credit_bytes=self._config.window_bytes)
        return attach.SerializeToString()

    # what the table asks

    def _on_commit(self, job: bytes, epoch: int, chunk: bytes, answer: bytes | None) -> None:
        flight = self._flights[job]
        self._spawn(self._commit(flight, epoch, infer_pb2.Infer.Chunk.FromString(chunk), answer))

    def _on_late(self, _job: bytes, _epoch: int) -> None:
        metrics.COMMIT_LATE.inc()  # the commit goes on to its own limit; without a journal there is nothing else to do

    def _on_silent(self, job: bytes, _epoch: int) -> None:
        flight = self._flights.get(job)
        if flight is not None:
            self._try_again(flight, placement_pb2.PLACE_CAUSE_WORKER_LOST)
            self._end(flight, TetherError(Reason.WORKER_LOST, "The worker was lost.", retry_after_s=0.1))

    def _on_fail(self, job: bytes, epoch: int, tokens: int, text_bytes: int, failure: bytes) -> None:
        flight = self._flights.get(job)
        if flight is None:
            return
        if link_pb2.Link.Failure.FromString(failure).elsewhere:
            self._try_again(flight, placement_pb2.PLACE_CAUSE_REFUSED)
        if flight.again is None:
            self._spawn(self._give_up(flight, epoch, (tokens, text_bytes), from_failure(failure)))

    def _on_abandon(self, job: bytes, epoch: int, tokens: int, text_bytes: int) -> None:
        flight = self._flights.get(job)
        if flight is not None and flight.again is None:
            self._spawn(self._give_up(flight, epoch, (tokens, text_bytes), None))

    def _on_finish(self, job: bytes) -> None:
        flight = self._flights.pop(job, None)
        if flight is None:
            return
        if not flight.finished.done():
            flight.finished.set_result(None)
        if flight.again is not None and not flight.readers:  # nobody is left to place it another time
            self._spawn(self._give_up(flight, flight.placed.epoch, (0, 0), None))

    def _on_control(self, link: int, kind: int, _job: bytes, _epoch: int, _body: bytes) -> None:
        if kind == Kind.DRAIN:
            _log.info("worker drains", link=link)

    # carrying it out

    def _try_again(self, flight: Flight, cause: placement_pb2.PlaceCause.ValueType) -> None:
        """Let the flight's readers place it another time, if nothing of it was accepted yet."""
        position = self._table.position(flight.job)
        untouched = position is None or position[1:] == (0, 0)
        if flight.driver and untouched and flight.attempt < self._config.attempts_max:
            metrics.AGAIN.labels(placement_pb2.PlaceCause.Name(cause).removeprefix("PLACE_CAUSE_").lower()).inc()
            flight.again = Again(after_epoch=flight.placed.epoch, cause=cause)

    def _end(self, flight: Flight, error: TetherError) -> None:
        self._splice.act(self._table.fail(flight.job, to_failure(error), now_ms()))

    async def _commit(self, flight: Flight, epoch: int, last: infer_pb2.Infer.Chunk, answer: bytes | None) -> None:
        try:
            outcome = await self._governor.commit(flight.expected, last, answer)
        except TetherError as error:
            self._end(flight, error)
            return
        committed = infer_pb2.Infer.SETTLEMENT_COMMITTED
        self._splice.act(self._table.committed(flight.job, epoch, outcome, committed, now_ms()))
        self._tell_worker(flight, epoch, outcome)

    async def _give_up(self, flight: Flight, epoch: int, at: tuple[int, int], error: TetherError | None) -> None:
        try:
            outcome = await self._governor.give_up(flight.admitted.tenant, flight.job, epoch, at, error)
        except TetherError as fault:
            _log.warning("job could not be settled", job=flight.job.hex(), reason=fault.reason.name)
            return
        self._tell_worker(flight, epoch, outcome)

    def _tell_worker(self, flight: Flight, epoch: int, outcome: infer_pb2.JobState.ValueType) -> None:
        """The worker need not commit."""
        if self._links.standing(flight.placed.worker) is None or not flight.link:
            return
        body = link_pb2.Link.Outcome(outcome=outcome, written=True).SerializeToString()
        self._splice.act(self._table.send(flight.link, int(Kind.OUTCOME), flight.job, epoch, body))

    async def _gone(self, flight: Flight) -> None:
        try:
            async with asyncio.timeout(1.0):
                await asyncio.shield(flight.finished)
        except TimeoutError as fault:
            raise TetherError(
                Reason.WORKER_LOST, "The job's last end is still being read.", retry_after_s=1.0
            ) from fault

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (fault := task.exception()) is not None:
            _log.error("a task of the gateway failed", exc_info=fault)


__all__ = ["NEW", "Conductor", "Flight"]
