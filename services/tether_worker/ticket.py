"""Tickets: whether an orchestrator of this network allows this start, on this worker, to this driver, now.

Pure: the signature check and the clock are arguments. Source: docs/design/streams.md §3.
"""

from collections.abc import Callable
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from tether.errors import Reason, TetherError
from tether.v1 import infer_pb2, placement_pb2

SKEW_S = 30  # honest wall clocks may differ by so much (overlay.md §2)
REMEMBERED_MAX = 65_536  # tickets of 120 s at 500 starts a second

Ticket = placement_pb2.Ticket
TicketBody = placement_pb2.TicketBody


@dataclass(frozen=True, slots=True)
class Start:
    """What a ticket must match.

    Attributes:
        job: the entry's job, 16 bytes.
        epoch: the entry's epoch.
        request_hash: of the request that came with it, 32 bytes.
        driver_id: node at the other end of the link.
        worker_id: this worker.
        incarnation: its present life.
        network_id: its network.
        relayed: whether an orchestrator relays the link.
    """

    job: bytes
    epoch: int
    request_hash: Callable[[str], bytes]
    driver_id: str
    worker_id: str
    incarnation: int
    network_id: bytes
    relayed: bool = False


def read_ticket(raw: bytes) -> tuple[Ticket, TicketBody]:
    """Parse a ticket and its body; TetherError TICKET_INVALID where that fails."""
    try:
        ticket = Ticket.FromString(raw)
        return ticket, TicketBody.FromString(ticket.body)
    except DecodeError as fault:
        raise _refusal("is malformed") from fault


def check_ticket(body: TicketBody, start: Start, now_ms: int) -> None:
    """Refuse a ticket that is not for this start; its signature is checked apart.

    Args:
        body: what the ticket says.
        start: what it must match.
        now_ms: wall clock, milliseconds since the Unix epoch.

    Raises:
        TetherError: TICKET_INVALID, with what does not match; NO_WORKER where it is too old, or of another life.
    """
    age_s = (now_ms - body.issued_at_ms) / 1_000
    wrong = {
        "network": body.network_id != start.network_id,
        "job": body.job_id != start.job,
        "epoch": body.epoch != start.epoch or body.epoch < 1,
        "worker": body.worker_id != start.worker_id,
        "path": start.relayed and body.path != infer_pb2.Infer.PATH_RELAY,
        "driver": body.driver_id != start.driver_id,
        "time": age_s < -SKEW_S,
    }
    for what, differs in wrong.items():
        if differs:
            raise _refusal(f"is for another {what}")
    if body.request_hash != start.request_hash(body.tenant_id):
        raise _refusal("is for another request")
    # honest, and late: another worker, or this one again, may run it
    if age_s > body.valid_s + SKEW_S:
        raise TetherError(Reason.NO_WORKER, "The ticket is too old.")
    if body.worker_incarnation != start.incarnation:
        raise TetherError(Reason.NO_WORKER, "The ticket is for another life of this worker.")


class UsedTickets:
    """Remembers which (job, epoch) were started, until their tickets expire, so that each starts once."""

    def __init__(self) -> None:
        self._until_ms: dict[tuple[bytes, int], int] = {}

    def __len__(self) -> int:
        return len(self._until_ms)

    def use(self, body: TicketBody, now_ms: int) -> None:
        """Use a ticket up.

        Raises:
            TetherError: NO_WORKER when it was used, and nothing is left of what it started; OVERLOADED when too many
                are remembered.
        """
        self._forget(now_ms)
        name = (body.job_id, body.epoch)
        if name in self._until_ms:
            raise TetherError(Reason.NO_WORKER, "The attempt has run here, and nothing of it is left to read.")
        if len(self._until_ms) >= REMEMBERED_MAX:
            raise TetherError(Reason.OVERLOADED, "too many starts in a short time")
        self._until_ms[name] = body.issued_at_ms + (body.valid_s + SKEW_S) * 1_000

    def release(self, body: TicketBody) -> None:
        """Give a ticket back whose start was refused for want of room."""
        self._until_ms.pop((body.job_id, body.epoch), None)

    def _forget(self, now_ms: int) -> None:
        """Drop the oldest that are over; they are in the order of their use, so expiry is all but sorted."""
        while self._until_ms:
            name = next(iter(self._until_ms))
            if self._until_ms[name] > now_ms:
                return
            del self._until_ms[name]


def _refusal(why: str) -> TetherError:
    return TetherError(Reason.TICKET_INVALID, f"The ticket {why}.")
