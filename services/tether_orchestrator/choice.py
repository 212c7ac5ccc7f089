"""A choice of a worker: what an attempt wants of it, and who makes it.

Another attempt wants an engine that can go on exactly, and takes a lesser one rather than none. Right after a stall of
this process, workers get a moment to come back before it says there is none.
Source: docs/design/streams.md §4, §7.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from tether.errors import Reason, TetherError
from tether.placement.resolve import Resolved
from tether.store.jobs import Worker
from tether.v1.placement_pb2 import Header
from tether_orchestrator.clock import AttentiveClock

_SETTLE_POLL_S = 0.05  # only in the moment after a stall
_NONE_LEFT = frozenset({Reason.NO_WORKER, Reason.OVERLOADED})


@dataclass(frozen=True, slots=True)
class Want:
    """What an attempt wants of its worker.

    Attributes:
        exclude: node ids that are not wanted.
        fingerprint: of the engine that it would best run on, or empty.
        again: whether it goes on with a job that runs: it waits for nobody who is new, and is never degraded.
        alone: whether no other job may run beside it.
    """

    exclude: Sequence[str] = ()
    fingerprint: bytes = b""
    again: bool = False
    alone: bool = False


NEW = Want()


@dataclass(frozen=True, slots=True)
class Choice:
    """A worker, and what runs there.

    Attributes:
        worker: the worker; the job counts as placed on it.
        request: as it runs: what was asked, or what takes its place.
    """

    worker: Worker
    request: Resolved


class Chooser(Protocol):
    """What chooses workers."""

    def resolve(self, header: Header, *, again: bool = False) -> Resolved:
        """Fill in what a request left open; TetherError MODEL_UNKNOWN, VERSION_UNKNOWN or POLICY_FORBIDS.

        Args:
            header: the request; it is changed.
            again: whether the job is there already: policy says where it may go on, and no more whether.
        """

    async def choose(self, request: Resolved, want: Want) -> Choice:
        """The best worker, perhaps after a wait; TetherError where none can be had."""

    def give_back(self, worker: Worker) -> None:
        """The job did not come about on the worker."""


class Scheduling(Protocol):
    """What chooses at once, or not at all: the scheduler."""

    def resolve(self, header: Header, *, again: bool = False) -> Resolved:
        """See `Chooser.resolve`."""

    def choose(self, request: Resolved, exclude: Sequence[str] = (), fingerprint: bytes = b"") -> Worker:
        """The best worker; TetherError OVERLOADED or NO_WORKER."""

    def give_back(self, worker: Worker) -> None:
        """See `Chooser.give_back`."""


class AtOnce:
    """A chooser that does not wait.

    Args:
        scheduler: chooses.
        clock: knows whether this process has just stalled.
    """

    def __init__(self, scheduler: Scheduling, clock: AttentiveClock) -> None:
        self._scheduler = scheduler
        self._clock = clock

    def resolve(self, header: Header, *, again: bool = False) -> Resolved:
        """See `Chooser.resolve`."""
        return self._scheduler.resolve(header, again=again)

    async def choose(self, request: Resolved, want: Want) -> Choice:
        """See `Chooser.choose`."""
        while not self._clock.settled:
            try:
                return self._choose(request, want)
            except TetherError as refusal:
                if refusal.reason is not Reason.NO_WORKER:
                    raise
            await asyncio.sleep(_SETTLE_POLL_S)
        return self._choose(request, want)

    def give_back(self, worker: Worker) -> None:
        """See `Chooser.give_back`."""
        self._scheduler.give_back(worker)

    def _choose(self, request: Resolved, want: Want) -> Choice:
        if want.fingerprint:
            try:
                return Choice(self._scheduler.choose(request, want.exclude, want.fingerprint), request)
            except TetherError as refusal:
                if refusal.reason not in _NONE_LEFT:
                    raise
        return Choice(self._scheduler.choose(request, want.exclude), request)
