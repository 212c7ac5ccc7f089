"""Ends of attempts: signed, told to readers, and kept until their outcome is written.

Source: docs/design/streams.md §5.
"""

import structlog

from tether.errors import Reason, TetherError
from tether.link import outcome_of, to_failure
from tether.v1 import infer_pb2
from tether_worker import metrics
from tether_worker.ending import complete_body, end_chunk, handed_over, ran_of
from tether_worker.parts import Parts
from tether_worker.receipt import Ran, make_receipt
from tether_worker.run import Fate, Run

_log = structlog.get_logger("tether.worker")


class Ends:
    """Ends attempts that the job table has let go.

    Args:
        parts: what it works with.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._logs = parts.machine.logs

    def end(self, run: Run) -> None:
        """Every choice has ended."""
        self._parts.quota.give(run.ticket.tenant_id)
        if run.error is not None:
            self._fail(run, run.error)
        elif run.fate is Fate.HANDED_OVER and not run.whole:
            self._hand_over(run)
        else:
            self._done(run)
        if run.span is not None:
            if run.error is not None:
                run.span.fail(run.error)
            run.span.end()

    def fail(self, run: Run, error: TetherError) -> None:
        """Something but the engine ended it."""
        self._parts.quota.give(run.ticket.tenant_id)
        self._fail(run, error)
        if run.span is not None:
            run.span.fail(error)
            run.span.end()

    def _done(self, run: Run) -> None:
        ran = self._ran(run)
        receipt = make_receipt(self._parts.identity, run.ticket, ran)
        answer = self._logs.answer(*run.name, run.answer_bytes_max) if run.answer_bytes_max and ran.complete else None
        self._parts.machine.act(self._logs.end(*run.name, end_chunk(run, ran, receipt), self._now()))
        by = run.ticket.orchestrator_id
        body = complete_body(receipt, answer, None, complete=ran.complete, placed_by=by)
        self._commit_later(run, body, partial=not ran.complete)
        metrics.ENDED.labels("done" if ran.complete else "cancelled").inc()
        metrics.SECONDS.observe(max(0, ran.ended_ms - ran.started_ms) / 1_000)

    def _fail(self, run: Run, error: TetherError) -> None:
        receipt = self._receipt_so_far(run)
        self._parts.machine.act(self._logs.fail(*run.name, to_failure(error, receipt), self._now()))
        partial = outcome_of(error) == infer_pb2.JOB_STATE_ABANDONED
        by = run.ticket.orchestrator_id
        self._commit_later(run, complete_body(receipt, None, error, complete=False, placed_by=by), partial=partial)
        metrics.ENDED.labels("failed").inc()
        _log.info("attempt failed", job=run.name[0].hex(), epoch=run.name[1], reason=error.reason.name)

    def _hand_over(self, run: Run) -> None:
        """Another attempt goes on where this one stands; nothing of the job is decided."""
        error = TetherError(Reason.DRAINING, "The worker leaves; the attempt is handed over.")
        body = handed_over(error, self._receipt_so_far(run))
        self._parts.machine.act(self._logs.fail(*run.name, body, self._now()))
        metrics.ENDED.labels("handed_over").inc()

    def _receipt_so_far(self, run: Run) -> infer_pb2.Infer.Receipt | None:
        """Over what was generated; None where nothing ran."""
        return make_receipt(self._parts.identity, run.ticket, self._ran(run)) if run.input_tokens else None

    def _ran(self, run: Run) -> Ran:
        return ran_of(run, self._logs.chain(*run.name), self._parts.wall_ms())

    def _commit_later(self, run: Run, body: bytes, *, partial: bool) -> None:
        if not run.committed_elsewhere:
            self._parts.committer.ended(*run.name, body, run.driver, self._now() / 1_000, partial=partial)

    def _now(self) -> int:
        return self._parts.machine.clock_ms()
