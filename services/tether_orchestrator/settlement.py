"""Settlement: writes the outcome that a worker or a gateway asks for, and tells the others.

The worker-signed receipt is the commit record; whoever holds it may commit it, and the first outcome written holds.
Source: docs/design/streams.md §5.
"""

import time
from dataclasses import dataclass, replace
from typing import Protocol

import structlog

from tether.errors import Reason, TetherError
from tether.identity import Role
from tether.job.commit import check_receipt, is_fault, is_whole, over, receipt_body, used
from tether.job.hold import within
from tether.job.state import State, is_open
from tether.store.jobs import Completion, JobRow, JobStore, Refused, Settled
from tether.v1.infer_pb2 import Infer, JobState
from tether.v1.placement_pb2 import JobOutcome
from tether_orchestrator.ending import End
from tether_orchestrator.metrics import COMMIT, OUTCOMES, UNKEPT
from tether_orchestrator.offline import Offline, OfflineJob
from tether_orchestrator.open_jobs import OpenJobs
from tether_orchestrator.pending import Pending
from tether_orchestrator.scheduler import Scheduler
from tether_orchestrator.session import Sessions
from tether_orchestrator.store_health import GONE

_log = structlog.get_logger("tether.orchestrator")
_RECEIPT = "tether/receipt/v1"
# A Cancel that is acknowledged must hold, and a death needs the row: neither waits for the store.
_MAY_WAIT = frozenset({State.DONE, State.FAILED, State.ABANDONED})

_UNKNOWN = GONE | {Reason.JOB_UNKNOWN}


class Verifier(Protocol):
    """What checks signatures: a node's trust.

    Attributes:
        network_id: of the network, 32 bytes.
    """

    network_id: bytes

    def signed(self, context: str, body: bytes, signature: bytes, credential: bytes, role: int, now_s: float) -> object:
        """Who signed, with `node_id`; TetherError where the signature does not hold."""


class WorkerLine(Protocol):
    """A way to tell a worker an outcome."""

    def tell(self, worker: str, job: bytes, epoch: int, outcome: State) -> None:
        """Tell it, where it has a link."""


@dataclass(frozen=True, slots=True)
class Pended:
    """The outcome waits for the store; it is durable here.

    Attributes:
        end: what is asked for.
    """

    end: End


class Settlement:
    """Commits jobs.

    Args:
        store: the job store.
        trust: checks receipts.
        scheduler: learns how jobs end.
        sessions: tells gateways.
        workers: tells workers.
        open_jobs: jobs that have not ended.
        pending: keeps what cannot be written yet.
        offline: jobs that run without the store.
    """

    def __init__(  # noqa: PLR0913 - the parts it is composed of
        self,
        store: JobStore,
        trust: Verifier,
        scheduler: Scheduler,
        sessions: Sessions,
        workers: WorkerLine,
        open_jobs: OpenJobs,
        *,
        pending: Pending,
        offline: Offline,
    ) -> None:
        self._offline = offline
        self._pending = pending
        self._store = store
        self._trust = trust
        self._scheduler = scheduler
        self._sessions = sessions
        self._workers = workers
        self._open = open_jobs

    async def complete(self, end: End) -> Settled | Pended:
        """Write an outcome, get the one that holds, or keep it until the store is back.

        Args:
            end: what is asked for.

        Returns:
            The job as it stands, or that its end is pending; durable either way.

        Raises:
            TetherError: as `write`; STORE_UNAVAILABLE where it can be kept nowhere, or may not wait.
        """
        body = self._receipt(end)
        job = self._offline.get(end.job)
        if job is not None:
            return await self._end_offline(job, end, body)
        completion = self._completion(end, body)
        try:
            return await self._write(end, completion)
        except TetherError as error:
            if end.placed_by and error.reason in _UNKNOWN:
                raise _elsewhere() from error
            if error.reason not in GONE or end.outcome not in _MAY_WAIT:
                raise
        await self._pending.keep(end)
        self._open.discard(end.job)
        return Pended(end)

    async def _end_offline(self, job: OfflineJob, end: End, body: Infer.ReceiptBody | None) -> Pended:
        """End a job that the store does not know yet."""
        if end.epoch not in (0, job.epoch):
            raise TetherError(Reason.STALE_EPOCH, f"The job is at attempt {job.epoch}, not {end.epoch}")
        worker = body.worker_id if body is not None else end.worker
        if worker not in ("", job.worker.node):
            raise TetherError(Reason.ROLE_FORBIDDEN, "The attempt runs on another worker")
        completion = self._completion(end, body)
        if not within(job.subject.limit_tokens, completion.used):
            raise over(job.subject.limit_tokens, completion.used)
        ended = await self._offline.end(job, end.outcome, completion.used, completion.receipt)
        self._open.discard(end.job)
        return Pended(replace(end, outcome=ended.state))

    async def _tell_racer(self, row: JobRow) -> None:
        """Tell whoever runs the attempt beside the newest one."""
        for past in await self._store.attempts_of(row.subject.job):
            if past.epoch == row.raced_epoch:
                self._workers.tell(past.worker.node, row.subject.job, past.epoch, row.state)

    def attempt_failed(self, row: JobRow, lost: bool) -> None:  # noqa: FBT001 - what `Around.failed` is called with
        """An attempt ended by its worker's fault, or with the worker: the job goes on elsewhere."""
        model, worker = row.subject.model, row.worker.node
        changed = self._scheduler.ended(model, worker, failed=True, s_per_token=0.0, lost=lost)
        if changed is not None:
            self._sessions.breaker(changed)

    async def write(self, end: End) -> Settled:
        """Write an outcome, or get the one that holds.

        Raises:
            TetherError: MALFORMED, INVALID_FIELD, NODE_TOKEN_INVALID (a receipt that does not hold), JOB_UNKNOWN,
                STALE_EPOCH, ROLE_FORBIDDEN, STORE_UNAVAILABLE.
        """
        return await self._write(end, self._completion(end, self._receipt(end)))

    async def write_pending(self) -> int:
        """Write a batch of what waited for the store; returns how many. TetherError where it is gone again."""
        return await self._pending.write(self.write)

    async def _write(self, end: End, completion: Completion) -> Settled:
        with COMMIT.time():
            [result] = await self._store.complete([completion])
        if isinstance(result, Settled) and self._undecided(end, result):
            [result] = await self._store.complete([replace(completion, gateway=None)])
        if isinstance(result, Refused):
            raise result.error
        if result.written:
            self._written(end, result.row)
            if result.row.raced_epoch:
                await self._tell_racer(result.row)
        return result

    def _undecided(self, end: End, result: Settled) -> bool:
        """Whether a whole answer waits for a driver to say which of two attempts counts, and the driver is gone."""
        row = result.row
        raced = not result.written and is_open(row.state) and row.raced_epoch and end.outcome is State.DONE
        return bool(raced) and self._sessions.lapsed(row.driver.session)

    def _receipt(self, end: End) -> Infer.ReceiptBody | None:
        """What the receipt says, once its signature holds."""
        receipt = end.receipt
        if receipt is None or not receipt.body:
            if end.outcome is State.DONE:
                raise TetherError(Reason.INVALID_FIELD, "An answer needs its receipt", field="receipt")
            return None
        signer = self._trust.signed(
            _RECEIPT, receipt.body, receipt.signature, receipt.credential, Role.WORKER, time.time()
        )
        body = receipt_body(receipt)
        name = str(getattr(signer, "node_id", ""))
        check_receipt(body, end.job, end.epoch or body.epoch, name, self._trust.network_id)
        if end.outcome is State.DONE and not body.complete:
            raise TetherError(Reason.INVALID_FIELD, "The receipt is of an answer that was cut off", field="receipt")
        return body

    def _completion(self, end: End, body: Infer.ReceiptBody | None) -> Completion:
        answer = end.answer or None
        if answer is not None and (body is None or not is_whole(answer, body)):
            UNKEPT.inc()
            _log.warning("answer_disagrees_with_receipt", job=end.job.hex(), epoch=end.epoch)
            answer = None
        return Completion(
            job=end.job,
            epoch=end.epoch,
            outcome=end.outcome,
            used=used(end.outcome, body, end.delivered),
            receipt=end.receipt.SerializeToString() if end.receipt is not None and body is not None else b"",
            answer=answer,
            error=end.error,
            worker=body.worker_id if body is not None else end.worker,
            reason=end.reason,
            trace_id=end.trace_id,
            gateway=end.gateway if end.gateway or end.worker else None,
        )

    def _written(self, end: End, row: JobRow) -> None:
        """Tell those who did not write it."""
        OUTCOMES.labels(row.state.name.lower()).inc()
        took_s = self._open.discard(end.job)
        if end.gateway != row.driver.node:
            told = JobOutcome(job_id=end.job, epoch=row.epoch, outcome=JobState.ValueType(row.state))
            self._sessions.outcome(row.driver.session, told)
        if end.worker != row.worker.node or end.epoch not in (0, row.epoch):
            self._workers.tell(row.worker.node, end.job, row.epoch, row.state)
        self._learn(end, row, took_s)

    def _learn(self, end: End, row: JobRow, took_s: float) -> None:
        """Breakers see answers and faults, not what clients called off."""
        failed = is_fault(end.outcome, end.error)
        if not failed and row.state is not State.DONE:
            return
        changed = self._scheduler.ended(
            row.subject.model,
            row.worker.node,
            failed=failed,
            s_per_token=took_s / max(1, row.settled.output_tokens),
        )
        if changed is not None:
            self._sessions.breaker(changed)


def _elsewhere() -> TetherError:
    """The end of a job that is in no store yet: whoever asks keeps it until the one that placed it is back."""
    words = "The job runs without the store, and the orchestrator that knows it is another"
    return TetherError(Reason.STORE_UNAVAILABLE, words, retry_after_s=1.0)
