"""What an end settles, and whether its answer may be kept.

A receipt says what was used; without one only what was delivered counts, and the prompt waits for a receipt. An answer
is kept only when it is as long as the receipt says.
Source: docs/design/streams.md §5.
"""

from google.protobuf.message import DecodeError

from tether.errors import Reason, TetherError
from tether.job.hold import Position
from tether.job.state import State
from tether.v1.infer_pb2 import Infer

TOKENS_MAX, BYTES_MAX = 1 << 32, 1 << 48  # beyond any job; at the dearest price a thousand of them stay under 2^63
FAULTS = frozenset({Reason.ENGINE_FAILED.name, Reason.WORKER_LOST.name, Reason.INTERNAL.name})


def receipt_body(receipt: Infer.Receipt) -> Infer.ReceiptBody:
    """What a receipt says.

    Raises:
        TetherError: MALFORMED.
    """
    try:
        return Infer.ReceiptBody.FromString(receipt.body)
    except DecodeError as error:
        raise TetherError(Reason.MALFORMED, "The receipt is malformed", field="receipt") from error


def check_receipt(body: Infer.ReceiptBody, job: bytes, epoch: int, signer: str, network: bytes) -> None:
    """Refuse a receipt that is not about this attempt.

    Args:
        body: what it says.
        job: id of the job, 16 bytes.
        epoch: the attempt.
        signer: node id of whoever signed it.
        network: id of the network, 32 bytes.

    Raises:
        TetherError: INVALID_FIELD.
    """
    if body.network_id != network:
        raise TetherError(Reason.INVALID_FIELD, "The receipt is of another network", field="receipt")
    if (body.job_id, body.epoch, body.worker_id) != (job, epoch, signer):
        raise TetherError(Reason.INVALID_FIELD, "The receipt is of another attempt", field="receipt")
    _check_handed(body)
    check_bounds("receipt", Position(body.usage.input_tokens, body.end.tokens, body.end.bytes))


def check_bounds(field: str, position: Position) -> None:
    """Refuse a position that no job reaches: what it costs must fit into every database.

    Args:
        field: where it stands.
        position: tokens and bytes, each up to 2^64-1 on the wire.

    Raises:
        TetherError: INVALID_FIELD.
    """
    if max(position.input_tokens, position.output_tokens) > TOKENS_MAX or position.output_bytes > BYTES_MAX:
        raise TetherError(Reason.INVALID_FIELD, "The position is beyond any job", field=field)


def _check_handed(body: Infer.ReceiptBody) -> None:
    """What was handed over lies before what the signer made: from position 0 on, without holes, by earlier attempts."""
    reached, epoch = Infer.Position(), 0
    for prefix in body.handed:
        grows = prefix.end.tokens >= reached.tokens and prefix.end.bytes >= reached.bytes
        if prefix.start != reached or not grows or not epoch <= prefix.epoch < body.epoch:
            raise TetherError(Reason.INVALID_FIELD, "The receipt's handed prefixes have holes", field="receipt")
        reached, epoch = prefix.end, prefix.epoch
    if reached.tokens > body.end.tokens or reached.bytes > body.end.bytes:
        raise TetherError(Reason.INVALID_FIELD, "The receipt ends before what was handed over", field="receipt")


def over(limit_tokens: int, position: Position) -> TetherError:
    """The error of an end that would bill more than its job may use; see `hold.within`."""
    found = f"{position.output_tokens} tokens of output; the job may use {limit_tokens}"
    return TetherError(Reason.INVALID_FIELD, f"The end tells {found}", field="delivered")


def used(outcome: State, body: Infer.ReceiptBody | None, delivered: Position | None) -> Position:
    """What a job used from its start, as far as it is to be paid.

    Args:
        outcome: how it ended.
        body: what its receipt says, or None.
        delivered: what the client got, or None where that is not known.

    Returns:
        A position; for an end that is not DONE never beyond what was delivered, where that is known.
    """
    if body is None:
        return delivered or Position()
    whole = Position(body.usage.input_tokens, body.end.tokens, body.end.bytes)
    if outcome is State.DONE or delivered is None:
        return whole
    return Position(
        whole.input_tokens,
        min(whole.output_tokens, delivered.output_tokens),
        min(whole.output_bytes, delivered.output_bytes),
    )


def is_whole(answer: bytes, body: Infer.ReceiptBody) -> bool:
    """Whether a serialized Infer.Payload can be the answer that the receipt is about."""
    try:
        payload = Infer.Payload.FromString(answer)
    except DecodeError:
        return False
    if payload.WhichOneof("kind") != "text" or body.parameters.choices > 1:
        return True
    return len(payload.text.encode()) == body.end.bytes


def is_fault(outcome: State, error: str) -> bool:
    """Whether an end counts against the worker's model: its error begins with a reason that is nobody else's fault."""
    return outcome is not State.DONE and error.partition(":")[0] in FAULTS
