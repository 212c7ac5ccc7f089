"""The job table: starts that hold are run, each engine step becomes one append, ends become receipts.

Between links and engines. A start is refused with a typed failure before anything runs; one that is known is
attached to and replayed.
Source: docs/design/streams.md §1 step 5, §3, §5.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import structlog
from google.protobuf.message import DecodeError

from tether import _native
from tether.errors import Reason, TetherError
from tether.identity import Role, Trust
from tether.identity.signature import TICKET
from tether.link import LinkBook, to_failure
from tether.observe import attribute
from tether.observe.trace import Tracing, parse
from tether.v1 import infer_pb2, link_pb2
from tether_worker import metrics
from tether_worker.commit import Committer
from tether_worker.ending import complete_body, end_chunk, extra_fields, ran_of
from tether_worker.engine.runtime import Emitted
from tether_worker.machine import LogMachine
from tether_worker.model import ModelTable
from tether_worker.prompt import to_jobs
from tether_worker.quota import QuotaGuard
from tether_worker.receipt import Signer, make_receipt
from tether_worker.run import Run
from tether_worker.ticket import Start, Ticket, TicketBody, UsedTickets, check_ticket, read_ticket

GRACE_MS_MAX = 60_000  # six times the gateway's own; a start cannot hold a slot for longer without readers
TIMEOUT_S_MAX = 3_600.0  # as infer.proto says
PROGRESS_MS = 400  # streams.md asks for 500 at the most; ticks come every 50
PREFIX_TOKENS_MAX = 131_072  # longer than any context served
_log = structlog.get_logger("tether.worker")


Authorize = Callable[[TicketBody, infer_pb2.Infer.Request], None]


def allow(_ticket: TicketBody, _request: infer_pb2.Infer.Request) -> None:
    """The auth hook of a plain worker: the ticket is enough."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a job table works with.

    Attributes:
        machine: links and logs.
        book: links of the process.
        identity: this worker.
        trust: checks tickets.
        models: engines.
        quota: own bounds.
        committer: ends that wait for an outcome.
        authorize: refuses a start by raising TetherError; the hook of users' workers.
        tracing: a span for each attempt.
        wall_ms: wall clock, milliseconds since the Unix epoch.
    """

    machine: LogMachine
    book: LinkBook
    identity: Signer
    trust: Trust
    models: ModelTable
    quota: QuotaGuard
    committer: Committer
    authorize: Authorize = allow
    tracing: Tracing = field(default_factory=Tracing)
    wall_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000


def _nobody() -> None:
    """Nobody wants to know."""


class JobTable:
    """Attempts of this worker."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._logs = parts.machine.logs
        self._runs: dict[tuple[bytes, int], Run] = {}
        self._used = UsedTickets()
        self.draining = False
        self.started_total = 0
        self.on_freed: Callable[[], None] = _nobody
        for kind, handler in (("start", self.on_start), ("attach", self.on_attach), ("cancel", self.on_cancel)):
            parts.machine.on(kind, handler)
        parts.machine.on("outcome", self.on_outcome)
        parts.machine.on("run", lambda _job, _epoch: None)  # submitted before its log began

    def __len__(self) -> int:
        return len(self._runs)

    def __repr__(self) -> str:
        return f"JobTable({len(self._runs)} running, {self._parts.quota!r}, {self._parts.committer!r})"

    # links → table

    def on_start(self, link: int, job: bytes, epoch: int, body: bytes) -> None:
        """A START: run it, attach to it, or refuse it."""
        try:
            self._start(link, job, epoch, body)
        except TetherError as error:
            metrics.REFUSED.labels(error.reason.name).inc()
            _log.info("start refused", job=job.hex(), epoch=epoch, reason=error.reason.name, error=error.message)
            self._act(self._logs.refuse(link, job, epoch, to_failure(error)))

    def on_attach(self, link: int, job: bytes, epoch: int, body: bytes) -> None:
        """An ATTACH: the machine compares the tenant and replays."""
        try:
            attach = link_pb2.Link.Attach.FromString(body)
        except DecodeError:
            malformed = TetherError(Reason.LINK_PROTOCOL, "an ATTACH is malformed")
            self._act(self._logs.refuse(link, job, epoch, to_failure(malformed)))
            return
        at = attach.position
        self._act(
            self._logs.attach(
                job,
                epoch,
                link,
                tenant=attach.tenant_id,
                tokens=at.tokens,
                bytes=at.bytes,
                credit_bytes=attach.credit_bytes,
                now_ms=self._now(),
            )
        )

    def on_cancel(self, job: bytes, epoch: int) -> None:
        """Stop an attempt before its engine's next step."""
        run = self._runs.get((job, epoch))
        if run is not None:
            metrics.CANCELLED.inc()
            self._stop(run)

    def on_outcome(self, link: int, job: bytes, epoch: int, body: bytes) -> None:
        """An OUTCOME of the job's driver, or of an orchestrator; anyone else's is ignored."""
        end = self._parts.book.get(link)
        known = end is not None and Role.ORCHESTRATOR in end.peer.roles
        if not known and self._parts.committer.driver(job, epoch) != link:
            return
        try:
            outcome = link_pb2.Link.Outcome.FromString(body)
        except DecodeError as fault:
            raise TetherError(Reason.LINK_PROTOCOL, "an OUTCOME is malformed") from fault
        self._parts.committer.outcome(job, epoch, written=outcome.written)

    def link_lost(self, link: int) -> None:
        """A link is gone: who was driven by it waits out its grace."""
        for run in self._runs.values():
            if run.driver == link:
                run.driver = 0
        self._parts.committer.link_lost(link, self._now() / 1_000)

    # engine → table

    def on_step(self, emitted: list[Emitted]) -> None:
        """What one engine's jobs gained: one append for all, then the ends."""
        now, runs = self._now(), self._runs
        pieces, ends = [], []
        for piece in emitted:
            job, epoch, choice = cast("tuple[bytes, int, int]", piece.key)
            run = runs.get((job, epoch))
            if run is None:
                continue
            run.told_ms = now
            if piece.token_ids:
                extra = extra_fields(piece, alone=len(run.submissions) == 1)
                pieces.append((job, epoch, choice, piece.token_ids, piece.text_lengths, piece.text, extra))
            if piece.finish is not None:
                ends.append((run, choice, piece))
        if pieces:
            metrics.TOKENS.inc(sum(len(piece[3]) for piece in pieces))
            self._append(pieces, now)
        for run, choice, piece in ends:
            run.ended[choice] = piece
            if run.over:
                self._end(run)

    def tick(self) -> None:
        """Tell readers of attempts that made nothing for a while how far they are."""
        now = self._now()
        for run in self._runs.values():
            if now - run.told_ms >= PROGRESS_MS:
                run.told_ms = now
                body = run.progress()
                if body:
                    self._act(self._logs.progress(*run.name, body))

    def stop_all(self) -> None:
        """Stop every attempt; their ends follow by the engines' next steps."""
        for run in list(self._runs.values()):
            self._stop(run)

    # inside

    def _now(self) -> int:
        return self._parts.machine.clock_ms()

    def _act(self, actions: Sequence[tuple[Any, ...]]) -> None:
        self._parts.machine.act(actions)

    def _stop(self, run: Run) -> None:
        for submission in run.submissions:
            run.served.engine.cancel(submission.job.key)

    def _append(self, pieces: list[Any], now: int) -> None:
        try:
            self._act(self._logs.append(pieces, now))
        except ValueError as fault:  # an engine gave lengths that do not add up: find it and fail it alone
            _log.error("a piece does not add up", error=str(fault))
            for piece in pieces:
                self._append_one(piece, now)

    def _append_one(self, piece: Any, now: int) -> None:  # noqa: ANN401 - as ChunkLogs.append takes it
        try:
            self._act(self._logs.append([piece], now))
        except ValueError:
            run = self._forget((piece[0], piece[1]))
            if run is not None:
                self._stop(run)
                self._fail(run, TetherError(Reason.ENGINE_FAILED, "the engine gave a piece that does not add up"))

    def _start(self, link: int, job: bytes, epoch: int, body: bytes) -> None:
        start, ticket, request = self._checked(link, job, epoch, body)
        known = self._logs.known(job, epoch)
        if not known:
            self._begin(link, start, ticket, request)
        try:
            self._act(self._open_log(link, start, ticket))
        except ValueError as fault:
            run = self._forget((job, epoch))
            if run is not None:
                self._stop(run)
                self._parts.quota.give(ticket.tenant_id)
            raise TetherError(Reason.LINK_PROTOCOL, "the chain state of a START is malformed") from fault

    def _checked(
        self, link: int, job: bytes, epoch: int, body: bytes
    ) -> tuple[link_pb2.Link.Start, TicketBody, infer_pb2.Infer.Request]:
        try:
            start = link_pb2.Link.Start.FromString(body)
            request = infer_pb2.Infer.Request.FromString(start.request)
        except DecodeError as fault:
            raise TetherError(Reason.MALFORMED, "a START is malformed") from fault
        if len(start.prefix) > PREFIX_TOKENS_MAX:
            raise TetherError(Reason.TOO_LARGE, "the prefix of a START is too long")
        ticket, allowed = read_ticket(start.ticket)
        self._check_ticket(ticket, allowed, self._facts(link, job, epoch, start.request))
        return start, allowed, request

    def _facts(self, link: int, job: bytes, epoch: int, request: bytes) -> Start:
        driver, me = self._parts.book.get(link), self._parts.identity
        return Start(
            job=job,
            epoch=epoch,
            request_hash=lambda tenant: _native.request_hash(request, tenant),
            driver_id=driver.peer.node_id if driver is not None else "",
            worker_id=me.node_id,
            incarnation=me.incarnation,
            network_id=me.network_id,
        )

    def _check_ticket(self, ticket: Ticket, body: TicketBody, facts: Start) -> None:
        now_ms = self._parts.wall_ms()
        try:
            check_ticket(body, facts, now_ms)
        except ValueError as fault:  # of the request's hash
            raise TetherError(Reason.MALFORMED, "the request of a START is malformed") from fault
        try:
            self._parts.trust.signed(
                TICKET, ticket.body, ticket.signature, ticket.credential, Role.ORCHESTRATOR, now_ms / 1_000
            )
        except TetherError as error:
            raise TetherError(Reason.TICKET_INVALID, f"The ticket's signature: {error.message}") from error

    def _begin(
        self, link: int, start: link_pb2.Link.Start, ticket: TicketBody, request: infer_pb2.Infer.Request
    ) -> None:
        if self.draining:
            raise TetherError(Reason.DRAINING, "The worker takes no more jobs.")
        parts = self._parts
        parts.authorize(ticket, request)
        served = parts.models.find(ticket.model_id, ticket.version, ticket.model_digest)
        name = (ticket.job_id, ticket.epoch)
        jobs = to_jobs(request, ticket.parameters, name, tuple(start.prefix))
        parts.quota.take(ticket.tenant_id)
        run = Run(ticket, served, link, start.answer_bytes_max, parts.wall_ms(), len(start.prefix), told_ms=self._now())
        try:
            self._used.use(ticket, parts.wall_ms())
            deadline_s = time.monotonic() + timeout_s(start)
            run.submissions = [served.engine.submit(job, deadline_s=deadline_s) for job in jobs]
        except TetherError as error:
            for job in jobs:
                served.engine.cancel(job.key)
            parts.quota.give(ticket.tenant_id)
            if error.reason in (Reason.OVERLOADED, Reason.DRAINING):
                self._used.release(ticket)
            raise
        self._trace(run, start.traceparent)
        self._runs[name] = run
        self.started_total += 1
        metrics.STARTED.inc()

    def _open_log(self, link: int, start: link_pb2.Link.Start, ticket: TicketBody) -> Sequence[tuple[Any, ...]]:
        grace_ms = start.detach_grace.ToMilliseconds() if start.HasField("detach_grace") else 0
        return self._logs.start(
            ticket.job_id,
            ticket.epoch,
            link,
            tenant=ticket.tenant_id,
            credit_bytes=start.credit_bytes,
            grace_ms=min(max(grace_ms, 0), GRACE_MS_MAX),
            tokens=start.position.tokens,
            bytes=start.position.bytes,
            chain_state=start.chain_state,
            now_ms=self._now(),
        )

    def _trace(self, run: Run, traceparent: str) -> None:
        run.span = self._parts.tracing.start("attempt", parse(traceparent), kind="server")
        run.span.set(attribute.JOB, run.name[0].hex())
        run.span.set(attribute.EPOCH, run.name[1])
        run.span.set(attribute.REQUEST_MODEL, run.ticket.model_id)

    def _forget(self, name: tuple[bytes, int]) -> Run | None:
        """Let a run go, and tell that there is room."""
        run = self._runs.pop(name, None)
        if run is not None:
            self.on_freed()
        return run

    def _end(self, run: Run) -> None:
        """Every choice has ended: sign, tell readers, and wait for the commit."""
        self._forget(run.name)
        if run.error is not None:
            self._fail(run, run.error)
            return
        self._parts.quota.give(run.ticket.tenant_id)
        ran = ran_of(run, self._logs.chain(*run.name), self._parts.wall_ms())
        receipt = make_receipt(self._parts.identity, run.ticket, ran)
        answer = self._logs.answer(*run.name, run.answer_bytes_max) if run.answer_bytes_max and ran.complete else None
        self._act(self._logs.end(*run.name, end_chunk(run, ran, receipt), self._now()))
        self._committed_later(run, complete_body(receipt, answer, None, complete=ran.complete))
        metrics.ENDED.labels("done" if ran.complete else "cancelled").inc()
        metrics.SECONDS.observe(max(0, ran.ended_ms - ran.started_ms) / 1_000)

    def _fail(self, run: Run, error: TetherError) -> None:
        self._parts.quota.give(run.ticket.tenant_id)
        receipt = None
        if run.input_tokens:
            ran = ran_of(run, self._logs.chain(*run.name), self._parts.wall_ms())
            receipt = make_receipt(self._parts.identity, run.ticket, ran)
        self._act(self._logs.fail(*run.name, to_failure(error, receipt), self._now()))
        self._committed_later(run, complete_body(receipt, None, error, complete=False))
        metrics.ENDED.labels("failed").inc()
        _log.info("attempt failed", job=run.name[0].hex(), epoch=run.name[1], reason=error.reason.name)

    def _committed_later(self, run: Run, body: bytes) -> None:
        if run.span is not None:
            if run.error is not None:
                run.span.fail(run.error)
            run.span.end()
        self._parts.committer.ended(*run.name, body, run.driver, self._now() / 1_000)


def timeout_s(start: link_pb2.Link.Start) -> float:
    """Seconds that a start has, at most an hour."""
    asked_s = start.timeout.ToMilliseconds() / 1_000 if start.HasField("timeout") else TIMEOUT_S_MAX
    return min(max(asked_s, 0.0), TIMEOUT_S_MAX)
