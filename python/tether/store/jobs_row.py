"""Rows of the job store to domain values and back; names no rule."""

from collections.abc import Sequence
from dataclasses import fields
from operator import attrgetter
from typing import Any

from tether.job.hold import Position
from tether.job.price import Price
from tether.job.repeat import Standing
from tether.job.state import State
from tether.store.jobs_quota import Imported
from tether.store.jobs_type import Driver, JobRow, PastAttempt, Reservation, Subject, Worker

_STATES = {int(state): state for state in State}
_SEED_SPAN = 1 << 64  # integers of databases are signed
_AT = {field.name: at for at, field in enumerate(fields(JobRow))}
_FACTS = attrgetter(*_AT)
ERROR_CHARS_MAX = 1_024  # as placement.proto says


def new_row(asked: Reservation, held_micros: int, held_day: int, now_ms: int) -> tuple[Any, ...]:
    """Values for `NEW_JOB`."""
    subject, driver, worker, price = asked.subject, asked.driver, asked.worker, asked.price
    return (
        subject.job, subject.tenant, subject.correlation_id, subject.retry_token, int(subject.keyed),
        subject.request_hash, subject.model, subject.version, subject.digest, subject.header, subject.limit_tokens,
        driver.session, driver.node, worker.node, worker.incarnation, worker.address, signed(asked.seed),
        subject.limit_tokens, now_ms, asked.deadline_ms, asked.fingerprint, now_ms, price.version,
        price.input_micros, price.output_micros, held_micros, held_day,
    )  # fmt: skip


def imported_row(job: Imported, cost_micros: int) -> tuple[Any, ...]:
    """Values for `IMPORTED_JOB`: a job that is DONE."""
    subject, price, used = job.subject, job.price, job.used
    return (
        subject.job, subject.tenant, subject.correlation_id, subject.retry_token, int(subject.keyed),
        subject.request_hash, subject.model, subject.version, subject.digest, subject.header, subject.limit_tokens,
        bytes(16), job.gateway, job.worker, 0, "", signed(job.seed),
        0, job.began_ms, job.ended_ms, b"", job.began_ms, price.version,
        price.input_micros, price.output_micros, 0, 0, int(State.DONE), 1, 0, 1, 1,
        used.input_tokens, used.output_tokens, used.output_bytes, "", job.ended_ms, cost_micros,
    )  # fmt: skip


def to_row(row: Sequence[Any]) -> JobRow:
    """A row of `JOBS`."""
    (number, job, tenant, correlation_id, retry_token, keyed, request_hash, model, version, digest, header, limit,
     state, epoch, after_epoch, attempts, entries, session, driver, worker, incarnation, address, seed,
     held, settled_input, settled_output, settled_bytes, created_ms, deadline_ms, ended_ms, error,
     began_tokens, began_bytes, fingerprint, placed_ms, cause, raced, poison, alone, requeues,
     price_version, price_input, price_output, held_micros, held_day, cost_micros) = row  # fmt: skip
    subject = Subject(
        job, tenant, correlation_id, retry_token, bool(keyed), request_hash, model, version, digest, header, limit
    )
    return JobRow(
        subject, number, _STATES[state], epoch, after_epoch, attempts, entries, Driver(session, driver),
        Worker(worker, incarnation, address), seed % _SEED_SPAN, held,
        Position(settled_input, settled_output, settled_bytes), created_ms, deadline_ms, ended_ms, error,
        position=Position(0, began_tokens, began_bytes), fingerprint=fingerprint, placed_ms=placed_ms, cause=cause,
        raced_epoch=raced, poison=poison, alone=bool(alone), requeues=requeues,
        price=Price(price_version, price_input, price_output), held_micros=held_micros, held_day=held_day,
        cost_micros=cost_micros,
    )  # fmt: skip


def next_row(row: JobRow) -> tuple[Any, ...]:
    """Values for `NEXT_ATTEMPT`."""
    driver, worker, began = row.driver, row.worker, row.position
    return (
        int(row.state), row.epoch, row.after_epoch, row.attempts, row.entries, driver.session, driver.node,
        worker.node, worker.incarnation, worker.address, row.held_tokens, row.held_micros, row.held_day,
        row.deadline_ms, row.ended_ms, row.error, began.output_tokens, began.output_bytes, row.fingerprint,
        row.placed_ms, row.cause, row.raced_epoch, row.poison, int(row.alone), row.requeues, row.subject.job,
    )  # fmt: skip


def end_row(row: JobRow) -> tuple[Any, ...]:
    """Values for `END`."""
    paid = row.settled
    return (
        int(row.state), row.held_tokens, row.held_micros, paid.input_tokens, paid.output_tokens, paid.output_bytes,
        row.cost_micros, row.entries, row.ended_ms, row.error, row.subject.job,
    )  # fmt: skip


def past_row(row: JobRow, reached: Position, error: str, now_ms: int) -> tuple[Any, ...]:
    """Values for `ATTEMPTS`: the newest attempt of a row, which is about to be followed by another."""
    worker, began = row.worker, row.position
    return (
        row.subject.job, row.epoch, worker.node, worker.incarnation, worker.address, row.fingerprint,
        began.output_tokens, began.output_bytes, max(0, reached.output_tokens - began.output_tokens),
        max(0, reached.output_bytes - began.output_bytes), row.cause, error, int(row.raced_epoch != 0),
        row.placed_ms, now_ms,
    )  # fmt: skip


def to_past(row: Sequence[Any]) -> PastAttempt:
    """A row of `ATTEMPTS`."""
    (_job, epoch, worker, incarnation, address, fingerprint, began_tokens, began_bytes, gained_tokens, gained_bytes,
     cause, error, raced, placed_ms, ended_ms) = row  # fmt: skip
    return PastAttempt(
        epoch, Worker(worker, incarnation, address), fingerprint, Position(0, began_tokens, began_bytes),
        Position(0, gained_tokens, gained_bytes), cause, error, bool(raced), placed_ms, ended_ms,
    )  # fmt: skip


def newest(row: JobRow) -> PastAttempt:
    """The newest attempt of a row."""
    began, paid = row.position, row.settled
    gained = Position(
        0, max(0, paid.output_tokens - began.output_tokens), max(0, paid.output_bytes - began.output_bytes)
    )
    return PastAttempt(
        row.epoch, row.worker, row.fingerprint, began, gained if row.ended_ms is not None else Position(), row.cause,
        row.error, row.raced_epoch != 0, row.placed_ms, row.ended_ms,
    )  # fmt: skip


def changed(row: JobRow, **facts: object) -> JobRow:
    """The row with some facts changed: `dataclasses.replace` in a third of its time, on the way of every end."""
    values = list(_FACTS(row))
    for name, value in facts.items():
        values[_AT[name]] = value
    return JobRow(*values)


def with_outcome(row: JobRow, outcome: Sequence[Any] | None) -> JobRow:
    """The row with a row of `OUTCOMES`, where there is one."""
    return row if outcome is None else changed(row, receipt=outcome[1], answer=outcome[2])


def standing(row: JobRow) -> Standing:
    """What the rules of repeats need of a row."""
    subject = row.subject
    return Standing(
        row.state, row.epoch, row.attempts, subject.keyed, subject.request_hash, subject.digest, row.driver.session,
        row.requeues,
    )  # fmt: skip


def signed(seed: int) -> int:
    """A seed of 64 bits as databases keep it."""
    return seed - _SEED_SPAN if seed >= _SEED_SPAN // 2 else seed


def plain(text: str) -> str:
    """Text that every database keeps: without NUL, not longer than an error may be."""
    return text.replace("\0", "")[:ERROR_CHARS_MAX]
