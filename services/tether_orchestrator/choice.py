"""A choice of a worker: what an attempt wants of it, and who makes it.

Another attempt wants an engine that can go on exactly, and takes a lesser one rather than none.
Source: docs/design/streams.md §4, §7.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from tether.placement.resolve import Resolved
from tether.store.jobs import Worker
from tether.v1.placement_pb2 import Header


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
