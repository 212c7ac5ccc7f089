"""Dead letters, accounts and groups as messages of the contract."""

from tether.store.jobs import AccountRow, DeadLetter, LetterGroup, PastAttempt
from tether.v1 import control_pb2 as pb
from tether.v1.infer_pb2 import Infer
from tether_orchestrator.job_message import job_message


def letter_message(letter: DeadLetter, *, whole: bool) -> pb.DeadLetter:
    """A dead letter as operators see it.

    Args:
        letter: as the store has it.
        whole: with request and frame.
    """
    message = pb.DeadLetter(
        name=letter.name,
        job=job_message(letter.row.bare()) if letter.row is not None else None,
        reason=letter.reason,
        message=letter.message,
        attempts=[_attempt(one) for one in letter.attempts],
        trace_id=letter.trace_id,
        request=letter.request if whole else b"",
        frame=letter.frame if whole else b"",
        kept=letter.kept_bytes > 0,
        peer_id=letter.peer,
        requeues=letter.requeues,
    )
    message.created_at.FromMilliseconds(letter.created_ms)
    if letter.requeued_ms is not None:
        message.requeued_at.FromMilliseconds(letter.requeued_ms)
    return message


def _attempt(one: PastAttempt) -> pb.DeadAttempt:
    message = pb.DeadAttempt(
        epoch=one.epoch,
        worker_id=one.worker.node,
        worker_incarnation=one.worker.incarnation,
        fingerprint=one.fingerprint,
        gained=Infer.Position(tokens=one.gained.output_tokens, bytes=one.gained.output_bytes),
        error=one.error,
    )
    message.placed_at.FromMilliseconds(one.placed_ms)
    if one.ended_ms is not None:
        message.ended_at.FromMilliseconds(one.ended_ms)
    return message


def group_message(group: LetterGroup) -> pb.DeadLetterGroup:
    """A group of dead letters."""
    message = pb.DeadLetterGroup(by=group.by, value=group.value, count=group.count, example=group.example)
    message.first_at.FromMilliseconds(group.first_ms)
    message.last_at.FromMilliseconds(group.last_ms)
    return message


def account_message(row: AccountRow) -> pb.Account:
    """What a tenant holds and has used."""
    return pb.Account(
        tenant_id=row.tenant,
        open_jobs=row.open_jobs,
        held_tokens=row.held_tokens,
        input_tokens=row.settled_input,
        output_tokens=row.settled_output,
        tokens_today=row.day_tokens,
        spend_today_micros=row.day_micros,
        spend_micros=row.settled_micros,
    )
