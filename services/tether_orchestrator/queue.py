"""Late binding, carried out: requests that find no room wait here as calls that are open, and are woken in their turn.

Room is looked for when a worker reports some, when a job is given back, and when somebody new comes: a newcomer never
overtakes who waits. Who cannot be served in time runs something lesser where policy names it, and is refused at once
otherwise, with a hint when to come again.
Source: docs/design/design.md §4.
"""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass

from tether.errors import Reason, TetherError
from tether.placement.lane import Tried, Waiting
from tether.placement.queue import LateQueue, Shed
from tether.placement.refusal import BREAKER, LOADING, may_wait
from tether.placement.resolve import Resolved
from tether.store.jobs import Worker
from tether.v1.infer_pb2 import Infer
from tether.v1.placement_pb2 import Header
from tether_orchestrator.choice import Choice, Want
from tether_orchestrator.clock import AttentiveClock
from tether_orchestrator.fleet import Listener
from tether_orchestrator.metrics import QUEUE_WAIT, QUEUED, SHED
from tether_orchestrator.scheduler import Scheduler, lane

_SETTLE_POLL_S = 0.05  # only in the moment after a stall of this process
_AGAIN_WAIT_S = 20.0  # a job that runs waits longer than any new one, and less than a gateway's call for a place
_TRIES_MAX = 64  # vain ones in one round: each costs about what a placement costs, and others are waiting
_WAIT_PART = 0.8  # of the time that a request has left: in the rest it is to run
_COST_TOKENS, _COST_MAX = 1_024, 8.0  # a job counts as one for each so many tokens that it may use
_PRIORITY = "PRIORITY_"


@dataclass(eq=False, slots=True)
class Turn:
    """A call that waits.

    Attributes:
        item: its place in the queue.
        request: what it asks.
        want: of its worker.
        outcome: set when its turn came.
    """

    item: Waiting
    request: Resolved
    want: Want
    outcome: asyncio.Future[Choice]


class LateBinding(Listener):
    """A chooser that waits; see `tether_orchestrator.choice.Chooser`.

    Args:
        scheduler: chooses at once, or says why not.
        queue: who waits, in order.
        clock: knows whether this process has just stalled.
        wait_max_s: longest wait of a request of which policy says nothing.
        now_s: monotonic clock.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        queue: LateQueue,
        clock: AttentiveClock,
        *,
        wait_max_s: float,
        now_s: Callable[[], float],
    ) -> None:
        self._scheduler = scheduler
        self._queue = queue
        self._clock = clock
        self._wait_max_s = wait_max_s
        self._now_s = now_s
        self._turns: dict[Waiting, Turn] = {}

    def __len__(self) -> int:
        return len(self._queue)

    # Chooser

    def resolve(self, header: Header, *, again: bool = False) -> Resolved:
        """See `Chooser.resolve`."""
        return self._scheduler.resolve(header, again=again)

    def give_back(self, worker: Worker) -> None:
        """See `Chooser.give_back`."""
        self._scheduler.give_back(worker)
        self.room()

    async def choose(self, request: Resolved, want: Want) -> Choice:
        """See `Chooser.choose`."""
        if not self._queue.waiting(lane(request)):
            refusal = await self._at_once(request, want)
            if isinstance(refusal, Choice):
                return refusal
            if not may_wait(refusal):
                raise refusal
        return await self._wait(request, want)

    # Listener

    def room(self) -> None:
        """See `Listener.room`."""
        if len(self._queue):
            for model in self._queue.models():
                self._serve(model)

    def tick(self) -> None:
        """See `Listener.tick`."""
        self.room()
        for rank, count in self._queue.classes().items():
            QUEUED.labels(Infer.Priority.Name(Infer.Priority.ValueType(rank)).removeprefix(_PRIORITY).lower()).set(
                count
            )

    def close(self) -> None:
        """Send all who wait elsewhere."""
        for turn in list(self._turns.values()):
            self._fail(turn, TetherError(Reason.DRAINING, "The orchestrator leaves", retry_after_s=0.1))

    # at once

    async def _at_once(self, request: Resolved, want: Want) -> Choice | TetherError:
        """A worker, or why there is none; after a stall workers get a moment to come back before it says so."""
        while True:
            try:
                return self._bind(request, want)
            except TetherError as refusal:
                missing = refusal.reason is Reason.NO_WORKER and not refusal.metadata.keys() & {LOADING, BREAKER}
                if not missing or self._clock.settled:
                    return refusal
            await asyncio.sleep(_SETTLE_POLL_S)

    def _bind(self, request: Resolved, want: Want) -> Choice:
        return Choice(self._scheduler.choose(request, want.exclude, want.fingerprint, alone=want.alone), request)

    # later

    async def _wait(self, request: Resolved, want: Want) -> Choice:
        item = self._item(request, want)
        shed = self._queue.offer(item, self._now_s())
        if shed is not None:
            return await self._lesser(request, want, shed)
        choice = await self._turn(Turn(item, request, want, asyncio.get_running_loop().create_future()))
        if choice is not None:
            return choice
        if (refusal := self._still_loading(request, want)) is not None:
            raise refusal
        late = f"No worker of {item.model} came free in {item.wait_max_s:.1f} s"
        return await self._lesser(request, want, Shed(late, self._queue.retry_after_s(item.model, self._now_s())))

    def _still_loading(self, request: Resolved, want: Want) -> TetherError | None:
        """The refusal of a request whose model is still on its way to a worker."""
        try:
            self.give_back(self._bind(request, want).worker)
        except TetherError as refusal:
            return refusal if LOADING in refusal.metadata else None
        return None

    async def _turn(self, turn: Turn) -> Choice | None:
        """Wait for a turn; None where it did not come in time."""
        self._turns[turn.item] = turn
        self._serve(turn.item.model)
        try:
            await asyncio.wait({turn.outcome}, timeout=turn.item.wait_max_s)
        except asyncio.CancelledError:
            if turn.outcome.done() and turn.outcome.exception() is None:
                self._scheduler.give_back(turn.outcome.result().worker)
            raise
        finally:
            self._queue.remove(turn.item)
            self._turns.pop(turn.item, None)
        QUEUE_WAIT.observe(self._now_s() - turn.item.since_s)
        return turn.outcome.result() if turn.outcome.done() else None

    def _serve(self, model: str) -> None:
        """Give room to who waits for a model, while there is any."""
        tried, vain = Tried(), 0
        while vain < _TRIES_MAX:
            item = self._queue.next(model, self._now_s(), tried)
            turn = self._turns.get(item) if item is not None else None
            if item is None or turn is None or not self._scheduler.worth_a_try(turn.request):
                return
            if not self._try(turn):
                vain += 1
                tried.add(item)

    def _try(self, turn: Turn) -> bool:
        """Give one its turn; False where there is no room for it, and it waits on."""
        try:
            choice = self._bind(turn.request, turn.want)
        except TetherError as refusal:
            if may_wait(refusal) or not self._clock.settled:
                return False
            self._fail(turn, refusal)
            return True
        self._queue.served(turn.item, self._now_s())
        if turn.outcome.done():  # called off in this very moment
            self._scheduler.give_back(choice.worker)
        else:
            turn.outcome.set_result(choice)
        return True

    def _fail(self, turn: Turn, error: TetherError) -> None:
        self._queue.remove(turn.item)
        if not turn.outcome.done():
            turn.outcome.set_exception(error)

    # instead

    async def _lesser(self, request: Resolved, want: Want, shed: Shed) -> Choice:
        """What policy lets run in place of what was asked; OVERLOADED where that is nothing."""
        targets = () if want.again else request.decision.degrade
        lesser = [one for one in (self._scheduler.lower(request, target) for target in targets) if one is not None]
        for one in lesser:
            if not self._queue.waiting(lane(one)):
                with contextlib.suppress(TetherError):  # no room for that one either: the next, then a wait
                    choice = self._bind(one, want)
                    SHED.labels("degraded").inc()
                    return choice
        for one in lesser:
            choice_late = await self._wait_lesser(one, want)
            if choice_late is not None:
                SHED.labels("degraded").inc()
                return choice_late
        SHED.labels("shed").inc()
        raise TetherError(Reason.OVERLOADED, shed.why, retry_after_s=shed.retry_after_s)

    async def _wait_lesser(self, request: Resolved, want: Want) -> Choice | None:
        """Wait for something lesser, of which twice as much may wait; None where even that may not."""
        item = self._item(request, want)
        item.lenient, item.wait_max_s = True, min(2 * item.wait_max_s, _spare_s(request))
        if self._queue.offer(item, self._now_s()) is not None:
            return None
        return await self._turn(Turn(item, request, want, asyncio.get_running_loop().create_future()))

    def _item(self, request: Resolved, want: Want) -> Waiting:
        decision = request.decision
        wait_max_s = self._wait_max_s if decision.queue_wait_max_s is None else decision.queue_wait_max_s
        return Waiting(
            model=lane(request),
            tenant=request.header.tenant_id,
            rank=request.priority,
            weight=decision.weight,
            since_s=self._now_s(),
            wait_max_s=_AGAIN_WAIT_S if want.again else min(wait_max_s, _spare_s(request)),
            again=want.again,
            cost=min(max(1.0, request.limit_tokens / _COST_TOKENS), _COST_MAX),
        )


def _spare_s(request: Resolved) -> float:
    """Time that the request can spare for waiting, seconds."""
    header = request.header
    return header.timeout.ToMilliseconds() * _WAIT_PART / 1_000 if header.HasField("timeout") else float("inf")
