"""Tickets: an orchestrator's short-lived, signed permission to run one attempt on one worker.

Source: docs/design/streams.md §3.
"""

from dataclasses import dataclass
from typing import Protocol

from tether.store.jobs import JobRow, Subject, Worker
from tether.v1.infer_pb2 import Infer
from tether.v1.placement_pb2 import Header, Ticket, TicketBody

VALID_S = 120  # as streams.md says: longer than any queue of a worker, shorter than anyone's patience with a thief
CONTEXT = "tether/ticket/v1"


class Signer(Protocol):
    """What signs: a node's identity."""

    @property
    def network_id(self) -> bytes:
        """Network, 32 bytes."""

    @property
    def credential(self) -> bytes:
        """Serialized credential."""

    def sign(self, context: str, body: bytes) -> bytes:
        """Ed25519 over context, a zero byte, and body."""


@dataclass(frozen=True, slots=True)
class Permit:
    """What a ticket permits.

    Attributes:
        subject: the job.
        worker: who may run it.
        driver: node id of the gateway that may present it.
        epoch: the attempt.
        seed: of the sampler, 64 bits.
        attempts: made, this one among them.
        raced: whether another attempt may run at the same time.
        alone: whether no other job may run beside it.
        path: of the chunks, `Infer.Path`.
        degraded: what runs in place of what was asked, or None.
        orchestrator: node id of the one that alone knows the job, where it runs without the store; else empty.
    """

    subject: Subject
    worker: Worker
    driver: str
    epoch: int
    seed: int
    attempts: int = 1
    raced: bool = False
    alone: bool = False
    path: int = Infer.PATH_DIRECT
    degraded: Infer.Degraded | None = None
    orchestrator: str = ""


def ticket_body(permit: Permit, header: Header) -> TicketBody:
    """What a ticket says, but for network and time.

    Args:
        permit: what it permits.
        header: the request as it runs.

    Returns:
        The body.
    """
    subject, worker = permit.subject, permit.worker
    body = TicketBody(
        job_id=subject.job,
        epoch=permit.epoch,
        request_hash=subject.request_hash,
        worker_id=worker.node,
        worker_incarnation=worker.incarnation,
        driver_id=permit.driver,
        tenant_id=subject.tenant,
        correlation_id=subject.correlation_id,
        model_id=subject.model,
        version=subject.version,
        model_digest=subject.digest,
        parameters=header.parameters,
        path=Infer.Path.ValueType(permit.path),
        valid_s=VALID_S,
        degraded=permit.degraded,
        keyed=subject.keyed,
        adapters=header.adapters,
        raced=permit.raced,
        alone=permit.alone,
        attempts=permit.attempts,
        orchestrator_id=permit.orchestrator,
    )
    body.parameters.seed = permit.seed
    if header.HasField("degraded"):
        body.degraded.CopyFrom(header.degraded)
    return body


def sign(body: TicketBody, signer: Signer, now_ms: int) -> bytes:
    """A serialized Ticket.

    Args:
        body: from `ticket_body`.
        signer: the orchestrator.
        now_ms: wall clock, milliseconds since the Unix epoch.

    Returns:
        The ticket.
    """
    body.network_id, body.issued_at_ms = signer.network_id, now_ms
    raw = body.SerializeToString()
    return Ticket(body=raw, signature=signer.sign(CONTEXT, raw), credential=signer.credential).SerializeToString()


def header_of(row: JobRow) -> Header:
    """The request of a job as it runs, from its row."""
    return Header.FromString(row.subject.header)
