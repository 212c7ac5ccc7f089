"""Cursors: where a reader stands, as it comes back in `continuation`. Pure.

Nobody signs a cursor, and nothing is granted by one: a forged place can only make its own reader diverge. It must still
be one that could have been given out, so that nonsense is named at once.
Source: docs/design/streams.md §4, infer.proto (`Infer.Cursor`).
"""

from dataclasses import dataclass

from google.protobuf.message import DecodeError

from tether._native import Chain
from tether.errors import Reason, TetherError
from tether.job.key import JOB_ID_BYTES
from tether.v1 import infer_pb2

CURSOR_BYTES_MAX = 256  # 16 and 103 of them are job and chain; the rest are four numbers
TOKEN_BYTES = 4  # of a token id in the chain
POSITION_MAX = 1 << 48  # beyond any answer; keeps sums far from overflow


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in a job's answer.

    Attributes:
        job: 16 bytes.
        epoch: attempt that it was reached in, from 1.
        tokens: tokens before it.
        text_bytes: bytes before it.
        chain_state: state of the chain there; empty at 0.
        raw: serialized `Infer.Cursor`.
    """

    job: bytes
    epoch: int
    tokens: int
    text_bytes: int
    chain_state: bytes
    raw: bytes


def parse(continuation: bytes) -> Cursor:
    """Read a cursor.

    Raises:
        TetherError: CURSOR_INVALID for what this network never gave out.
    """
    if len(continuation) > CURSOR_BYTES_MAX:
        raise _invalid("is too long")
    try:
        found = infer_pb2.Infer.Cursor.FromString(continuation)
    except DecodeError as fault:
        raise _invalid("is no cursor") from fault
    at = found.position
    if len(found.job_id) != JOB_ID_BYTES or not found.epoch:
        raise _invalid("names no attempt of a job")
    if max(at.tokens, at.bytes) > POSITION_MAX:
        raise _invalid("is beyond any answer")
    _check_chain(found.chain_state, at.tokens, at.bytes)
    return Cursor(found.job_id, found.epoch, at.tokens, at.bytes, found.chain_state, continuation)


def digest_of(cursor: Cursor) -> bytes:
    """Digest of the chain at a cursor, 32 bytes."""
    return (Chain.resume(cursor.chain_state) if cursor.chain_state else Chain()).digest()


def _check_chain(state: bytes, tokens: int, text_bytes: int) -> None:
    """The chain is over so many token ids; or, of an answer without tokens, over so many bytes."""
    try:
        length = Chain.resume(state).length if state else 0
    except ValueError as fault:
        raise _invalid("has no chain") from fault
    if length != (TOKEN_BYTES * tokens or text_bytes):
        raise _invalid("has a chain of another place")


def _invalid(what: str) -> TetherError:
    return TetherError(Reason.CURSOR_INVALID, f"The continuation {what}.", field="continuation")
