"""What a gateway asks of Place, and what it gets: an attempt to drive, one to read along with, or an end.

Source: docs/design/streams.md §3.
"""

from dataclasses import dataclass

from tether.job.hold import Position
from tether.job.poison import Cause
from tether.placement.ticket import Permit
from tether.policy import Decision
from tether.store.jobs import Driver, JobRow, Worker
from tether.v1.placement_pb2 import Header
from tether_orchestrator.engine import UNKNOWN, Engine

_NOWHERE = Position()


@dataclass(frozen=True, slots=True)
class Ask:
    """What a gateway asks.

    Attributes:
        header: the request without its input; it is filled in.
        driver: the gateway and its session.
        after_epoch: attempt that it knows of; 0 for a new job.
        cause: why it asks for another one.
        position: what it has accepted of the answer.
        race: whether the other attempt runs beside the one it knows of.
        fingerprint: of the engine that made what it accepted, or empty.
        error: reason and message of the attempt that ended.
        trace_id: 32 hex digits, or empty.
    """

    header: Header
    driver: Driver
    after_epoch: int
    cause: Cause = Cause.NEW
    position: Position = _NOWHERE
    race: bool = False
    fingerprint: bytes = b""
    error: str = ""
    trace_id: str = ""


@dataclass(frozen=True, slots=True)
class Run:
    """The caller drives this attempt.

    Attributes:
        permit: what the ticket permits.
        ticket: serialized Ticket.
        decision: what policy says of it.
        engine: what runs there.
        relay: orchestrator that passes the chunks on, or None.
        without_store: whether it runs from leased quota while the store is gone.
    """

    permit: Permit
    ticket: bytes
    decision: Decision
    engine: Engine = UNKNOWN
    relay: Worker | None = None
    without_store: bool = False


@dataclass(frozen=True, slots=True)
class Join:
    """The caller reads along.

    Attributes:
        row: the job.
        relay: orchestrator that passes the chunks on, or None.
    """

    row: JobRow
    relay: Worker | None = None


@dataclass(frozen=True, slots=True)
class End:
    """The job has ended.

    Attributes:
        row: the job.
        retain: whether the caller should deposit the request.
    """

    row: JobRow
    retain: bool = False


Placement = Run | Join | End
