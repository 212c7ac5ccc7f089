"""What a group of writes changes, gathered in memory and then written at once.

A hot tenant's account is one row; touching it once per group instead of once per job keeps it from being the limit. Its
tenants are locked first, so what is decided here holds when it is written.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from tether.errors import TetherError
from tether.job import hold, price, quota
from tether.job.hold import Entry, Kind, Position
from tether.job.price import Price
from tether.job.quota import Account, Due
from tether.store.jobs_row import end_row, next_row
from tether.store.jobs_table import (
    ACCOUNT_SET,
    ATTEMPTS,
    END,
    LEASE_SET,
    LEDGER,
    NEXT_ATTEMPT,
    OUTCOME_SET,
    OUTCOMES,
    USAGE,
)
from tether.store.jobs_type import JobRow, Reservation
from tether.store.step import Delete, Insert, Lock, Program, Together, Update

_HOLD = int(Kind.HOLD)


class Books:
    """Accounts that are locked, and rows to write.

    Args:
        accounts: rows of `ACCOUNTS`.
        now_ms: time of the group, milliseconds since the Unix epoch.
    """

    def __init__(self, accounts: Sequence[Sequence[Any]], now_ms: int) -> None:
        self._read = accounts
        self.now_ms = now_ms
        self.accounts = {row[0]: Account(*row) for row in accounts}
        for account in self.accounts.values():
            quota.turn(account, now_ms)
        self._ledger: list[tuple[Any, ...]] = []
        self._usage: list[tuple[Any, ...]] = []
        self._next: dict[bytes, JobRow] = {}
        self._ends: dict[bytes, JobRow] = {}
        self._outcomes: dict[bytes, tuple[Any, ...]] = {}
        self._late: dict[bytes, tuple[Any, ...]] = {}
        self._forgotten: list[bytes] = []
        self.attempts: list[tuple[Any, ...]] = []
        self.leases: dict[bytes, tuple[Any, ...]] = {}

    def anew(self) -> "Books":
        """The same accounts, as they were read."""
        return Books(self._read, self.now_ms)

    def admit(self, asked: Reservation, tokens: int, of_price: Price) -> tuple[int, int] | TetherError:
        """Hold for a job.

        Args:
            asked: the job and its tenant's limits.
            tokens: what it may use at most.
            of_price: what it pays.

        Returns:
            Micros that are held and the day, or why it is refused.
        """
        account = self.accounts[asked.subject.tenant]
        micros = price.most(of_price, tokens)
        refused = quota.admit(account, asked.limits, tokens, micros)
        return refused if refused is not None else (micros, account.day)

    def note(self, job: bytes, tenant: str, epoch: int, first: int, entries: Iterable[Entry]) -> int:
        """Add ledger rows of a job or lease, whose first number is `first`; returns the next number."""
        for entry in entries:
            self._ledger.append(
                (job, first, tenant, epoch, int(entry.kind), entry.held, entry.settled, entry.held_micros,
                 entry.settled_micros, self.now_ms)
            )  # fmt: skip
            first += 1
        return first

    def note_hold(self, job: bytes, tenant: str, tokens: int, micros: int) -> None:
        """Add the first ledger row of a new job: what `note` of `hold.opening` adds, on the way that is taken most."""
        self._ledger.append((job, 0, tenant, 1, _HOLD, tokens, 0, micros, 0, self.now_ms))

    def close_hold(self, row: JobRow, due: Position, micros: int) -> int:
        """Release a job's hold and settle what is due; returns the number of the next ledger row."""
        subject = row.subject
        entries = hold.closing(row.held_tokens, due, row.held_micros, micros)
        account = self.accounts[subject.tenant]
        account.open_jobs -= 1
        held = (row.held_tokens, row.held_micros, row.held_day)
        quota.settle(account, held, Due(due.input_tokens, due.output_tokens, micros))
        self.bill(row, due, micros)
        return self.note(subject.job, subject.tenant, row.epoch, row.entries, entries)

    def bill(self, row: JobRow, due: Position, micros: int) -> None:
        """Add a usage row, where anything is due."""
        if due == Position():
            return
        subject = row.subject
        self._usage.append(
            (subject.tenant, subject.job, row.epoch, subject.model, subject.version, due.input_tokens,
             due.output_tokens, due.output_bytes, row.price.version, micros, self.now_ms)
        )  # fmt: skip

    def settle_late(self, row: JobRow, due: Position, micros: int) -> int:
        """Settle what a job used whose hold is gone already; returns the number of the next ledger row."""
        if due == Position():
            return row.entries
        account = self.accounts[row.subject.tenant]
        quota.settle(account, (0, 0, -1), Due(due.input_tokens, due.output_tokens, micros))
        account.day_tokens += due.tokens
        account.day_micros += micros
        self.bill(row, due, micros)
        entry = Entry(Kind.SETTLE, 0, due.tokens, 0, micros)
        return self.note(row.subject.job, row.subject.tenant, row.epoch, row.entries, [entry])

    def settle_lease(self, lease: bytes, tenant: str, first: int, held: tuple[int, int, int]) -> int:
        """Release part of a lease's hold (tokens, micros, day); returns the number of the next ledger row."""
        quota.settle(self.accounts[tenant], held, Due())
        return self.note(lease, tenant, 0, first, [Entry(Kind.RELEASE, -held[0], 0, -held[1], 0)])

    def pay(self, row: JobRow, micros: int) -> None:
        """Settle a job that had no hold of its own."""
        due = row.settled
        quota.settle(self.accounts[row.subject.tenant], (0, 0, -1), Due(due.input_tokens, due.output_tokens, micros))
        account = self.accounts[row.subject.tenant]
        account.day_tokens += due.tokens
        account.day_micros += micros
        self.bill(row, due, micros)
        self.note(row.subject.job, row.subject.tenant, 1, 0, [Entry(Kind.SETTLE, 0, due.tokens, 0, micros)])

    def follow(self, row: JobRow) -> None:
        """Another attempt of a job: the row as it becomes."""
        self._next[row.subject.job] = row

    def rerun(self, row: JobRow) -> None:
        """Another attempt of a job that had ended."""
        self.follow(row)
        self._forgotten.append(row.subject.job)

    def end(self, row: JobRow) -> None:
        """An end of a job: the row as it becomes, with receipt and answer."""
        job = row.subject.job
        self._ends[job] = row
        self._outcomes[job] = (job, row.receipt, row.answer)

    def end_late(self, row: JobRow) -> None:
        """The answer of a job that had been given up: the row as it becomes."""
        job = row.subject.job
        self._ends[job] = row
        if job in self._outcomes:
            self._outcomes[job] = (job, row.receipt, row.answer)
        else:
            self._late[job] = (row.receipt, row.answer, job)

    def outcome(self, row: JobRow) -> None:
        """Receipt and answer of a job that is written as ended."""
        self._outcomes[row.subject.job] = (row.subject.job, row.receipt, row.answer)

    def steps(self) -> Together:
        """All of it as writes of different rows, those of the accounts among them."""
        accounts = [_account_row(account) for account in self.accounts.values()]
        steps: list[Insert | Update | Delete] = [Update(ACCOUNT_SET, accounts)]
        if self._next:
            steps.append(Update(NEXT_ATTEMPT, [next_row(row) for row in self._next.values()]))
        if self._ends:
            steps.append(Update(END, [end_row(row) for row in self._ends.values()]))
        inserts = (
            (LEDGER, self._ledger), (USAGE, self._usage), (OUTCOMES, list(self._outcomes.values())),
            (ATTEMPTS, self.attempts),
        )  # fmt: skip
        steps += [Insert(table, rows) for table, rows in inserts if rows]
        if self._late:
            steps.append(Update(OUTCOME_SET, list(self._late.values())))
        if self.leases:
            steps.append(Update(LEASE_SET, list(self.leases.values())))
        if self._forgotten:
            steps.append(Delete(OUTCOMES, "job", self._forgotten))
        return Together(steps)

    def write(self, *more: Insert) -> Program[None]:
        """Write all of it, and these rows."""
        if self.accounts:
            yield Together([*more, *self.steps().steps])


def open_books(tenants: Iterable[str]) -> Program[Books]:
    """Lock the accounts of tenants."""
    rows, now_ms = yield Lock(sorted(set(tenants)))
    return Books(rows, now_ms)


def _account_row(account: Account) -> tuple[Any, ...]:
    """Values for `ACCOUNT_SET`."""
    return (
        account.open_jobs, account.held_tokens, account.held_micros, account.settled_input, account.settled_output,
        account.settled_micros, account.requests_full_us, account.tokens_full_us, account.tokens_per_minute,
        account.seen_ms, account.day, account.day_tokens, account.day_micros, account.tenant,
    )  # fmt: skip
