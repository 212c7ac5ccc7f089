"""The writes of the job store, each a program over a batch inside one transaction.

New keys are the rule and repeats the exception: a group is inserted blindly, and only when a key collides does it go
again row by row, reading first.
"""

from collections.abc import Sequence
from dataclasses import replace

from tether.errors import Reason, TetherError
from tether.job import hold, outcome, poison, price, repeat
from tether.job.commit import over
from tether.job.hold import Position
from tether.job.outcome import Verdict
from tether.job.poison import Cause
from tether.job.repeat import Answer
from tether.job.state import State, is_open
from tether.store import jobs_letters
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
from tether.store.jobs_books import Books, open_books
from tether.store.jobs_letter import Requeue
from tether.store.jobs_row import changed, new_row, past_row, plain, standing, to_row, with_outcome
from tether.store.jobs_table import ATTEMPTS, JOB_OWNER, JOBS, NEW_JOB, OUTCOMES
from tether.store.step import Blind, Fetch, Find, Insert, Now, Program

OVERDUE_MS = 60_000  # a worker or a driver may still commit a job this long after its deadline
_CAUSES = frozenset(Cause)
Rows = dict[bytes, JobRow]


def find(jobs: Sequence[bytes]) -> Program[Rows]:
    """Jobs with receipts and answers, by id."""
    rows = [to_row(row) for row in (yield Find(JOBS, "job", jobs))]
    ended = [row.subject.job for row in rows if not is_open(row.state)]
    found = (yield Find(OUTCOMES, "job", ended)) if ended else []
    outcomes = {one[0]: one for one in found}
    return {row.subject.job: with_outcome(row, outcomes.get(row.subject.job)) for row in rows}


def locked(jobs: Sequence[bytes], *, alone: bool) -> Program[tuple[Books, Rows]]:
    """The books of whoever pays for these jobs, and the jobs as they stand then.

    Args:
        jobs: ids.
        alone: whether nobody else writes, so that what was read before the lock still holds.
    """
    if alone:
        rows = yield from find(jobs)
        return (yield from open_books(row.subject.tenant for row in rows.values())), rows
    owners = yield Find(JOB_OWNER, "job", jobs)
    books = yield from open_books(tenant for _job, tenant in owners)
    return books, ((yield from find(jobs)) if owners else {})


def reserve(batch: Sequence[Reservation]) -> Program[list[Reserved | Existing | Refused]]:
    """Reserve a batch; see `JobStore.reserve`."""
    books = yield from open_books([asked.subject.tenant for asked in batch])
    jobs = {asked.subject.job for asked in batch}
    new: list[tuple[object, ...]] = []
    if len(jobs) == len(batch):
        results: list[Reserved | Existing | Refused] = [_open(books, asked, new) for asked in batch]
        if (yield Blind(NEW_JOB, new, books.steps().steps)):
            return (yield from _met(batch, results))
        books, new = books.anew(), []
    rows = yield from find(list(jobs))
    results = [_reserve_one(books, rows, asked, new) for asked in batch]
    yield from books.write(Insert(NEW_JOB, new))
    return results


def _met(
    batch: Sequence[Reservation], results: list[Reserved | Existing | Refused]
) -> Program[list[Reserved | Existing | Refused]]:
    """A repeat asks for no room: what is refused gets its job, where that is there."""
    refused = [asked.subject.job for asked, result in zip(batch, results, strict=True) if isinstance(result, Refused)]
    rows = (yield from find(refused)) if refused else {}
    return [
        _repeated(rows[asked.subject.job], asked, result) if asked.subject.job in rows else result
        for asked, result in zip(batch, results, strict=True)
    ]


def _repeated(row: JobRow, asked: Reservation, refused: Reserved | Existing | Refused) -> Reserved | Existing | Refused:
    subject = asked.subject
    answer = repeat.on_reserve(standing(row), subject.request_hash, subject.digest, resumed=asked.resumed)
    return refused if answer is Answer.RUN else _no_run(answer, row)


def _open(books: Books, asked: Reservation, new: list[tuple[object, ...]]) -> Reserved | Refused:
    subject = asked.subject
    held = books.admit(asked, subject.limit_tokens, asked.price)
    if isinstance(held, TetherError):
        return Refused(held)
    micros, day = held
    new.append(new_row(asked, micros, day, books.now_ms))
    books.note_hold(subject.job, subject.tenant, subject.limit_tokens, micros)
    return Reserved(1, asked.seed)


def _reserve_one(
    books: Books, rows: Rows, asked: Reservation, new: list[tuple[object, ...]]
) -> Reserved | Existing | Refused:
    row = rows.get(asked.subject.job)
    if row is None:
        opened = _open(books, asked, new)
        if isinstance(opened, Reserved):
            rows[asked.subject.job] = to_row(_as_read(new[-1]))
        return opened
    subject = asked.subject
    answer = repeat.on_reserve(standing(row), subject.request_hash, subject.digest, resumed=asked.resumed)
    if answer is not Answer.RUN:
        return _no_run(answer, row)
    return _rerun(books, rows, row, asked)


def _as_read(new: tuple[object, ...]) -> list[object]:
    """A row of `JOBS` as it will be read."""
    values = {"state": 1, "epoch": 1, "attempts": 1, "entries": 1, "error": ""}
    values |= dict(zip(NEW_JOB.columns, new, strict=True))
    return [values.get(column, 0 if column != "ended_ms" else None) for column in JOBS.columns]


def _rerun(books: Books, rows: Rows, row: JobRow, asked: Reservation) -> Reserved | Refused:
    """Hold again for a job that had ended, as its next attempt from the beginning."""
    job, tokens = row.subject.job, hold.hold(row.subject.limit_tokens, row.settled)
    held = books.admit(replace(asked, subject=row.subject), tokens, row.price)
    if isinstance(held, TetherError):
        return Refused(held)
    micros, day = held
    entries = books.note(job, row.subject.tenant, row.epoch + 1, row.entries, hold.opening(tokens, micros))
    books.attempts.append(past_row(row, row.settled, row.error, row.ended_ms or books.now_ms))
    after = replace(
        row, state=State.RESERVED, epoch=row.epoch + 1, after_epoch=0, attempts=row.attempts + 1, entries=entries,
        driver=asked.driver, worker=asked.worker, held_tokens=tokens, held_micros=micros, held_day=day,
        deadline_ms=asked.deadline_ms, ended_ms=None, error="", receipt=b"", answer=None, position=Position(),
        fingerprint=asked.fingerprint, placed_ms=books.now_ms, cause=int(Cause.NEW), raced_epoch=0,
    )  # fmt: skip
    rows[job] = after
    books.rerun(after)
    return Reserved(after.epoch, row.seed)


def requeue(batch: Sequence[Requeue], *, alone: bool) -> Program[list[Reserved | Existing | Refused]]:
    """Take dead jobs back; see `JobStore.requeue`."""
    books, rows = yield from locked([asked.job for asked in batch], alone=alone)
    results = [_requeue_one(books, rows, asked) for asked in batch]
    yield from books.write()
    back = [asked.job for asked, result in zip(batch, results, strict=True) if isinstance(result, Reserved)]
    yield from jobs_letters.requeued(back, books.now_ms)
    return results


def _requeue_one(books: Books, rows: Rows, asked: Requeue) -> Reserved | Existing | Refused:
    row = rows.get(asked.job)
    if row is None:
        return Refused(_unknown())
    if row.state is not State.DEAD:
        return Existing(row)
    fresh = replace(row, requeues=row.requeues + 1, poison=0, alone=False)
    as_new = Reservation(
        row.subject, asked.driver, asked.worker, row.seed, asked.deadline_ms, asked.limits, row.price, asked.fingerprint
    )
    return _rerun(books, rows, fresh, as_new)


def attempt(batch: Sequence[Attempt], *, alone: bool) -> Program[list[Reserved | Existing | Refused]]:
    """Raise epochs; see `JobStore.attempt`."""
    books, rows = yield from locked(list({asked.job for asked in batch}), alone=alone)
    results = [_attempt_one(books, rows, asked) for asked in batch]
    yield from books.write()
    return results


def _attempt_one(books: Books, rows: Rows, asked: Attempt) -> Reserved | Existing | Refused:
    row = rows.get(asked.job)
    if row is None:
        return Refused(_unknown())
    answer = repeat.on_attempt(standing(row), asked.request_hash, asked.of_session, asked.after_epoch)
    if answer is not Answer.RUN:
        return _no_run(answer, row)
    cause = Cause(asked.cause) if asked.cause in _CAUSES else Cause.UNSPECIFIED
    books.attempts.append(past_row(row, asked.position, plain(asked.error), books.now_ms))
    after = replace(
        row, epoch=row.epoch + 1, after_epoch=asked.after_epoch, attempts=row.attempts + 1, driver=asked.driver,
        worker=asked.worker, position=replace(asked.position, input_tokens=0), fingerprint=asked.fingerprint,
        placed_ms=books.now_ms, cause=int(cause), raced_epoch=asked.after_epoch if asked.race else 0,
        poison=row.poison + poison.is_point(cause, row.position, asked.position), alone=asked.alone,
    )  # fmt: skip
    rows[asked.job] = after
    books.follow(after)
    return Reserved(after.epoch, row.seed)


def complete(batch: Sequence[Completion], *, alone: bool) -> Program[list[Settled | Refused]]:
    """Write outcomes; see `JobStore.complete`."""
    books, rows = yield from locked(list({asked.job for asked in batch}), alone=alone)
    racers = yield from _racers(batch, rows)
    results = [_complete_one(books, rows, racers, asked) for asked in batch]
    yield from books.write()
    graves = [
        (result.row, asked)
        for result, asked in zip(results, batch, strict=True)
        if asked.outcome is State.DEAD and isinstance(result, Settled) and result.written
    ]
    if graves:
        yield from jobs_letters.bury(graves, books.now_ms)
    return results


def _racers(batch: Sequence[Completion], rows: Rows) -> Program[dict[bytes, str]]:
    """Workers of attempts that run beside the newest ones."""
    raced = [asked.job for asked in batch if asked.job in rows and rows[asked.job].raced_epoch]
    found = (yield Find(ATTEMPTS, "job", raced)) if raced else []
    return {row[0]: row[2] for row in found if row[1] == rows[row[0]].raced_epoch}


def _complete_one(books: Books, rows: Rows, racers: dict[bytes, str], asked: Completion) -> Settled | Refused:
    row = rows.get(asked.job)
    if row is None:
        return Refused(_unknown())
    raced = asked.epoch != 0 and asked.epoch == row.raced_epoch
    runs_on = racers.get(asked.job, "") if raced else row.worker.node
    if asked.worker and (raced or asked.epoch == row.epoch) and asked.worker != runs_on:
        return Refused(TetherError(Reason.ROLE_FORBIDDEN, "The attempt runs on another worker"))
    driver = asked.gateway is None or asked.gateway == row.driver.node
    verdict = outcome.decide(
        row.state, row.epoch, asked.outcome, asked.epoch, raced_epoch=row.raced_epoch, driver=driver
    )
    if verdict is Verdict.UNKNOWN:
        return Refused(TetherError(Reason.STALE_EPOCH, f"Attempt {asked.epoch} of the job was never made"))
    if verdict in (Verdict.WRITE, Verdict.LATE) and not hold.within(row.subject.limit_tokens, asked.used):
        return Refused(over(row.subject.limit_tokens, asked.used))
    if verdict is Verdict.WRITE or (verdict is Verdict.LATE and asked.receipt):
        rows[asked.job] = (_end if verdict is Verdict.WRITE else _end_late)(books, row, asked)
        return Settled(rows[asked.job], written=True)
    return Settled(row, written=False)


def _end(books: Books, row: JobRow, asked: Completion) -> JobRow:
    due = hold.beyond(row.settled, asked.used)
    paid = hold.add(row.settled, due)
    micros = price.cost(row.price, paid) - row.cost_micros
    ended = changed(
        row, state=asked.outcome, held_tokens=0, held_micros=0, settled=paid, cost_micros=row.cost_micros + micros,
        entries=books.close_hold(row, due, micros), ended_ms=books.now_ms, error=plain(asked.error),
        receipt=asked.receipt, answer=_kept(row, asked),
    )  # fmt: skip
    books.end(ended)
    return ended


def _end_late(books: Books, row: JobRow, asked: Completion) -> JobRow:
    """An answer of the attempt that was given up: its hold is gone, what lies beyond what was paid is due."""
    due = hold.beyond(row.settled, asked.used)
    paid = hold.add(row.settled, due)
    micros = price.cost(row.price, paid) - row.cost_micros
    ended = changed(
        row, state=asked.outcome, settled=paid, cost_micros=row.cost_micros + micros,
        entries=books.settle_late(row, due, micros), ended_ms=books.now_ms, error="", receipt=asked.receipt,
        answer=_kept(row, asked),
    )  # fmt: skip
    books.end_late(ended)
    return ended


def _kept(row: JobRow, asked: Completion) -> bytes | None:
    """The answer, where the job is keyed and it is not too long."""
    if not row.subject.keyed or asked.answer is None or len(asked.answer) > ANSWER_BYTES_MAX:
        return None
    return asked.answer


def expire(limit: int, *, alone: bool) -> Program[int]:
    """Abandon jobs whose driver and worker are both silent past the deadline; see `JobStore.expire`."""
    before_ms = (yield Now()) - OVERDUE_MS
    query = "SELECT job FROM jobs WHERE state = 1 AND deadline_ms < $1 ORDER BY deadline_ms LIMIT $2"
    rows = yield Fetch(query, (before_ms, limit))
    if not rows:
        return 0
    why = "DEADLINE: nobody ended the job"
    asked = [Completion(row[0], 0, State.ABANDONED, Position(), error=why) for row in rows]
    results = yield from complete(asked, alone=alone)
    return sum(isinstance(result, Settled) and result.written for result in results)


def _no_run(answer: Answer, row: JobRow) -> Existing | Refused:
    if answer is Answer.CONFLICT:
        return Refused(TetherError(Reason.JOB_CONFLICT, "The key of this job names another request"))
    if answer is Answer.EXHAUSTED:
        return Refused(TetherError(Reason.JOB_FAILED, f"The job was attempted {row.attempts} times"))
    return Existing(row)


def _unknown() -> TetherError:
    return TetherError(Reason.JOB_UNKNOWN, "There is no such job")
