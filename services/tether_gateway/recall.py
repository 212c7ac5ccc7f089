"""Recall: jobs that may have been placed though nobody heard of it are looked for, and given up.

A reservation can be written and its acknowledgement lost. Its client is refused then, and the row would stand until its
deadline, with this gateway as a driver that does not know of it. Placing is idempotent: the same session gets the same
attempt once more, and that can be given up.
Source: docs/design/streams.md §3; the two generals' problem (Gray, 1978).
"""

import asyncio
import random
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog

from tether.errors import Reason, TetherError
from tether.placement.budget import backoff_s
from tether.v1 import infer_pb2, placement_pb2
from tether_gateway import metrics
from tether_gateway.admission import Admitted
from tether_gateway.governor import Again, Governor
from tether_gateway.settler import Settler
from tether_gateway.tasks import Tasks

RECALLS_MAX = 1_024  # at a time, a look-up every two seconds each; one more waits for the deadline of its job
UNSEEN_S = 5.0  # a write that was under way when its caller gave up is in the store by then, or never
WAIT_MAX_S = 2.0  # between two looks
LOOKS_MAX = 64  # two minutes of a store that is gone; the deadline of the row does the rest
DRIVEN_MAX = 16_384  # jobs driven here that are remembered: more than a gateway has open when a store goes

# What a Place may come to though its row was written.
MAYBE = frozenset({Reason.STORE_UNAVAILABLE, Reason.UNREACHABLE, Reason.NO_ORCHESTRATOR, Reason.DEADLINE})

Key = tuple[str, str, str]
_log = structlog.get_logger("tether.gateway")


class Recall:
    """Gives up what was placed unheard.

    Args:
        governor: looks up and places.
        settler: writes ends.
        chance: uniform in [0, 1).
    """

    def __init__(self, governor: Governor, settler: Settler, *, chance: Callable[[], float] = random.random) -> None:
        self._governor = governor
        self._settler = settler
        self._tasks = Tasks()
        self._chance = chance
        self._placing: Counter[Key] = Counter()
        self._looking: dict[Key, object] = {}
        self._driven: OrderedDict[bytes, int] = OrderedDict()
        self.here: Callable[[bytes], bool] = lambda _: False

    def __len__(self) -> int:
        return len(self._looking)

    @contextmanager
    def placing(self, key: Key) -> Iterator[None]:
        """Around all from a Place to the flight that comes of it, by tenant, correlation id and retry token."""
        self._placing[key] += 1
        try:
            yield
        finally:
            self._placing[key] -= 1
            if not self._placing[key]:
                del self._placing[key]

    def unheard(self, admitted: Admitted, error: BaseException | None, after_epoch: int = 0) -> None:
        """A Place came to an error, or to none that was heard: look for what it may have written."""
        if error is None or (isinstance(error, TetherError) and error.reason in MAYBE):
            self.look(admitted, after_epoch)

    def look(self, admitted: Admitted, after_epoch: int = 0) -> None:
        """Look for an attempt after `after_epoch` that this gateway drives and knows nothing of, and give it up."""
        key = key_of(admitted)
        if key in self._looking or len(self._looking) >= RECALLS_MAX or not admitted.raw:
            return
        look = self._looking[key] = object()
        self._tasks.spawn(self._look(admitted, after_epoch, look))

    def met(self, admitted: Admitted) -> None:
        """What was placed has a flight here now, which will end it: there is nothing to look for any more."""
        self._looking.pop(key_of(admitted), None)

    def driven(self, job: bytes, epoch: int) -> None:
        """An attempt was started from here: its end, which the store may not have yet, is what ends it."""
        self._driven[job] = max(epoch, self._driven.pop(job, 0))
        if len(self._driven) > DRIVEN_MAX:
            self._driven.popitem(last=False)

    async def close(self) -> None:
        """Stop looking: a session that has left is looked after by the orchestrators."""
        await self._tasks.close()

    async def _look(self, admitted: Admitted, after_epoch: int, look: object) -> None:
        until_s, key = time.monotonic() + UNSEEN_S, key_of(admitted)
        try:
            for number in range(LOOKS_MAX):
                await asyncio.sleep(0.05 + backoff_s(number, self._chance(), base_s=0.25, cap_s=WAIT_MAX_S))
                if self._looking.get(key) is not look:
                    return
                if await self._over(admitted, after_epoch, look, late=time.monotonic() > until_s):
                    return
        finally:
            if self._looking.get(key) is look:
                del self._looking[key]

    async def _over(self, admitted: Admitted, after_epoch: int, look: object, *, late: bool) -> bool:
        """Look once; returns whether there is nothing left to look for."""
        if self._busy(admitted):
            return False
        try:
            if not await self._stands(admitted, after_epoch):
                return late
            response = await self._governor.place(admitted, Again(after_epoch))
            if after_epoch and response.HasField("joined"):  # it may have been abandoned, and begun anew
                response = await self._governor.place(admitted, Again())
        except TetherError as error:
            return error.reason not in MAYBE or error.reason is Reason.DEADLINE
        if response.WhichOneof("outcome") != "placed" or self._looking.get(key_of(admitted)) is not look:
            return True
        if self._busy(admitted) or self.here(response.job_id):
            return False
        if response.placed.epoch > self._driven.get(response.job_id, 0):
            await self._give_up(response)
        return True

    def _busy(self, admitted: Admitted) -> bool:
        return key_of(admitted) in self._placing

    async def _stands(self, admitted: Admitted, after_epoch: int) -> bool:
        """Whether the job runs, in an attempt that is newer than the one that is known."""
        header = admitted.header
        named = infer_pb2.GetJobRequest(correlation_id=header.correlation_id, retry_token=header.retry_token)
        try:
            job = await self._governor.lookup(admitted.tenant, named)
        except TetherError as error:
            if error.reason is Reason.JOB_UNKNOWN:
                return False
            raise
        known = self.here(bytes.fromhex(job.name))
        return job.state == infer_pb2.JOB_STATE_RESERVED and job.epoch > after_epoch and not known

    async def _give_up(self, response: placement_pb2.PlaceResponse) -> None:
        request = placement_pb2.CompleteRequest(
            job_id=response.job_id, epoch=response.placed.epoch, outcome=infer_pb2.JOB_STATE_ABANDONED
        )
        metrics.RECALLED.inc()
        try:
            await self._settler.give_up(request)
        except TetherError as fault:
            _log.warning("unheard job could not be given up", job=response.job_id.hex(), reason=fault.reason.name)


def key_of(admitted: Admitted) -> Key:
    """Tenant and names of a request."""
    return (admitted.tenant, admitted.correlation_id, admitted.header.retry_token)
