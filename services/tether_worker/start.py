"""A START, read and checked: its ticket, who presents it on which link, and what is handed over.

Source: docs/design/streams.md §3, docs/design/link.md (START).
"""

from collections.abc import Callable
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from tether import _native
from tether.errors import Reason, TetherError
from tether.identity import Role, Trust
from tether.identity.signature import TICKET
from tether.link import LinkBook
from tether.v1 import infer_pb2, link_pb2
from tether_worker.prefix import Handed, read_handed
from tether_worker.receipt import Signer
from tether_worker.ticket import Start, Ticket, TicketBody, check_ticket, read_ticket

TIMEOUT_S_MAX = 3_600.0  # as infer.proto says
GRACE_MS_MAX = 60_000  # six times the gateway's own; a start cannot hold a slot for longer without readers


@dataclass(frozen=True, slots=True)
class Asked:
    """A START that holds.

    Attributes:
        start: the entry's body.
        ticket: what its ticket allows.
        request: the client's.
        handed: what an earlier attempt made.
    """

    start: link_pb2.Link.Start
    ticket: TicketBody
    request: infer_pb2.Infer.Request
    handed: Handed

    @property
    def name(self) -> tuple[bytes, int]:
        """Job and epoch."""
        return (self.ticket.job_id, self.ticket.epoch)

    @property
    def timeout_s(self) -> float:
        """Seconds until the deadline, at most an hour."""
        start = self.start
        asked_s = start.timeout.ToMilliseconds() / 1_000 if start.HasField("timeout") else TIMEOUT_S_MAX
        return min(max(asked_s, 0.0), TIMEOUT_S_MAX)

    @property
    def grace_ms(self) -> int:
        """How long the attempt goes on without readers, milliseconds."""
        start = self.start
        asked_ms = start.detach_grace.ToMilliseconds() if start.HasField("detach_grace") else 0
        return min(max(asked_ms, 0), GRACE_MS_MAX)


@dataclass(frozen=True, slots=True)
class StartReader:
    """Reads and checks STARTs.

    Attributes:
        identity: this worker.
        trust: checks tickets.
        book: links, by their numbers.
        wall_ms: wall clock, milliseconds since the Unix epoch.
    """

    identity: Signer
    trust: Trust
    book: LinkBook
    wall_ms: Callable[[], int]

    def read(self, link: int, job: bytes, epoch: int, body: bytes, *, known: bool) -> Asked:
        """Read a START.

        Args:
            link: where it came in.
            job: the entry's job.
            epoch: the entry's epoch.
            body: the entry's body.
            known: whether the attempt runs here already; its ticket may be as old as the attempt.

        Raises:
            TetherError: with what is wrong with it.
        """
        try:
            start = link_pb2.Link.Start.FromString(body)
            request = infer_pb2.Infer.Request.FromString(start.request)
        except DecodeError as fault:
            raise TetherError(Reason.MALFORMED, "a START is malformed") from fault
        ticket, allowed = read_ticket(start.ticket)
        self._check(ticket, allowed, self._facts(link, job, epoch, start.request), known=known)
        handed = Handed() if known else read_handed(start, epoch, allowed.driver_id)
        return Asked(start, allowed, request, handed)

    def _facts(self, link: int, job: bytes, epoch: int, request: bytes) -> Start:
        me, end = self.identity, self.book.get(link)
        return Start(
            job=job,
            epoch=epoch,
            request_hash=lambda tenant: _native.request_hash(request, tenant),
            driver_id=end.peer.node_id if end is not None else "",
            worker_id=me.node_id,
            incarnation=me.incarnation,
            network_id=me.network_id,
            relayed=end is not None and end.peer.via != "",
        )

    def _check(self, ticket: Ticket, body: TicketBody, facts: Start, *, known: bool) -> None:
        now_ms = self.wall_ms()
        try:
            check_ticket(body, facts, body.issued_at_ms if known else now_ms)
        except ValueError as fault:  # of the request's hash
            raise TetherError(Reason.MALFORMED, "the request of a START is malformed") from fault
        try:
            self.trust.signed(
                TICKET, ticket.body, ticket.signature, ticket.credential, Role.ORCHESTRATOR, now_ms / 1_000
            )
        except TetherError as error:
            raise TetherError(Reason.TICKET_INVALID, f"The ticket's signature: {error.message}") from error
