"""Leases of quota and the jobs that ran from them, as programs.

A lease holds quota in its tenant's account like a job does: what runs while the store is gone was taken from the
limit beforehand. A job that comes in later is paid from its lease's hold; what is left goes back when the lease ends.
Source: docs/design/design.md §5; Gray and Cheriton, "Leases", SOSP 1989.
"""

from collections.abc import Sequence
from typing import Any

from tether.errors import Reason, TetherError
from tether.job import price, quota
from tether.job.hold import Entry, Kind
from tether.store.jobs_books import Books, open_books
from tether.store.jobs_quota import Imported, Lease, Leased
from tether.store.jobs_row import imported_row, to_row
from tether.store.jobs_table import IMPORTED_JOB, JOBS, LEASES, OUTCOMES
from tether.store.jobs_type import JobRow, Refused, Settled
from tether.store.step import Fetch, Find, Insert, Mutex, Program

_MUTEX = 3  # an id is one lease, whoever names it
_OPEN = (
    f"SELECT {', '.join(LEASES.columns)} FROM leases WHERE open = 1 AND ($1 = '' OR node = $1) "  # noqa: S608
    "ORDER BY until_ms LIMIT $2"
)
_OVER = "SELECT lease FROM leases WHERE open = 1 AND until_ms < $1 ORDER BY until_ms LIMIT $2"


def lease(batch: Sequence[Lease]) -> Program[list[Leased | Refused]]:
    """Hold slices; see `JobStore.lease_quota`."""
    yield Mutex(_MUTEX)
    books = yield from open_books([asked.tenant for asked in batch])
    found = yield Find(LEASES, "lease", list({asked.lease for asked in batch}))
    rows: dict[bytes, tuple[Any, ...]] = {row[0]: tuple(row) for row in found}
    there = set(rows)
    results = [_lease_one(books, rows, asked) for asked in batch]
    new = [row for key, row in rows.items() if key not in there]
    yield from books.write(Insert(LEASES, new))
    return results


def _lease_one(books: Books, rows: dict[bytes, tuple[Any, ...]], asked: Lease) -> Leased | Refused:
    if asked.lease in rows:
        return _leased(rows[asked.lease], written=False)
    account = books.accounts[asked.tenant]
    tokens, micros = max(0, asked.tokens), max(0, asked.micros)
    refused = quota.lease(account, asked.limits, tokens, micros)
    if refused is not None:
        return Refused(refused)
    books.note(asked.lease, asked.tenant, 0, 0, [Entry(Kind.HOLD, tokens, 0, micros, 0)])
    row = (asked.lease, asked.tenant, asked.node, tokens, micros, account.day, asked.until_ms, 1, 1)
    rows[asked.lease] = row
    return _leased(row, written=True)


def settle(leases: Sequence[bytes], *, alone: bool) -> Program[list[Leased | Refused]]:
    """Give back what is left; see `JobStore.settle_lease`."""
    books, rows = yield from _locked(leases, alone=alone)
    results: list[Leased | Refused] = []
    for key in leases:
        row = rows.get(key)
        if row is None:
            results.append(Refused(TetherError(Reason.ACCESS_UNKNOWN, "There is no such lease of quota")))
            continue
        is_open = bool(row[7])
        if is_open:
            rows[key] = _take(books, row, row[3], row[4], closes=True)
        results.append(_leased(rows[key], written=is_open))
    yield from books.write()
    return results


def over(before_ms: int, limit: int, *, alone: bool) -> Program[int]:
    """Give back leases that nobody did, long after they were over; returns how many."""
    rows = yield Fetch(_OVER, (before_ms, limit))
    if rows:
        yield from settle([row[0] for row in rows], alone=alone)
    return len(rows)


def import_jobs(batch: Sequence[Imported]) -> Program[list[Settled]]:
    """Write jobs that ran from leases; see `JobStore.import_jobs`."""
    books = yield from open_books([job.subject.tenant for job in batch])
    wanted = list({job.lease for job in batch})
    rows: dict[bytes, tuple[Any, ...]] = {row[0]: tuple(row) for row in (yield Find(LEASES, "lease", wanted))}
    found = yield Find(JOBS, "job", list({job.subject.job for job in batch}))
    jobs = {row[1]: to_row(row) for row in found}
    new: list[tuple[Any, ...]] = []
    outcomes: list[tuple[Any, ...]] = []
    results = []
    for job in batch:
        there = jobs.get(job.subject.job)
        if there is None:
            there = jobs[job.subject.job] = _import_one(books, rows, job, new)
            outcomes.append((job.subject.job, job.receipt, None))
            results.append(Settled(there, written=True))
        else:
            results.append(Settled(there, written=False))
    yield from books.write(Insert(IMPORTED_JOB, new), Insert(OUTCOMES, outcomes))
    return results


def _import_one(books: Books, rows: dict[bytes, tuple[Any, ...]], job: Imported, new: list[tuple[Any, ...]]) -> JobRow:
    micros = price.cost(job.price, job.used)
    values = imported_row(job, micros)
    new.append(values)
    at = dict(zip(IMPORTED_JOB.columns, values, strict=True))
    row = to_row([at.get(column, 0) for column in JOBS.columns])
    lease_row = rows.get(job.lease)
    if lease_row is not None and lease_row[7] and lease_row[1] == job.subject.tenant:
        tokens, held = min(lease_row[3], job.used.tokens), min(lease_row[4], micros)
        rows[job.lease] = _take(books, lease_row, tokens, held, closes=False)
    books.pay(row, micros)
    return row


def _take(books: Books, row: tuple[Any, ...], tokens: int, micros: int, *, closes: bool) -> tuple[Any, ...]:
    """Release part of a lease's hold; returns its row."""
    key, tenant, node, held_tokens, held_micros, day, until_ms, is_open, entries = row
    entries = books.settle_lease(key, tenant, entries, (tokens, micros, day))
    left = (held_tokens - tokens, held_micros - micros)
    is_open = 0 if closes else is_open
    books.leases[key] = (*left, is_open, entries, key)
    return (key, tenant, node, *left, day, until_ms, is_open, entries)


def _locked(leases: Sequence[bytes], *, alone: bool) -> Program[tuple[Books, dict[bytes, tuple[Any, ...]]]]:
    found = yield Find(LEASES, "lease", list(set(leases)))
    books = yield from open_books(row[1] for row in found)
    if not alone and found:
        found = yield Find(LEASES, "lease", list(set(leases)))
    return books, {row[0]: tuple(row) for row in found}


def standing(node: str, limit: int) -> Program[list[Lease]]:
    """Open leases; see `JobStore.leases`."""
    return [_leased(row, written=False).lease for row in (yield Fetch(_OPEN, (node, limit)))]


def _leased(row: Sequence[Any], *, written: bool) -> Leased:
    key, tenant, node, tokens, micros, _day, until_ms, is_open, _entries = row
    return Leased(Lease(key, tenant, node, tokens, micros, until_ms), bool(is_open), written)
