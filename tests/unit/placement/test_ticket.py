"""Tickets: everything an attempt is bound to stands in the signed body."""

from tether.placement.ticket import VALID_S, Permit, sign, ticket_body
from tether.store.jobs import Subject, Worker
from tether.v1.infer_pb2 import Infer
from tether.v1.placement_pb2 import Header, Ticket, TicketBody

SUBJECT = Subject(b"j" * 16, "t", "c", "r", True, b"h" * 32, "demo", "1.0", b"d" * 32, b"", 10)
PERMIT = Permit(SUBJECT, Worker("w", 3, "127.0.0.1:1"), "g", 2, 2**64 - 1)


class Signer:
    network_id = b"n" * 32
    credential = b"credential"

    def sign(self, context: str, body: bytes) -> bytes:
        return context.encode() + b"|" + body


def test_ticket_binds_the_attempt() -> None:
    header = Header(parameters=Infer.Parameters(max_tokens=7))
    ticket = Ticket.FromString(sign(ticket_body(PERMIT, header), Signer(), 1_700_000_000_000))
    body = TicketBody.FromString(ticket.body)
    assert (body.network_id, body.job_id, body.epoch, body.request_hash) == (b"n" * 32, b"j" * 16, 2, b"h" * 32)
    assert (body.worker_id, body.worker_incarnation, body.driver_id, body.tenant_id) == ("w", 3, "g", "t")
    assert (body.model_id, body.version, body.model_digest, body.keyed) == ("demo", "1.0", b"d" * 32, True)
    assert (body.parameters.max_tokens, body.parameters.seed, body.path) == (7, 2**64 - 1, Infer.PATH_DIRECT)
    assert (body.issued_at_ms, body.valid_s) == (1_700_000_000_000, VALID_S)
    assert ticket.signature == b"tether/ticket/v1|" + ticket.body
    assert ticket.credential == b"credential"


def test_ticket_body_leaves_the_header_alone() -> None:
    header = Header()
    ticket_body(PERMIT, header)
    assert not header.parameters.HasField("seed")
