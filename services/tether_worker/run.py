"""One attempt in this worker's hands."""

from dataclasses import dataclass, field
from enum import Enum, auto

from tether.errors import TetherError
from tether.observe.trace import Span
from tether.v1 import infer_pb2, link_pb2
from tether_worker.engine.execution import Submission
from tether_worker.engine.runtime import Emitted, Finish, Phase
from tether_worker.engine.runtime import Progress as EngineProgress
from tether_worker.model import Served
from tether_worker.prefix import Beginning
from tether_worker.ticket import TicketBody

_PHASES = {
    Phase.QUEUED: link_pb2.Link.PHASE_QUEUED,
    Phase.PREFILL: link_pb2.Link.PHASE_PREFILL,
    Phase.RUNNING: link_pb2.Link.PHASE_RUNNING,
}


_WAITING = link_pb2.Link.Progress(phase=link_pb2.Link.PHASE_QUEUED).SerializeToString()


class Fate(Enum):
    """What decides an attempt's end, but for its engine and its driver."""

    OPEN = auto()
    DECIDED = auto()  # the job's outcome is written, or a newer attempt has taken its place
    HANDED_OVER = auto()  # the worker leaves: another one goes on


@dataclass(eq=False, slots=True)
class Run:
    """An attempt that has not ended.

    Attributes:
        ticket: what was allowed.
        served: the model's engine.
        driver: link of the driver; 0 when it is gone.
        answer_bytes_max: longest answer that a COMPLETE carries; 0 for none.
        started_ms: wall clock at the start.
        begun: where it began, and what is left to generate.
        deadline_s: when it must end, monotonic.
        submissions: one per choice that is generated here; none while it waits for its turn.
        ended: how each choice ended.
        told_ms: when readers last heard of it, monotonic.
        span: of the attempt.
        extra: serialized `Infer.Chunk` fields that its next piece carries.
        held: whether its output waits for readers.
        fate: what decides its end but for the engine.
        told_prompt: whether readers know how long its prompt is.
    """

    ticket: TicketBody
    served: Served
    driver: int
    answer_bytes_max: int
    started_ms: int
    begun: Beginning
    deadline_s: float
    submissions: list[Submission] = field(default_factory=list)
    ended: dict[int, Emitted] = field(default_factory=dict)
    told_ms: int = 0
    span: Span | None = None
    extra: bytes = b""
    held: bool = False
    fate: Fate = Fate.OPEN
    told_prompt: bool = False

    def __post_init__(self) -> None:
        for choice, finish in self.begun.finishes.items():
            self.ended[choice] = Emitted(-1, (*self.name, choice), self.begun.at, (), (), b"", finish=finish)
        if self.begun.continuity:
            self.extra = infer_pb2.Infer.Chunk(continuity=self.begun.continuity).SerializeToString()

    @property
    def choices(self) -> int:
        """Choices that were asked for."""
        return len(self.begun.jobs) + len(self.begun.finishes)

    @property
    def name(self) -> tuple[bytes, int]:
        """Job and epoch."""
        return (self.ticket.job_id, self.ticket.epoch)

    @property
    def over(self) -> bool:
        """Whether every choice has ended."""
        return len(self.ended) == self.choices

    @property
    def whole(self) -> bool:
        """Whether the answer is whole."""
        return self.over and self.error is None and self.finish is not Finish.CANCELLED

    @property
    def input_tokens(self) -> int:
        """Tokens of the prompt; 0 while it waits and no prefix was handed over."""
        opened = (one.opened.prompt_tokens for one in self.submissions if one.opened is not None)
        return next(opened, self.begun.prompt_tokens)

    @property
    def error(self) -> TetherError | None:
        """What failed it, where something did."""
        return next((piece.error for piece in self.ended.values() if piece.error is not None), None)

    @property
    def finish(self) -> Finish:
        """Why it ended as a whole: cancelled if any choice was, else as the first choice."""
        reasons = [self.ended[choice].finish for choice in sorted(self.ended)]
        return Finish.CANCELLED if Finish.CANCELLED in reasons else reasons[0] or Finish.STOP

    @property
    def committed_elsewhere(self) -> bool:
        """Whether this worker leaves the commit to others."""
        return self.ticket.raced or self.fate is not Fate.OPEN

    def submit(self) -> None:
        """Hand all choices to the engine; TetherError where it has no room, with some of them taken."""
        for job in self.begun.jobs:
            self.submissions.append(self.served.engine.submit(job, deadline_s=self.deadline_s))

    def take_extra(self) -> bytes:
        """Fields for the next piece; told once."""
        extra, self.extra = self.extra, b""
        return extra

    def cancel(self) -> None:
        """End what its engine has of it before the next step."""
        for submission in self.submissions:
            self.served.engine.cancel(submission.job.key)

    def prompt(self) -> bytes:
        """A serialized `Link.Progress` that tells how long the prompt is, for bills without a receipt; or empty."""
        tokens = self.input_tokens
        told = link_pb2.Link.Progress(phase=link_pb2.Link.PHASE_PREFILL, of=tokens)
        return told.SerializeToString() if tokens else b""

    def progress(self) -> bytes:
        """A serialized `Link.Progress`: of the choice that is least far."""
        if not self.submissions:
            return _WAITING
        slowest = min((one.progress for one in self.submissions if not one.done), key=_rank, default=None)
        if slowest is None:
            return b""
        progress = link_pb2.Link.Progress(phase=_PHASES[slowest.phase], n=slowest.n, of=slowest.of)
        return progress.SerializeToString()


def _rank(progress: EngineProgress) -> tuple[int, int]:
    return (list(_PHASES).index(progress.phase), progress.n)
