"""How jobs end at a gateway: what is written, what readers are told, what a dead letter keeps.

The table decides that an end has come; the settler brings it into the store; here is what lies between.
Source: docs/design/streams.md §5.
"""

import asyncio
from collections.abc import Callable

import structlog

from tether.errors import Reason, TetherError
from tether.link import Kind, outcome_of, to_failure
from tether.v1 import infer_pb2, link_pb2, placement_pb2
from tether_gateway import metrics
from tether_gateway.admission import Admitted
from tether_gateway.flight import Flight
from tether_gateway.governor import Governor
from tether_gateway.links import WorkerLinks
from tether_gateway.settler import Settled, Settler
from tether_gateway.splice import Splice, now_ms
from tether_gateway.tasks import Tasks

Unheard = Callable[[Admitted, BaseException | None, int], None]  # request, how its Place ended, attempt before it
At = tuple[int, int]  # delivered position: tokens and bytes
Undecided = Callable[[Flight], None]  # its attempt has ended, and another one may count
UNDECIDED_S = 0.1  # before an end is asked about again; longer each time
UNDECIDED_MAX_S = 1.0
LOOKS_MIN = 3  # a driver that lives has said which of two attempts counts by then
FRAME_BYTES_MAX = 4_096  # of a deposited frame, as placement.proto says
FAREWELL_S = 0.2  # a worker stops in under 50 ms
FRAME_EVERY_S = 1.0  # deposits of broken frames: the first tells it all
_log = structlog.get_logger("tether.gateway")


class Endings:
    """Ends of one gateway's jobs.

    Args:
        splice: streams and table.
        governor: checks receipts, takes deposits.
        settler: writes ends.
        links: to workers.
        tasks: run what nobody waits for.
    """

    def __init__(self, splice: Splice, governor: Governor, settler: Settler, links: WorkerLinks, tasks: Tasks) -> None:
        self._splice = splice
        self._table = splice.table
        self._governor = governor
        self._settler = settler
        self._links = links
        self._tasks = tasks
        self._frame_s = -FRAME_EVERY_S
        self._farewells: dict[tuple[bytes, int], asyncio.Future[int]] = {}
        self.unheard: Unheard = _ignore
        self.undecided: Undecided = _stay

    def fail(self, flight: Flight, error: TetherError) -> None:
        """End a job with an error, after what was accepted."""
        self._splice.act(self._table.fail(flight.job, to_failure(error), now_ms()))

    def commit(self, flight: Flight, epoch: int, chunk: bytes, answer: bytes | None) -> None:
        """Commit the answer that is whole; its last chunk waits for that. TetherError where the receipt is wrong."""
        last = infer_pb2.Infer.Chunk.FromString(chunk)
        request = self._governor.commit_of(flight.expected, last, answer)
        flight.late.clear()
        self._tasks.spawn(self._commit(flight, epoch, request))

    def late(self, flight: Flight) -> None:
        """The commit wait of a job is over: its journal will do."""
        metrics.COMMIT_LATE.inc()
        flight.late.set()

    def give_up(self, flight: Flight, epoch: int, at: At, error: TetherError | None) -> None:
        """Settle a job that got no answer: ABANDONED where its key may run again, else FAILED.

        Args:
            flight: the job.
            epoch: attempt that ended.
            at: delivered position.
            error: what failed it, or None where the client went away.
        """
        request = placement_pb2.CompleteRequest(
            job_id=flight.job,
            epoch=epoch,
            outcome=outcome_of(error),
            error="" if error is None else f"{error.reason.name}: {error.message}",
            delivered=infer_pb2.Infer.Position(tokens=at[0], bytes=at[1]),
            orchestrator_id=flight.placed_by,
        )
        self._tasks.spawn(self._give_up(flight, request))

    def over(self, flight: Flight, ended: placement_pb2.Ended) -> None:
        """A job has an outcome that was written elsewhere: its readers get what that means."""
        flight.ended = ended
        state = ended.job.state
        if state == infer_pb2.JOB_STATE_CANCELLED:
            self._splice.act(self._table.cancel(flight.job, now_ms()))
            return
        self.keep(flight.admitted, ended)
        self.fail(flight, meaning(ended.job))

    def keep(self, admitted: Admitted, ended: placement_pb2.Ended) -> None:
        """A job has just died: its dead letter gets the request, where policy retains it."""
        if ended.retain and admitted.raw:
            job = bytes.fromhex(ended.job.name)
            request = placement_pb2.DepositRequest(job_id=job, epoch=ended.job.epoch, request=admitted.raw)
            self._tasks.spawn(self._deposit(request))

    def broken(
        self, peer_id: str, frame: bytes, fault: str, now_s: float, attempt: tuple[bytes, int] = (b"", 0)
    ) -> None:
        """A worker sent what is no frame, or breaks the rules: a dead letter keeps the first of a second."""
        if now_s - self._frame_s < FRAME_EVERY_S:
            return
        self._frame_s = now_s
        error = f"{Reason.LINK_PROTOCOL.name}: {fault}"[:1_024]
        job, epoch = attempt
        request = placement_pb2.DepositRequest(
            job_id=job, epoch=epoch, frame=frame[:FRAME_BYTES_MAX], error=error, peer_id=peer_id
        )
        self._tasks.spawn(self._deposit(request))

    async def _commit(self, flight: Flight, epoch: int, request: placement_pb2.CompleteRequest) -> None:
        try:
            settled = await self._decided(flight, epoch, request)
        except TetherError as error:
            self.fail(flight, error)
            return
        if settled is None:
            return
        if settled.elsewhere(request):
            await self._elsewhere(flight)
            return
        if settled.outcome == infer_pb2.JOB_STATE_ABANDONED:  # given up elsewhere; who reads it here has it run again
            self.undecided(flight)
            return
        self._splice.act(self._table.committed(flight.job, epoch, settled.outcome, settled.settlement, now_ms()))
        self._told(flight, epoch, settled)

    async def _decided(self, flight: Flight, epoch: int, request: placement_pb2.CompleteRequest) -> Settled | None:
        """The outcome that holds; None where the flight went on to another attempt before there was one.

        Of two attempts that race only the driver says which one counts, and of an old one nobody asks the end.
        """
        looks, late = 0, flight.late
        while (settled := await self._settler.settle(request, late)).undecided:
            late = asyncio.Event()  # an end that was not taken when it was told is not delivered before it is
            if flight.driver or looks >= LOOKS_MIN:
                self.undecided(flight)
            looks += 1
            await asyncio.sleep(min(UNDECIDED_S * looks, UNDECIDED_MAX_S))
            if flight.epoch != epoch or flight.finished.done():
                return None
        return settled

    async def _elsewhere(self, flight: Flight) -> None:
        """Another attempt's answer is the job's: readers get that one's end."""
        try:
            found = await self._governor.find(flight.admitted.tenant, infer_pb2.GetJobRequest(job_id=flight.job.hex()))
        except TetherError as error:
            self.fail(flight, error)
            return
        self.over(flight, placement_pb2.Ended(job=found.job, model_digest=found.model_digest))

    def farewell(self, job: bytes, epoch: int, input_tokens: int) -> None:
        """A worker ended what it was told to stop, and says how long the prompt was."""
        waiting = self._farewells.get((job, epoch))
        if waiting is not None and not waiting.done():
            waiting.set_result(input_tokens)

    async def _prompt(self, flight: Flight, epoch: int) -> int:
        """Tokens of the prompt, for an end without a receipt; a worker that was just told to stop is waited for."""
        name = (flight.job, epoch)
        known = flight.input_tokens or flight.over or not self._links.stands(flight.link)
        if known or name in self._farewells:
            return flight.input_tokens
        waiting = self._farewells[name] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(FAREWELL_S):
                flight.reads(await waiting)
        except TimeoutError:
            _log.info("prompt is not known", job=flight.job.hex(), epoch=epoch)
        finally:
            del self._farewells[name]
        return flight.input_tokens

    async def _give_up(self, flight: Flight, request: placement_pb2.CompleteRequest) -> None:
        request.input_tokens = await self._prompt(flight, request.epoch)
        try:
            settled = await self._settler.give_up(request)
        except TetherError as fault:
            _log.warning("job could not be settled", job=flight.job.hex(), reason=fault.reason.name)
            return
        if settled.outcome == infer_pb2.JOB_STATE_RESERVED:  # a newer attempt runs, which was perhaps placed unheard
            self.unheard(flight.admitted, None, request.epoch)
            return
        self._told(flight, request.epoch, settled)

    def _told(self, flight: Flight, epoch: int, settled: Settled) -> None:
        """The worker need not commit what is written."""
        committed = settled.settlement == infer_pb2.Infer.SETTLEMENT_COMMITTED
        if not committed or not flight.link or not self._links.stands(flight.link):
            return
        body = link_pb2.Link.Outcome(outcome=settled.outcome, written=True).SerializeToString()
        self._splice.act(self._table.send(flight.link, int(Kind.OUTCOME), flight.job, epoch, body))

    async def _deposit(self, request: placement_pb2.DepositRequest) -> None:
        try:
            await self._governor.deposit(request)
        except TetherError as fault:
            _log.warning("nobody took a deposit", job=request.job_id.hex(), reason=fault.reason.name)


def _ignore(_admitted: Admitted, _error: BaseException | None, _after_epoch: int) -> None:
    return


def _stay(_flight: Flight) -> None:
    return


def meaning(row: infer_pb2.Job) -> TetherError:
    """What the outcome of a job means to a reader that has not had its answer."""
    error = row.error.rstrip(".") or "no cause was given"
    match row.state:
        case infer_pb2.JOB_STATE_DONE:
            return TetherError(Reason.ANSWER_NOT_KEPT, "The job is done, and its answer is not kept.")
        case infer_pb2.JOB_STATE_CANCELLED:
            return TetherError(Reason.JOB_CANCELLED, "The job was cancelled.")
        case infer_pb2.JOB_STATE_FAILED:
            return TetherError(Reason.JOB_FAILED, f"The job failed: {error}.")
        case infer_pb2.JOB_STATE_DEAD:
            return TetherError(Reason.POISON, f"The job cannot succeed: {error}.")
        case _:
            return TetherError(Reason.WORKER_LOST, "The job was given up before its end.", retry_after_s=0.1)
