"""What the job table and its helpers work with."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from tether.identity import Trust
from tether.link import LinkBook
from tether.observe.trace import Tracing
from tether.v1 import infer_pb2
from tether_worker.commit import Committer
from tether_worker.machine import LogMachine
from tether_worker.model import ModelTable
from tether_worker.quota import QuotaGuard
from tether_worker.receipt import Signer
from tether_worker.ticket import TicketBody

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
