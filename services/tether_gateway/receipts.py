"""Whether a worker's receipt holds: signed by the worker that was chosen, over this job, this attempt, this request.

The stream table has compared job, epoch and chain with what was delivered; here it is who signed, and what else it
says.
Source: docs/design/streams.md §5.
"""

from dataclasses import dataclass

from google.protobuf.message import DecodeError

from tether.errors import Reason, TetherError
from tether.identity import Role, Trust
from tether.identity.signature import RECEIPT
from tether.link import Kind
from tether.v1 import infer_pb2, link_pb2


@dataclass(frozen=True, slots=True)
class Expected:
    """What a receipt must say.

    Attributes:
        job: 16 bytes.
        epoch: attempt.
        tenant: who pays.
        request_hash: 32 bytes; empty where a reader came without the request.
        worker_id: who was chosen.
        model_digest: 32 bytes.
        placed_by: node id of the orchestrator that placed it without the store, or empty.
    """

    job: bytes
    epoch: int
    tenant: str
    request_hash: bytes
    worker_id: str
    model_digest: bytes
    placed_by: str = ""


def check_receipt(
    receipt: infer_pb2.Infer.Receipt, expected: Expected, trust: Trust, wall_s: float
) -> infer_pb2.Infer.ReceiptBody:
    """The body of a receipt that holds.

    Args:
        receipt: of the last chunk.
        expected: what it must say.
        trust: checks its signature.
        wall_s: seconds since the Unix epoch.

    Raises:
        TetherError: SETTLEMENT_FAILED, with what does not hold.
    """
    try:
        signer = trust.signed(RECEIPT, receipt.body, receipt.signature, receipt.credential, Role.WORKER, wall_s)
        body = infer_pb2.Infer.ReceiptBody.FromString(receipt.body)
    except (TetherError, DecodeError) as fault:
        raise TetherError(Reason.SETTLEMENT_FAILED, "The worker's receipt does not verify.") from fault
    wrong = {
        "signer": not signer.node_id == body.worker_id == expected.worker_id,
        "job": (body.job_id, body.epoch) != (expected.job, expected.epoch),
        "tenant": body.tenant_id != expected.tenant,
        "request": body.input_commitment != (expected.request_hash or body.input_commitment),
        "model": body.model_digest != expected.model_digest,
    }
    for what, differs in wrong.items():
        if differs:
            raise TetherError(Reason.SETTLEMENT_FAILED, f"The worker's receipt is of another {what}.")
    return body


def prompt_of(receipt: infer_pb2.Infer.Receipt) -> int:
    """Tokens of the prompt by a receipt, as it came over its worker's own link; 0 where it says nothing."""
    try:
        return infer_pb2.Infer.ReceiptBody.FromString(receipt.body).usage.input_tokens
    except DecodeError:
        return 0


def prompt_told(kind: int, body: bytes) -> int:
    """Tokens of the prompt by an entry of its worker: PROGRESS, or END or FAIL of what was cancelled; 0 for none."""
    try:
        if kind == Kind.PROGRESS:
            told = link_pb2.Link.Progress.FromString(body)
            return told.of if told.phase == link_pb2.Link.PHASE_PREFILL else 0
        ended = infer_pb2.Infer.Chunk if kind == Kind.END else link_pb2.Link.Failure
        return prompt_of(ended.FromString(body).receipt)
    except DecodeError:
        return 0
