"""Receipts: what ran and what came out, signed by this worker. Source: docs/design/streams.md §5."""

from dataclasses import dataclass, field
from typing import Protocol

from tether.identity.signature import RECEIPT
from tether.v1 import infer_pb2
from tether_worker.engine.runtime import Position
from tether_worker.prefix import Beginning
from tether_worker.ticket import TicketBody

FinishReason = infer_pb2.Infer.FinishReason
Receipt = infer_pb2.Infer.Receipt


class Signer(Protocol):
    """What a receipt needs of an identity."""

    node_id: str
    incarnation: int
    credential: bytes
    network_id: bytes

    def sign(self, context: str, body: bytes) -> bytes:
        """Ed25519 over context and body."""


@dataclass(frozen=True, slots=True)
class Ran:
    """What an attempt came to.

    Attributes:
        fingerprint: the engine's, 32 bytes.
        chain: digest of the chain at the end, 32 bytes.
        tokens: position of the end, tokens.
        text_bytes: position of the end, bytes.
        input_tokens: tokens of the prompt.
        finish: why it ended.
        complete: whether the answer is whole.
        started_ms: wall clock at the start, milliseconds since the Unix epoch.
        ended_ms: wall clock at the end.
        begun: where it began: what was handed over, and how it went on.
        attempts: attempts made, this one among them.
    """

    fingerprint: bytes
    chain: bytes
    tokens: int
    text_bytes: int
    input_tokens: int
    finish: FinishReason.ValueType
    complete: bool
    started_ms: int
    ended_ms: int
    begun: Beginning = field(default_factory=lambda: Beginning(()))
    attempts: int = 1


def usage_of(ran: Ran, *, whole: bool = False) -> infer_pb2.Infer.Usage:
    """What an attempt used.

    Args:
        ran: what it came to.
        whole: of the whole answer, as a client is told; else what this signer generated alone.
    """
    begun = Position() if whole else ran.begun.at
    usage = infer_pb2.Infer.Usage(
        input_tokens=ran.input_tokens,
        output_tokens=ran.tokens - begun.tokens,
        output_bytes=ran.text_bytes - begun.text_bytes,
    )
    usage.compute.FromMilliseconds(max(0, ran.ended_ms - ran.started_ms))
    return usage


def make_receipt(signer: Signer, ticket: TicketBody, ran: Ran) -> Receipt:
    """Sign what ran.

    Args:
        signer: this worker.
        ticket: what was allowed.
        ran: what came of it.
    """
    body = infer_pb2.Infer.ReceiptBody(
        network_id=signer.network_id,
        job_id=ticket.job_id,
        epoch=ticket.epoch,
        tenant_id=ticket.tenant_id,
        correlation_id=ticket.correlation_id,
        worker_id=signer.node_id,
        worker_incarnation=signer.incarnation,
        model_id=ticket.model_id,
        version=ticket.version,
        model_digest=ticket.model_digest,
        adapters=ticket.adapters,
        parameters=ticket.parameters,
        fingerprint=ran.fingerprint,
        input_commitment=ticket.request_hash,
        output_commitment=ran.chain,
        end=infer_pb2.Infer.Position(tokens=ran.tokens, bytes=ran.text_bytes),
        finish_reason=ran.finish,
        usage=usage_of(ran),
        degraded=ticket.degraded if ticket.HasField("degraded") else None,
        complete=ran.complete,
        handed=ran.begun.makers,
        attempts=ran.attempts,
        continuity=ran.begun.continuity,
        path=ticket.path,
    )
    body.started_at.FromMilliseconds(ran.started_ms)
    body.ended_at.FromMilliseconds(ran.ended_ms)
    raw = body.SerializeToString(deterministic=True)
    return Receipt(body=raw, signature=signer.sign(RECEIPT, raw), credential=signer.credential)
