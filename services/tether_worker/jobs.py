"""The job table: starts that hold are run, each engine step becomes one append, ends become receipts.

Between links and engines. A start is refused with a typed failure before anything runs; one that is known is
attached to and replayed.
Source: docs/design/streams.md §1 step 5, §3, §5.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

import structlog
from google.protobuf.message import DecodeError

from tether.errors import Reason, TetherError
from tether.link import Kind, to_failure
from tether.observe import attribute
from tether.observe.trace import parse
from tether.v1 import infer_pb2, link_pb2
from tether_worker import metrics
from tether_worker.control import is_orchestrator
from tether_worker.ending import extra_fields
from tether_worker.ends import Ends
from tether_worker.engine.runtime import Emitted, Finish
from tether_worker.gate import Gate
from tether_worker.parts import Parts
from tether_worker.prefix import begin
from tether_worker.prompt import to_jobs
from tether_worker.run import Fate, Run
from tether_worker.start import Asked, StartReader
from tether_worker.ticket import UsedTickets

PROGRESS_MS = 400  # streams.md asks for 500 at the most; ticks come every 50
OVERDUE_S = 2.0  # an engine ends what is late by its next step; one that does not hangs (a guess)
_log = structlog.get_logger("tether.worker")
_Name = tuple[bytes, int]  # job and epoch
NEVER_STARTED = link_pb2.Link.Complete(
    outcome=infer_pb2.JOB_STATE_ABANDONED, error="WORKER_LOST: the attempt was never started"
).SerializeToString()


def _nobody() -> None:
    """Nobody wants to know."""


class JobTable:
    """Attempts of this worker."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._logs = parts.machine.logs
        self._runs: dict[_Name, Run] = {}
        self._gate = Gate()
        self._ends = Ends(parts)
        self._starts = StartReader(parts.identity, parts.trust, parts.book, parts.wall_ms)
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

    @property
    def exclusive(self) -> bool:
        """Whether a job that must be alone runs or waits: what is sent now would wait too."""
        return self._gate.exclusive

    def __repr__(self) -> str:
        parts = self._parts
        return f"JobTable({len(self._runs)} running, {self._gate!r}, {parts.quota!r}, {parts.committer!r})"

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
                chain_state=attach.chain_state,
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
        """An OUTCOME of the job's driver, or of an orchestrator; anyone else's is ignored.

        Whoever writes an outcome has decided the job: what still runs of it here stops, also when its driver is dead.
        """
        end = self._parts.book.get(link)
        known = end is not None and is_orchestrator(end)
        if not known and link not in (self._parts.committer.driver(job, epoch), self._driver(job, epoch)):
            return
        try:
            outcome = link_pb2.Link.Outcome.FromString(body)
        except DecodeError as fault:
            raise TetherError(Reason.LINK_PROTOCOL, "an OUTCOME is malformed") from fault
        self._parts.committer.outcome(job, epoch, written=outcome.written)
        if outcome.written:
            self._decided(job, epoch)
        elif known and outcome.outcome == infer_pb2.JOB_STATE_RESERVED and not self._heard_of(job, epoch):
            self._act(self._logs.send(link, int(Kind.COMPLETE), job, epoch, NEVER_STARTED))

    def _heard_of(self, job: bytes, epoch: int) -> bool:
        """Whether an attempt runs here, is still read here, or waits to be committed."""
        name = (job, epoch)
        return name in self._runs or self._logs.known(*name) or self._parts.committer.knows(*name)

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
                extra = extra_fields(piece, alone=run.choices == 1)
                if run.extra:
                    extra += run.take_extra()
                pieces.append((job, epoch, choice, piece.token_ids, piece.text_lengths, piece.text, extra))
            elif piece.payload:
                self._append_payload(run, choice, piece.payload)
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
        """Tell readers how long prompts are, and how far what made nothing is; end what waited too long."""
        now = self._now()
        self._expire(time.monotonic())
        for run in self._runs.values():
            if run.held and self._logs.wanted(*run.name):
                self._hold(run, held=False)
            if not run.told_prompt and (body := run.prompt()):
                run.told_prompt = True
                self._act(self._logs.progress(*run.name, body))
            if now - run.told_ms >= PROGRESS_MS:
                run.told_ms = now
                body = run.progress()
                if body:
                    self._act(self._logs.progress(*run.name, body))

    def leave(self) -> None:
        """Take no more; what waits for its turn is left to other workers at once."""
        self.draining = True
        for name in self._gate.waiting:
            self._stop(self._runs[cast("_Name", name)], Fate.HANDED_OVER)

    def hand_over_all(self) -> None:
        """Leave every attempt to other workers: each ends where it stands, and its driver goes on elsewhere."""
        for run in list(self._runs.values()):
            self._stop(run, Fate.HANDED_OVER)

    # inside

    def _now(self) -> int:
        return self._parts.machine.clock_ms()

    def _act(self, actions: Sequence[tuple[Any, ...]]) -> None:
        self._parts.machine.act(actions)

    def _stop(self, run: Run, fate: Fate | None = None) -> None:
        """Let the engine end it, or end it at once where no engine has it."""
        if fate is not None and run.fate is Fate.OPEN:
            run.fate = fate
        if run.submissions:
            run.cancel()
            return
        for job in run.begun.jobs:
            choice = job.sampling.choice
            run.ended[choice] = Emitted(-1, job.key, run.begun.at, (), (), b"", finish=Finish.CANCELLED)
        self._end(run)

    def _driver(self, job: bytes, epoch: int) -> int:
        run = self._runs.get((job, epoch))
        return run.driver if run is not None else 0

    def _decided(self, job: bytes, epoch: int) -> None:
        """The job's outcome is written: attempts up to this one are over."""
        for run in [run for run in self._runs.values() if run.name[0] == job and run.name[1] <= epoch]:
            self._stop(run, Fate.DECIDED)

    def _superseded(self, asked: Asked) -> None:
        """A newer attempt of a job leaves nothing to its older ones, unless they race."""
        job, epoch = asked.name
        if not asked.ticket.raced:
            for run in [run for run in self._runs.values() if run.name[0] == job and run.name[1] < epoch]:
                self._stop(run, Fate.HANDED_OVER)

    def _expire(self, now_s: float) -> None:
        """End what waits for its turn at its deadline, what an engine that hangs should have ended a little later."""
        waiting = frozenset(self._gate.waiting)
        for run in list(self._runs.values()):
            if now_s < run.deadline_s + (0 if run.name in waiting else OVERDUE_S):
                continue
            run.cancel()
            self._forget(run.name)
            self._ends.fail(run, TetherError(Reason.DEADLINE, "the deadline has passed"))

    def _append(self, pieces: list[Any], now: int) -> None:
        try:
            self._act(self._logs.append(pieces, now))
        except ValueError:  # an engine gave lengths that do not add up: find it and fail it alone
            for piece in pieces:
                self._append_one(piece, now)

    def _append_payload(self, run: Run, choice: int, payload: bytes) -> None:
        """A large output that nobody takes pauses its slot; see `tick`."""
        try:
            self._act(self._logs.append_payload(*run.name, choice, payload, self._now()))
        except ValueError as fault:
            self._spoiled(run, str(fault))
            return
        self._hold(run, held=not self._logs.wanted(*run.name))

    def _hold(self, run: Run, *, held: bool) -> None:
        if run.held != held:
            run.held = held
            for submission in run.submissions:
                run.served.engine.hold(submission.job.key, held=held)

    def _spoiled(self, run: Run, why: str) -> None:
        """The engine gave what no log takes."""
        _log.error("a piece does not fit", job=run.name[0].hex(), error=why)
        run.cancel()
        self._forget(run.name)
        self._ends.fail(run, TetherError(Reason.ENGINE_FAILED, "the engine gave a piece that does not add up"))

    def _append_one(self, piece: Any, now: int) -> None:  # noqa: ANN401 - as ChunkLogs.append takes it
        try:
            self._act(self._logs.append([piece], now))
        except ValueError as fault:
            run = self._runs.get((piece[0], piece[1]))
            if run is not None:
                self._spoiled(run, str(fault))

    def _start(self, link: int, job: bytes, epoch: int, body: bytes) -> None:
        known = self._logs.known(job, epoch)
        asked = self._starts.read(link, job, epoch, body, known=known)
        if known:
            self._rebind(link, asked)
            return
        run = self._begin(link, asked)
        try:
            self._open_log(link, asked, run)
        except ValueError as fault:
            if self._forget(run.name) is not None:
                run.cancel()
                self._parts.quota.give(run.ticket.tenant_id)
            raise TetherError(Reason.LINK_PROTOCOL, "the chain state of a START is malformed") from fault
        if run.over:  # the prefix was the whole answer: all that it lacks is its end
            self._end(run)

    def _rebind(self, link: int, asked: Asked) -> None:
        """The driver of a known attempt is back: it reads on from where it stands."""
        run = self._runs.get(asked.name)
        if run is not None:
            run.driver = link
        self._parts.committer.rebind(*asked.name, link)
        self._act(self._log_start(link, asked))

    def _begin(self, link: int, asked: Asked) -> Run:
        """Take a new attempt in; its engine has it, or it waits for its turn."""
        if self.draining:
            raise TetherError(Reason.DRAINING, "The worker takes no more jobs.")
        parts, ticket = self._parts, asked.ticket
        parts.authorize(ticket, asked.request)
        served = parts.models.find(ticket.model_id, ticket.version, ticket.model_digest)
        begun = begin(to_jobs(asked.request, ticket.parameters, asked.name, ()), asked.handed, served.engine.runtime)
        self._superseded(asked)
        parts.quota.take(ticket.tenant_id)
        deadline_s = time.monotonic() + asked.timeout_s
        answer_max = asked.start.answer_bytes_max
        run = Run(ticket, served, link, answer_max, parts.wall_ms(), begun, deadline_s, told_ms=self._now())
        try:
            self._used.use(ticket, parts.wall_ms())
            if begun.jobs and self._gate.enter(run.name, alone=ticket.alone):
                run.submit()
        except TetherError as error:
            self._unbegin(run, error)
            raise
        self._trace(run, asked.start.traceparent)
        self._runs[run.name] = run
        self.started_total += 1
        metrics.STARTED.inc()
        return run

    def _unbegin(self, run: Run, error: TetherError) -> None:
        """No room after all: the ticket may be used again where another try may find some."""
        run.cancel()
        self._parts.quota.give(run.ticket.tenant_id)
        self._launch(self._gate.leave(run.name))
        if error.reason in (Reason.OVERLOADED, Reason.DRAINING):
            self._used.release(run.ticket)

    def _launch(self, names: Iterable[Any]) -> None:
        """Those whose turn has come go to their engines."""
        for name in names:
            run = self._runs[name]
            try:
                run.submit()
            except TetherError as error:
                run.cancel()
                self._forget(name)
                self._ends.fail(run, error)

    def _open_log(self, link: int, asked: Asked, run: Run) -> None:
        """Begin the attempt's log, with what was handed over at its head, so that anyone may read it from 0."""
        self._act(self._log_start(link, asked))
        if run.begun.pieces:
            pieces = [(*run.name, *piece, b"") for piece in run.begun.pieces]
            self._act(self._logs.preload(*run.name, pieces, self._now()))

    def _log_start(self, link: int, asked: Asked) -> Sequence[tuple[Any, ...]]:
        start = asked.start
        return self._logs.start(
            *asked.name,
            link,
            tenant=asked.ticket.tenant_id,
            credit_bytes=start.credit_bytes,
            grace_ms=asked.grace_ms,
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

    def _forget(self, name: _Name) -> Run | None:
        """Let a run go, and tell that there is room."""
        run = self._runs.pop(name, None)
        if run is not None:
            self._launch(self._gate.leave(name))
            self.on_freed()
        return run

    def _end(self, run: Run) -> None:
        """Every choice has ended; a run that was let go meanwhile has had its end."""
        if self._forget(run.name) is not None:
            self._ends.end(run)
