"""One attempt in this worker's hands."""

from dataclasses import dataclass, field

from tether.errors import TetherError
from tether.observe.trace import Span
from tether.v1 import link_pb2
from tether_worker.engine.execution import Submission
from tether_worker.engine.runtime import Emitted, Finish, Phase
from tether_worker.engine.runtime import Progress as EngineProgress
from tether_worker.model import Served
from tether_worker.ticket import TicketBody

_PHASES = {
    Phase.QUEUED: link_pb2.Link.PHASE_QUEUED,
    Phase.PREFILL: link_pb2.Link.PHASE_PREFILL,
    Phase.RUNNING: link_pb2.Link.PHASE_RUNNING,
}


@dataclass(eq=False, slots=True)
class Run:
    """An attempt that the engine has not ended.

    Attributes:
        ticket: what was allowed.
        served: the model's engine.
        driver: link of the driver; 0 when it is gone.
        answer_bytes_max: longest answer that a COMPLETE carries; 0 for none.
        started_ms: wall clock at the start.
        from_tokens: tokens of a prefix that was handed over.
        submissions: one per choice.
        ended: how each choice ended.
        told_ms: when readers last heard of it, monotonic.
        span: of the attempt.
    """

    ticket: TicketBody
    served: Served
    driver: int
    answer_bytes_max: int
    started_ms: int
    from_tokens: int = 0
    submissions: list[Submission] = field(default_factory=list)
    ended: dict[int, Emitted] = field(default_factory=dict)
    told_ms: int = 0
    span: Span | None = None

    @property
    def name(self) -> tuple[bytes, int]:
        """Job and epoch."""
        return (self.ticket.job_id, self.ticket.epoch)

    @property
    def over(self) -> bool:
        """Whether every choice has ended."""
        return len(self.ended) == len(self.submissions)

    @property
    def input_tokens(self) -> int:
        """Tokens of the prompt; 0 while it waits."""
        return next((one.opened.prompt_tokens for one in self.submissions if one.opened is not None), 0)

    @property
    def error(self) -> TetherError | None:
        """What failed it, where something did."""
        return next((piece.error for piece in self.ended.values() if piece.error is not None), None)

    @property
    def finish(self) -> Finish:
        """Why it ended as a whole: cancelled if any choice was, else as the first choice."""
        reasons = [self.ended[choice].finish for choice in sorted(self.ended)]
        return Finish.CANCELLED if Finish.CANCELLED in reasons else reasons[0] or Finish.STOP

    def progress(self) -> bytes:
        """A serialized `Link.Progress`: of the choice that is least far."""
        slowest = min((one.progress for one in self.submissions if not one.done), key=_rank, default=None)
        if slowest is None:
            return b""
        progress = link_pb2.Link.Progress(phase=_PHASES[slowest.phase], n=slowest.n, of=slowest.of)
        return progress.SerializeToString()


def _rank(progress: EngineProgress) -> tuple[int, int]:
    return (list(_PHASES).index(progress.phase), progress.n)
