"""Receipts, checked by whoever was paid for: offline, with the network's root document alone.

The worker signed what it ran and what came out; its credential was signed by an issuer, and that by the root. What was
received must end where the receipt says, with the chain that the receipt commits to.
Source: docs/design/streams.md §5; Ed25519 (RFC 8032).
"""

from dataclasses import dataclass

from google.protobuf.message import DecodeError

from tether import _native
from tether.client.result import Gathered
from tether.errors import Reason, TetherError
from tether.identity import Role, Trust
from tether.identity.signature import RECEIPT
from tether.v1.infer_pb2 import Infer


def verify_receipt(receipt: Infer.Receipt, trust: Trust, now_s: float) -> Infer.ReceiptBody:
    """What a receipt says, once it holds.

    Args:
        receipt: of the last chunk, or of a job.
        trust: of the network that it must belong to.
        now_s: seconds since the Unix epoch. The credential must have held when the receipt was made, and that cannot be
            in the future.

    Raises:
        TetherError: NODE_TOKEN_INVALID or ROLE_FORBIDDEN where a signature does not hold, MALFORMED for no receipt.
    """
    try:
        body = Infer.ReceiptBody.FromString(receipt.body)
    except DecodeError as fault:
        raise TetherError(Reason.MALFORMED, "The receipt's body is no valid message.") from fault
    if not receipt.body or not receipt.signature:
        raise TetherError(Reason.MALFORMED, "There is no receipt.")
    made_s = min(now_s, body.ended_at.seconds + body.ended_at.nanos / 1e9)
    signer = trust.signed(RECEIPT, receipt.body, receipt.signature, receipt.credential, Role.WORKER, made_s)
    if signer.node_id != body.worker_id:
        raise TetherError(Reason.NODE_TOKEN_INVALID, "The receipt names another worker than the one that signed it.")
    if body.network_id != trust.network_id:
        raise TetherError(Reason.NODE_TOKEN_INVALID, "The receipt is of another network.")
    return body


@dataclass(frozen=True, slots=True)
class ReceiptCheck:
    """Requires a receipt of each whole answer.

    Attributes:
        trust: of the network.
    """

    trust: Trust

    def check(self, gathered: Gathered, now_s: float) -> None:
        """Raise where the receipt does not hold, or is of another answer than the one that came.

        Raises:
            TetherError: NODE_TOKEN_INVALID, ROLE_FORBIDDEN, MALFORMED, or STREAM_DIVERGED.
        """
        last = gathered.last
        if last is None:
            return
        body = verify_receipt(last.receipt, self.trust, now_s)
        wrong = {
            "another job": body.job_id.hex() != gathered.started.job_id,
            "another end": body.end.bytes != gathered.next_byte,
            "another answer": not _committed(last.continuation, body),
        }
        for what, differs in wrong.items():
            if differs:
                raise TetherError(Reason.STREAM_DIVERGED, f"The receipt is of {what} than the one that was read.")


def _committed(continuation: bytes, body: Infer.ReceiptBody) -> bool:
    """Whether the chain at the last chunk is the one that the receipt commits to."""
    if not continuation:
        return True
    try:
        cursor = Infer.Cursor.FromString(continuation)
        chain = _native.Chain.resume(cursor.chain_state) if cursor.chain_state else _native.Chain()
    except (DecodeError, ValueError):
        return False
    return chain.digest() == body.output_commitment
