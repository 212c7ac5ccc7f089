"""Runs an engine: one thread steps it, the event loop submits, cancels and is told.

The thread takes what was submitted or cancelled before every step, so both reach the next step; what the steps made is
handed to the loop by at most one call per step, and when the loop lags the pieces wait in one list and the
thread pauses at `pieces_ahead_max`. A job that fails, or a step that raises, ends jobs and never the thread. Forms are
compiled by a second thread, so that no running stream waits for one.
"""

import asyncio
import bisect
import contextlib
import logging
import threading
import time
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from tether.errors import Reason, TetherError
from tether_worker.engine.form import Form, Grammar
from tether_worker.engine.runtime import (
    Emitted,
    Finish,
    GenerationJob,
    ModelRuntime,
    Opened,
    Phase,
    Position,
    Progress,
)

QUEUE_JOBS_MAX = 64  # a guess: eight times the slots; placement should send elsewhere long before
PIECES_AHEAD_MAX = 4096  # a guess: half a second of eight fast streams; beyond, the loop is in trouble
PREPARING_S = 0.05  # how late a deadline may be found while only forms are being compiled
RANK_CONTINUATION, RANK_NORMAL = 0, 1
WAITING = Progress(Phase.QUEUED, 0, 0)
BEGINNING = Position()

_log = logging.getLogger(__name__)


@dataclass(eq=False, slots=True)
class Submission:
    """A job in the engine's hands; the thread keeps its fields up to date, the loop reads them.

    Attributes:
        job: what was submitted.
        deadline_s: when it must end, in the engine's clock, or None.
        rank: jobs of lower rank leave the queue first.
        opened: set when it has a slot: prompt length and first position.
        progress: how far it is.
        done: whether its last piece has been handed over.
        position: where its next piece begins.
        preparing: the compilation of its form, or None; it waits in the queue until that is done.
    """

    job: GenerationJob
    deadline_s: float | None
    rank: int
    opened: Opened | None = None
    progress: Progress = WAITING
    done: bool = False
    position: Position = BEGINNING
    preparing: Future[Grammar] | None = None

    @property
    def ready(self) -> bool:
        """Whether it could be opened now."""
        return self.preparing is None or self.preparing.done()


@dataclass(slots=True)
class EngineStats:
    """Counters of an engine since its start.

    Attributes:
        steps_total: steps that made something.
        tokens_total: tokens made.
        busy_s: seconds inside steps.
        queued: jobs that wait for a slot.
        running: jobs that have one.
    """

    steps_total: int = 0
    tokens_total: int = 0
    busy_s: float = 0.0
    queued: int = 0
    running: int = 0


@dataclass(slots=True)
class _Commands:
    """What the loop asked since the last step."""

    submitted: list[Submission] = field(default_factory=list)
    cancelled: list[Hashable] = field(default_factory=list)
    held: dict[Hashable, bool] = field(default_factory=dict)
    closed: bool = False
    woken: bool = False

    def __bool__(self) -> bool:
        return bool(self.submitted or self.cancelled or self.held or self.closed or self.woken)


OnStep = Callable[[list[Emitted]], None]


def prepared(submission: Submission) -> GenerationJob:
    """A job with its form compiled; raises what the compilation raised."""
    if submission.preparing is None:
        return submission.job
    return replace(submission.job, grammar=submission.preparing.result())


class ExecutionEngine:
    """Owns the thread of one engine.

    Args:
        runtime: a loaded engine; closed with this object.
        on_step: called on the event loop with what the jobs gained since the last call; the last piece of a job has
            `finish` set. It must not raise.
        queue_jobs_max: most jobs that wait for a slot.
        pieces_ahead_max: most pieces that wait for the event loop.
        clock: monotonic seconds; deadlines are in this clock.
    """

    def __init__(
        self,
        runtime: ModelRuntime,
        on_step: OnStep,
        *,
        queue_jobs_max: int = QUEUE_JOBS_MAX,
        pieces_ahead_max: int = PIECES_AHEAD_MAX,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.runtime = runtime
        self.stats = EngineStats()
        self._on_step, self._clock = on_step, clock
        self._queue_max, self._ahead_max = queue_jobs_max, pieces_ahead_max
        self._changed = threading.Condition()
        self._commands = _Commands()
        self._outbox: list[Emitted] = []
        self._draining = False
        self._live: dict[Hashable, Submission] = {}  # the loop's view: submitted and not told to be done
        self._queue: list[Submission] = []  # the thread's
        self._running: dict[int, Submission] = {}  # the thread's, by slot
        self._idle = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._preparer: ThreadPoolExecutor | None = None
        self._thread = threading.Thread(target=self._run, name="tether-engine", daemon=True)

    def start(self) -> None:
        """Starts the thread; to be called on the event loop that `on_step` belongs to."""
        self._loop = asyncio.get_running_loop()
        self._idle.set()
        self._thread.start()

    def submit(self, job: GenerationJob, *, deadline_s: float | None = None, rank: int = RANK_NORMAL) -> Submission:
        """Takes a job; its pieces, its end and its errors come through `on_step`.

        Args:
            job: what to generate; a job with a prefix goes before new ones.
            deadline_s: when it must end, in the engine's clock.
            rank: lower ones go first.

        Raises:
            TetherError: DRAINING, OVERLOADED when too many wait, JOB_CONFLICT when the key is in use.
        """
        if self._draining:
            raise TetherError(Reason.DRAINING, "the engine takes no more jobs")
        if job.key in self._live:
            raise TetherError(Reason.JOB_CONFLICT, "the engine already runs this job")
        if len(self._live) >= self.runtime.slots_max + self._queue_max:
            raise TetherError(Reason.OVERLOADED, f"{self._queue_max} jobs wait for a slot already")
        submission = Submission(job, deadline_s, RANK_CONTINUATION if job.prefix else rank)
        if job.form is not None and job.grammar is None:
            submission.preparing = self._prepare(job.form)
        self._live[job.key] = submission
        self._idle.clear()
        with self._changed:
            self._commands.submitted.append(submission)
            self._changed.notify()
        return submission

    def cancel(self, key: Hashable) -> None:
        """Ends a job before the next step; its last piece says CANCELLED. Unknown keys are ignored."""
        if key in self._live:
            with self._changed:
                self._commands.cancelled.append(key)
                self._changed.notify()

    def hold(self, key: Hashable, *, held: bool) -> None:
        """Pauses or goes on with a large output that nobody takes; see `ModelRuntime.hold`."""
        if key in self._live:
            with self._changed:
                self._commands.held[key] = held
                self._changed.notify()

    def get(self, key: Hashable) -> Submission | None:
        """The submission of a job that has not ended."""
        return self._live.get(key)

    async def drain(self, grace_s: float) -> bool:
        """Takes no more jobs and waits for those it has.

        Returns:
            Whether all ended within `grace_s`.
        """
        self._draining = True
        try:
            await asyncio.wait_for(self._idle.wait(), grace_s)
        except TimeoutError:
            return False
        return True

    async def close(self) -> None:
        """Ends all jobs as CANCELLED, then the thread, then the runtime. Idempotent."""
        self._draining = True
        if self._loop is None:
            self.runtime.close()
            return
        with self._changed:
            self._commands.closed = True
            self._changed.notify()
        if self._preparer is not None:
            self._preparer.shutdown(wait=False, cancel_futures=True)
        if self._thread.is_alive():
            await asyncio.to_thread(self._thread.join)
        self._hand_over()

    def _prepare(self, form: Form) -> Future[Grammar]:
        """Compiles a form beside the engine's thread, one at a time, and wakes that when it is done."""
        if self._preparer is None:
            self._preparer = ThreadPoolExecutor(1, "tether-forms")
        preparing = self._preparer.submit(self.runtime.prepare, form)
        preparing.add_done_callback(lambda _: self._wake())
        return preparing

    def _wake(self) -> None:
        with self._changed:
            self._commands.woken = True
            self._changed.notify()

    # The loop's side of the outbox.

    def _hand_over(self) -> None:
        """Gives `on_step` all that waits."""
        with self._changed:
            pieces, self._outbox = self._outbox, []
            self._changed.notify()
        for piece in pieces:
            if piece.finish is not None and (ended := self._live.pop(piece.key, None)):
                ended.done = True
        if pieces:
            self._on_step(pieces)
        if not self._live:
            self._idle.set()

    # All below runs in the thread.

    def _run(self) -> None:
        while self._turn():
            pass
        self.runtime.close()

    def _turn(self) -> bool:
        """Takes commands, makes one step, hands its pieces over; False when closed."""
        commands = self._take()
        pieces = self._cancelled(commands.cancelled, commands.submitted)
        if commands.closed:
            everything = [submission.job.key for submission in (*self._queue, *self._running.values())]
            self._deliver(pieces + self._cancelled(everything, []))
            return False
        pieces += self._expired(self._clock())
        pieces += self._admit()
        self._hold(commands.held)
        if self._running:
            pieces += self._step()
        self.stats.queued, self.stats.running = len(self._queue), len(self._running)
        self._deliver(pieces)
        return True

    def _take(self) -> _Commands:
        """Waits for commands if there is nothing to run, or for the loop if it lags."""
        with self._changed:
            while not self._commands:
                busy = self._running or any(one.ready for one in self._queue)
                if busy and len(self._outbox) < self._ahead_max:
                    break
                deaf_s = PREPARING_S if self._queue and not self._running else None
                if not self._changed.wait(deaf_s):
                    break
            commands, self._commands = self._commands, _Commands()
            return commands

    def _cancelled(self, keys: list[Hashable], submitted: list[Submission]) -> list[Emitted]:
        """Puts new jobs into the queue, then ends those that were cancelled."""
        for submission in submitted:
            bisect.insort(self._queue, submission, key=lambda one: one.rank)
        wanted = set(keys)
        return [self._end(one, Finish.CANCELLED, None) for one in self._all() if one.job.key in wanted]

    def _expired(self, now_s: float) -> list[Emitted]:
        """Ends jobs whose deadline has passed."""
        late = [one for one in self._all() if one.deadline_s is not None and one.deadline_s <= now_s]
        return [self._end(one, Finish.FAILED, TetherError(Reason.DEADLINE, "the deadline has passed")) for one in late]

    def _admit(self) -> list[Emitted]:
        """Opens queued jobs while slots are free."""
        refused: list[Emitted] = []
        while self.runtime.slots_free > 0 and (submission := self._next()) is not None:
            try:
                submission.opened = self.runtime.open(prepared(submission))
            except Exception as error:  # noqa: BLE001  (whatever an engine raises ends the job alone)
                refused.append(self._end(submission, Finish.FAILED, self._typed(error)))
                continue
            submission.position = submission.opened.start
            self._running[submission.opened.slot] = submission
        for place, submission in enumerate(self._queue):
            submission.progress = Progress(Phase.QUEUED, place, len(self._queue))
        return refused

    def _next(self) -> Submission | None:
        """Takes the first job out of the queue that could be opened."""
        for place, submission in enumerate(self._queue):
            if submission.ready:
                return self._queue.pop(place)
        return None

    def _hold(self, held: dict[Hashable, bool]) -> None:
        for slot, submission in self._running.items():
            if submission.job.key in held:
                self.runtime.hold(slot, held=held[submission.job.key])

    def _step(self) -> list[Emitted]:
        begin_s = self._clock()
        try:
            pieces = self.runtime.step()
            self._note(pieces)
        except Exception as error:  # noqa: BLE001  (whatever an engine raises ends its jobs, not the thread)
            typed = self._typed(error)
            return [self._end(one, Finish.FAILED, typed) for one in list(self._running.values())]
        self.stats.busy_s += self._clock() - begin_s
        self.stats.steps_total += bool(pieces)
        return pieces

    def _note(self, pieces: list[Emitted]) -> None:
        """Keeps positions and progress up to date."""
        for piece in pieces:
            submission, count = self._running[piece.slot], len(piece.token_ids)
            size = len(piece.text) + len(piece.payload)
            submission.position = Position(piece.start.tokens + count, piece.start.text_bytes + size)
            self.stats.tokens_total += count
            limit = submission.job.sampling.max_tokens
            submission.progress = Progress(Phase.RUNNING, submission.position.tokens, limit)
            if piece.finish is not None:
                del self._running[piece.slot]
            elif piece.payload:
                submission.progress = self.runtime.progress(piece.slot)
        for slot, submission in self._running.items():
            if submission.progress.phase is not Phase.RUNNING:
                submission.progress = self.runtime.progress(slot)

    def _end(self, submission: Submission, finish: Finish, error: TetherError | None) -> Emitted:
        """Takes a job out of queue or engine; its last piece carries no text."""
        slot = -1 if submission.opened is None else submission.opened.slot
        if self._running.get(slot) is submission:
            del self._running[slot]
            self._release(slot)
        elif submission in self._queue:
            self._queue.remove(submission)
        return Emitted(slot, submission.job.key, submission.position, (), (), b"", finish=finish, error=error)

    def _release(self, slot: int) -> None:
        try:
            self.runtime.cancel(slot)
        except Exception:  # noqa: BLE001  (the slot is lost, the thread is not)
            _log.exception("the engine could not free a slot")

    def _typed(self, error: Exception) -> TetherError:
        if isinstance(error, TetherError):
            return error
        _log.error("the engine failed", exc_info=error)
        return TetherError(Reason.ENGINE_FAILED, "the engine failed")

    def _all(self) -> list[Submission]:
        return [*self._queue, *self._running.values()]

    def _deliver(self, pieces: list[Emitted]) -> None:
        """Puts pieces into the outbox and wakes the loop unless it was woken already."""
        if not pieces:
            return
        with self._changed:
            asleep = not self._outbox
            self._outbox += pieces
        if asleep and self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to be told
                self._loop.call_soon_threadsafe(self._hand_over)
