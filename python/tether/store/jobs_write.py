"""The writes of the SQLite job store, each over a batch inside a transaction that the executor opens and commits.

New keys are the rule and repeats the exception: a group is inserted blindly, and only when a key collides does it go
again row by row, reading first.
"""

import sqlite3
from collections.abc import Sequence
from dataclasses import replace

from tether.errors import Reason, TetherError
from tether.job import hold, outcome, repeat
from tether.job.outcome import Verdict
from tether.job.repeat import Answer
from tether.store.jobs import (
    ANSWER_BYTES_MAX,
    Attempt,
    Completion,
    Existing,
    JobRow,
    Refused,
    Reservation,
    Reserved,
    Settled,
)
from tether.store.jobs_account import Books
from tether.store.jobs_row import INSERT, find_whole, new_row, standing

_RERUN = (
    "UPDATE jobs SET state = 1, epoch = epoch + 1, after_epoch = 0, attempts = attempts + 1, session = ?, driver = ?, "
    "worker = ?, worker_incarnation = ?, worker_address = ?, held_tokens = ?, entries = ?, deadline_ms = ?, "
    "ended_ms = NULL, error = '' WHERE job = ?"
)
_ATTEMPT = (
    "UPDATE jobs SET epoch = epoch + 1, after_epoch = ?, attempts = attempts + 1, session = ?, driver = ?, worker = ?, "
    "worker_incarnation = ?, worker_address = ? WHERE job = ?"
)
_END = (
    "UPDATE jobs SET state = ?, held_tokens = 0, settled_input = ?, settled_output = ?, settled_bytes = ?, "
    "entries = ?, ended_ms = ?, error = ? WHERE job = ?"
)
_OUTCOME = "INSERT INTO outcomes (job, receipt, answer) VALUES (?, ?, ?)"
_FORGET = "DELETE FROM outcomes WHERE job = ?"


def reserve(
    connection: sqlite3.Connection, batch: Sequence[Reservation], now_ms: int
) -> list[Reserved | Existing | Refused]:
    """Reserve a batch; see `JobStore.reserve`."""
    connection.execute("SAVEPOINT blind")
    try:
        connection.executemany(INSERT, [new_row(asked, now_ms) for asked in batch])
    except sqlite3.IntegrityError:
        connection.execute("ROLLBACK TO blind")
        return _reserve_reading(connection, batch, now_ms)
    finally:
        connection.execute("RELEASE blind")
    books = Books(now_ms)
    for asked in batch:
        _open(books, asked)
    books.write(connection)
    return [Reserved(1, asked.seed) for asked in batch]


def _reserve_reading(
    connection: sqlite3.Connection, batch: Sequence[Reservation], now_ms: int
) -> list[Reserved | Existing | Refused]:
    books = Books(now_ms)
    results = [_reserve_one(connection, books, asked, now_ms) for asked in batch]
    books.write(connection)
    return results


def _reserve_one(
    connection: sqlite3.Connection, books: Books, asked: Reservation, now_ms: int
) -> Reserved | Existing | Refused:
    row = find_whole(connection, asked.subject.job)
    if row is None:
        connection.execute(INSERT, new_row(asked, now_ms))
        _open(books, asked)
        return Reserved(1, asked.seed)
    answer = repeat.on_reserve(standing(row), asked.subject.request_hash, asked.subject.digest)
    if answer is not Answer.RUN:
        return _no_run(answer, row)
    _rerun(connection, books, row, asked)
    return Reserved(row.epoch + 1, row.seed)


def _open(books: Books, asked: Reservation) -> None:
    subject = asked.subject
    books.note(subject.job, subject.tenant, 1, 0, hold.opening(subject.limit_tokens))


def _rerun(connection: sqlite3.Connection, books: Books, row: JobRow, asked: Reservation) -> None:
    job, driver, worker = row.subject.job, asked.driver, asked.worker
    held = hold.hold(row.subject.limit_tokens, row.settled)
    entries = books.note(job, row.subject.tenant, row.epoch + 1, row.entries, hold.opening(held))
    where = (driver.session, driver.node, worker.node, worker.incarnation, worker.address)
    connection.execute(_RERUN, (*where, held, entries, asked.deadline_ms, job))
    connection.execute(_FORGET, (job,))


def attempt(connection: sqlite3.Connection, batch: Sequence[Attempt]) -> list[Reserved | Existing | Refused]:
    """Raise epochs; see `JobStore.attempt`."""
    return [_attempt_one(connection, asked) for asked in batch]


def _attempt_one(connection: sqlite3.Connection, asked: Attempt) -> Reserved | Existing | Refused:
    row = find_whole(connection, asked.job)
    if row is None:
        return Refused(_unknown())
    answer = repeat.on_attempt(standing(row), asked.request_hash, asked.of_session, asked.after_epoch)
    if answer is not Answer.RUN:
        return _no_run(answer, row)
    driver, worker = asked.driver, asked.worker
    where = (driver.session, driver.node, worker.node, worker.incarnation, worker.address)
    connection.execute(_ATTEMPT, (asked.after_epoch, *where, asked.job))
    return Reserved(row.epoch + 1, row.seed)


def complete(connection: sqlite3.Connection, batch: Sequence[Completion], now_ms: int) -> list[Settled | Refused]:
    """Write outcomes; see `JobStore.complete`."""
    books = Books(now_ms)
    results = [_complete_one(connection, books, asked, now_ms) for asked in batch]
    books.write(connection)
    return results


def _complete_one(connection: sqlite3.Connection, books: Books, asked: Completion, now_ms: int) -> Settled | Refused:
    row = find_whole(connection, asked.job)
    if row is None:
        return Refused(_unknown())
    if asked.worker and asked.epoch == row.epoch and asked.worker != row.worker.node:
        return Refused(TetherError(Reason.ROLE_FORBIDDEN, "The attempt runs on another worker"))
    verdict = outcome.decide(row.state, row.epoch, asked.outcome, asked.epoch)
    if verdict is Verdict.UNKNOWN:
        return Refused(TetherError(Reason.STALE_EPOCH, f"Attempt {asked.epoch} of the job was never made"))
    if verdict is Verdict.WRITE:
        return Settled(_end(connection, books, row, asked, now_ms), written=True)
    return Settled(row, written=False)


def _end(connection: sqlite3.Connection, books: Books, row: JobRow, asked: Completion, now_ms: int) -> JobRow:
    due = hold.beyond(row.settled, asked.used)
    paid, answer = hold.add(row.settled, due), _kept(row, asked)
    entries = books.note(asked.job, row.subject.tenant, row.epoch, row.entries, hold.closing(row.held_tokens, due))
    books.bill(row, due)
    settled = (paid.input_tokens, paid.output_tokens, paid.output_bytes)
    connection.execute(_END, (int(asked.outcome), *settled, entries, now_ms, asked.error, asked.job))
    connection.execute(_OUTCOME, (asked.job, asked.receipt, answer))
    ended = replace(row, state=asked.outcome, held_tokens=0, settled=paid, entries=entries, ended_ms=now_ms)
    return replace(ended, error=asked.error, receipt=asked.receipt, answer=answer)


def _kept(row: JobRow, asked: Completion) -> bytes | None:
    """The answer, where the job is keyed and it is not too long."""
    if not row.subject.keyed or asked.answer is None or len(asked.answer) > ANSWER_BYTES_MAX:
        return None
    return asked.answer


def _no_run(answer: Answer, row: JobRow) -> Existing | Refused:
    if answer is Answer.CONFLICT:
        return Refused(TetherError(Reason.JOB_CONFLICT, "The key of this job names another request"))
    if answer is Answer.EXHAUSTED:
        return Refused(TetherError(Reason.JOB_FAILED, f"The job was attempted {repeat.ATTEMPTS_MAX} times"))
    return Existing(row)


def _unknown() -> TetherError:
    return TetherError(Reason.JOB_UNKNOWN, "There is no such job")
