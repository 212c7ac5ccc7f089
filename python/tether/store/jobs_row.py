"""Rows of the SQLite job store to domain values and back; names no rule."""

import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from tether.job.hold import Position
from tether.job.repeat import Standing
from tether.job.state import State, is_open
from tether.store.jobs import Driver, JobRow, Reservation, Subject, Worker

COLUMNS = (
    "number, job, tenant, correlation_id, retry_token, keyed, request_hash, model, version, digest, header, "
    "limit_tokens, state, epoch, after_epoch, attempts, entries, session, driver, worker, worker_incarnation, "
    "worker_address, seed, held_tokens, settled_input, settled_output, settled_bytes, created_ms, "
    "deadline_ms, ended_ms, error"
)
_SELECT = f"SELECT {COLUMNS} FROM jobs WHERE job = ?"  # noqa: S608 - no value is spliced in
_OUTCOME = "SELECT receipt, answer FROM outcomes WHERE job = ?"
INSERT = (
    "INSERT INTO jobs (job, tenant, correlation_id, retry_token, keyed, request_hash, model, version, digest, header, "
    "limit_tokens, held_tokens, session, driver, worker, worker_incarnation, worker_address, seed, deadline_ms, "
    "created_ms, state, epoch, after_epoch, attempts, settled_input, settled_output, settled_bytes, entries, error) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 1, 1, 0, 1, 0, 0, 0, 1, '')"
)
_SEED_SPAN = 1 << 64  # SQLite's integers are signed


def new_row(asked: Reservation, now_ms: int) -> tuple[Any, ...]:
    """Values for `INSERT`."""
    subject, driver, worker = asked.subject, asked.driver, asked.worker
    return (
        subject.job, subject.tenant, subject.correlation_id, subject.retry_token, subject.keyed, subject.request_hash,
        subject.model, subject.version, subject.digest, subject.header, subject.limit_tokens, subject.limit_tokens,
        driver.session, driver.node, worker.node, worker.incarnation, worker.address,
        signed(asked.seed), asked.deadline_ms, now_ms,
    )  # fmt: skip


def find_whole(connection: sqlite3.Connection, job: bytes) -> JobRow | None:
    """One job with receipt and answer, or None."""
    row = connection.execute(_SELECT, (job,)).fetchone()
    return whole(connection, row) if row is not None else None


def whole(connection: sqlite3.Connection, row: Sequence[Any]) -> JobRow:
    """A row of `COLUMNS` with its receipt and answer."""
    bare = to_row(row)
    if is_open(bare.state):
        return bare
    outcome = connection.execute(_OUTCOME, (bare.subject.job,)).fetchone()
    return replace(bare, receipt=outcome[0], answer=outcome[1]) if outcome is not None else bare


def to_row(row: Sequence[Any]) -> JobRow:
    """A row of `COLUMNS`."""
    (number, job, tenant, correlation_id, retry_token, keyed, request_hash, model, version, digest, header, limit,
     state, epoch, after_epoch, attempts, entries, session, driver, worker, incarnation, address, seed,
     held, settled_input, settled_output, settled_bytes, created_ms, deadline_ms, ended_ms, error) = row  # fmt: skip
    subject = Subject(
        job, tenant, correlation_id, retry_token, bool(keyed), request_hash, model, version, digest, header, limit
    )
    return JobRow(
        subject, number, State(state), epoch, after_epoch, attempts, entries, Driver(session, driver),
        Worker(worker, incarnation, address), seed % _SEED_SPAN, held,
        Position(settled_input, settled_output, settled_bytes), created_ms, deadline_ms, ended_ms, error,
    )  # fmt: skip


def standing(row: JobRow) -> Standing:
    """What the rules of repeats need of a row."""
    subject = row.subject
    return Standing(
        row.state, row.epoch, row.attempts, subject.keyed, subject.request_hash, subject.digest, row.driver.session
    )


def signed(seed: int) -> int:
    """A seed of 64 bits as SQLite keeps it."""
    return seed - _SEED_SPAN if seed >= _SEED_SPAN // 2 else seed
