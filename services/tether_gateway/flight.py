"""A job in the gateway's hands: who asked for it, where it runs, who made which attempt."""

import asyncio
from dataclasses import dataclass, field

from tether.errors import TetherError
from tether.v1 import placement_pb2
from tether_gateway.admission import Admitted
from tether_gateway.attempt import Lost
from tether_gateway.receipts import Expected

Placement = placement_pb2.Placed | placement_pb2.Joined


@dataclass(frozen=True, slots=True)
class Maker:
    """Who ran an attempt.

    Attributes:
        worker_id: node id of the worker.
        fingerprint: of its engine, 32 bytes; empty where it is not known.
    """

    worker_id: str
    fingerprint: bytes = b""


@dataclass(eq=False, slots=True)
class Flight:
    """A job that the stream table holds.

    Attributes:
        job: 16 bytes.
        admitted: the request that opened it; without its body where a Resume did.
        placed: where it runs: this gateway drives what it was `Placed`, and reads along with what it `Joined`.
        traceparent: of its span, or empty.
        link: number of the link it runs on; 0 before.
        newest: newest attempt that was placed for it, whether or not it ever ran.
        attempts: made so far, as far as is known here.
        refusals: attempts that workers refused before anything was accepted.
        makers: who ran the attempts that were driven from here.
        raced: attempt that runs beside `placed`, while both may win.
        raced_link: number of its link.
        late: set when its commit wait is over.
        poke: set when a newer attempt was heard of.
        moving: task that looks for the next attempt, while it does.
        hedging: task that races a late first chunk, while it waits.
        reattached: attempt and position at which it was taken up on a new link last: there it is not tried again.
        followed: attempt whose driver is looked for, since when (monotonic seconds), and how often.
        pending: attempt that ended while the next one was looked for, and how.
        input_tokens: of its prompt, as its workers told; 0 where that is not known.
        over: whether its worker ended the present attempt, so that no more will be heard of it.
        failure: how its engine failed it, where no attempt follows.
        ended: outcome that was found elsewhere; its readers get the rest of the kept answer.
        finished: resolved when the table has forgotten it.
    """

    job: bytes
    admitted: Admitted
    placed: Placement
    traceparent: str = ""
    link: int = 0
    newest: int = 0
    attempts: int = 1
    refusals: int = 0
    makers: dict[int, Maker] = field(default_factory=dict)
    raced: placement_pb2.Placed | None = None
    raced_link: int = 0
    late: asyncio.Event = field(default_factory=asyncio.Event)
    poke: asyncio.Event = field(default_factory=asyncio.Event)
    moving: "asyncio.Task[None] | None" = None
    hedging: "asyncio.Task[None] | None" = None
    reattached: tuple[int, tuple[int, int]] = (0, (0, 0))
    followed: tuple[int, float, int] = (0, 0.0, 0)
    pending: tuple[int, Lost] | None = None
    input_tokens: int = 0
    over: bool = False
    failure: TetherError | None = None
    ended: placement_pb2.Ended | None = None
    finished: "asyncio.Future[None]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def __post_init__(self) -> None:
        self.lands(self.placed)

    @property
    def driver(self) -> bool:
        """Whether this gateway drives it."""
        return isinstance(self.placed, placement_pb2.Placed)

    @property
    def epoch(self) -> int:
        """Its present attempt."""
        return self.placed.epoch

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
            placed_by=self.placed_by,
        )

    @property
    def placed_by(self) -> str:
        """Node id of the orchestrator that alone knows the job, where it runs without the store; else empty."""
        return self.placed.orchestrator_id if isinstance(self.placed, placement_pb2.Placed) else ""

    def reads(self, input_tokens: int) -> None:
        """A worker told how long the prompt is."""
        self.input_tokens = max(self.input_tokens, input_tokens)

    def lend(self, admitted: Admitted) -> None:
        """Somebody came with the request: whoever takes the job over needs it."""
        if admitted.raw and not self.admitted.raw:
            self.admitted = admitted

    def lands(self, placed: Placement) -> None:
        """Another attempt takes the place of the present one."""
        self.placed, self.link, self.newest = placed, 0, max(self.newest, placed.epoch)
        self.over = False
        if isinstance(placed, placement_pb2.Placed):
            self.attempts = max(self.attempts, placed.attempts)
            self.makers[placed.epoch] = Maker(placed.worker.worker_id, placed.fingerprint)
        else:
            self.makers.setdefault(placed.epoch, Maker(placed.worker.worker_id))
