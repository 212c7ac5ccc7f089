"""The job store over any database that runs its programs.

Source: docs/design/design.md §5.
"""

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from tether.job.key import SECRET_BYTES, job_id
from tether.job.state import State
from tether.store import jobs_keep, jobs_lease, jobs_letters, jobs_meta, jobs_read, jobs_write
from tether.store.jobs import (
    LIST_MAX,
    AccountRow,
    Attempt,
    Completion,
    DeadLetter,
    Deposit,
    Existing,
    Imported,
    JobRow,
    Lease,
    Leased,
    LetterGroup,
    LetterLimits,
    LetterQuery,
    PastAttempt,
    Refused,
    Requeue,
    Reservation,
    Reserved,
    Session,
    Settled,
    Usage,
    UsageHour,
    Verified,
)
from tether.store.step import Program

T = TypeVar("T")
_LETTERS = LetterLimits()


@dataclass(frozen=True, slots=True)
class Keep:
    """How a store is kept.

    Attributes:
        letters: how many dead letters are kept.
        outbox: whether somebody takes usage by `outbox`: until then it is kept row by row.
        generation_min: a store of an older generation is refused: of whichever store, or of each by its id.
    """

    letters: LetterLimits = _LETTERS
    outbox: bool = False
    generation_min: int | Mapping[bytes, int] = 0


_STORE_ID_BYTES = 16
_NAME_BYTES = 16
_KEEP = Keep()


class Database(Protocol):
    """What runs programs. Each write is one transaction; its program may run more than once until it is committed."""

    @property
    def alone(self) -> bool:
        """Whether nobody else writes."""

    async def batch(self, program: Callable[[Sequence[Any]], Program[list[T]]], items: Sequence[Any]) -> list[T]:
        """Run a program over the items of all callers that wait with it."""

    async def write(self, program: Callable[[], Program[T]]) -> T:
        """Run a program in a transaction of its own."""

    async def read(self, program: Callable[[], Program[T]]) -> T:
        """Run a short program that does not write."""

    async def browse(self, program: Callable[[], Program[T]]) -> T:
        """Run a long program that does not write; it sees one committed state."""

    def enter(self, generation: int) -> None:
        """From now on refuse writes unless the store is of this generation."""

    async def close(self) -> None:
        """Finish what was submitted, and close."""


class SqlJobStore:
    """`JobStore` over a database. Open it with `tether.store.open_jobs`."""

    def __init__(self, database: Database, meta: dict[str, bytes], generation: int, keep: Keep) -> None:
        self._database = database
        self._store_id, self._secret = meta["store_id"], meta["job_secret"]
        self._generation = generation
        self._keep = keep
        alone = database.alone
        self._attempt = _bound(jobs_write.attempt, alone=alone)
        self._complete = _bound(jobs_write.complete, alone=alone)
        self._requeue = _bound(jobs_write.requeue, alone=alone)
        self._settle_lease = _bound(jobs_lease.settle, alone=alone)

    @classmethod
    async def over(cls, database: Database, keep: Keep = _KEEP) -> "SqlJobStore":
        """The store in a database whose schema is up to date; closes the database when it cannot be used.

        Args:
            database: where it lies.
            keep: how it is kept.

        Raises:
            TetherError: STORE_UNAVAILABLE; STORE_UNUSABLE for a fenced store.
        """
        facts = {"store_id": secrets.token_bytes(_STORE_ID_BYTES), "job_secret": secrets.token_bytes(SECRET_BYTES)}
        try:
            generation = await database.write(lambda: jobs_meta.enter(keep.generation_min))
            meta = await database.write(lambda: jobs_meta.draw(facts))
        except BaseException:
            await database.close()
            raise
        database.enter(generation)
        return cls(database, meta, generation, keep)

    @property
    def store_id(self) -> bytes:
        """16 bytes, drawn at creation."""
        return self._store_id

    @property
    def generation(self) -> int:
        """See `JobStore.generation`."""
        return self._generation

    def job_id(self, tenant: str, correlation_id: str, retry_token: str) -> bytes:
        """The id of a key, 16 bytes."""
        return job_id(self._secret, tenant, correlation_id, retry_token)

    async def reserve(self, batch: Sequence[Reservation]) -> list[Reserved | Existing | Refused]:
        """See `JobStore.reserve`."""
        return await self._database.batch(jobs_write.reserve, batch)

    async def attempt(self, batch: Sequence[Attempt]) -> list[Reserved | Existing | Refused]:
        """See `JobStore.attempt`."""
        return await self._database.batch(self._attempt, batch)

    async def complete(self, batch: Sequence[Completion]) -> list[Settled | Refused]:
        """See `JobStore.complete`."""
        return await self._database.batch(self._complete, batch)

    async def renew(self, sessions: Sequence[Session]) -> None:
        """See `JobStore.renew`."""
        await self._database.write(lambda: jobs_read.renew(sessions))

    async def leave(self, session_id: bytes) -> None:
        """See `JobStore.leave`."""
        await self._database.write(lambda: jobs_read.leave(session_id))

    async def sessions(self) -> list[Session]:
        """See `JobStore.sessions`."""
        return await self._database.read(jobs_read.sessions)

    async def get(self, job: bytes) -> JobRow | None:
        """See `JobStore.get`."""
        return await self._database.read(lambda: jobs_read.get(job))

    async def list(self, *, tenant: str, state: State | None, before: int, limit: int) -> Sequence[JobRow]:
        """See `JobStore.list`."""
        return await self._database.browse(lambda: jobs_read.page(tenant, state, before, _bounded(limit)))

    async def undriven(self, standing: Sequence[bytes], after: tuple[int, int], limit: int) -> Sequence[JobRow]:
        """See `JobStore.undriven`."""
        return await self._database.browse(lambda: jobs_read.undriven(standing, after, _bounded(limit)))

    async def expire(self, limit: int) -> int:
        """See `JobStore.expire`."""
        return await self._database.write(lambda: jobs_write.expire(limit, alone=self._database.alone))

    async def purge(self, limit: int) -> int:
        """See `JobStore.purge`."""
        alone, keep = self._database.alone, self._keep
        return await self._database.write(lambda: jobs_keep.purge(limit, keep.letters, alone=alone, outbox=keep.outbox))

    async def attempts_of(self, job: bytes) -> Sequence[PastAttempt]:
        """See `JobStore.attempts_of`."""
        return await self._database.read(lambda: jobs_letters.attempts_of(job))

    async def deposit(self, deposit: Deposit) -> bool:
        """See `JobStore.deposit`."""
        name = f"frame-{secrets.token_hex(_NAME_BYTES)}"
        return await self._database.write(lambda: jobs_letters.deposit(deposit, name, self._keep.letters))

    async def dead_letters(self, query: LetterQuery) -> Sequence[DeadLetter]:
        """See `JobStore.dead_letters`."""
        return await self._database.browse(lambda: jobs_letters.page(query, _bounded(query.limit)))

    async def dead_letter(self, name: str) -> DeadLetter | None:
        """See `JobStore.dead_letter`."""
        return await self._database.read(lambda: jobs_letters.letter(name))

    async def analyze(self, by: str, since_ms: int) -> Sequence[LetterGroup]:
        """See `JobStore.analyze`."""
        return await self._database.browse(lambda: jobs_letters.analyze(by, since_ms))

    async def requeue(self, batch: Sequence[Requeue]) -> Sequence[Reserved | Existing | Refused]:
        """See `JobStore.requeue`."""
        return await self._database.batch(self._requeue, batch)

    async def drop(self, name: str) -> bool:
        """See `JobStore.drop`."""
        return await self._database.write(lambda: jobs_letters.drop(name))

    async def lease_quota(self, batch: Sequence[Lease]) -> Sequence[Leased | Refused]:
        """See `JobStore.lease_quota`."""
        return await self._database.batch(jobs_lease.lease, batch)

    async def settle_lease(self, leases: Sequence[bytes]) -> Sequence[Leased | Refused]:
        """See `JobStore.settle_lease`."""
        return await self._database.batch(self._settle_lease, leases)

    async def leases(self, node: str) -> Sequence[Lease]:
        """See `JobStore.leases`."""
        return await self._database.read(lambda: jobs_lease.standing(node, LIST_MAX))

    async def import_jobs(self, batch: Sequence[Imported]) -> Sequence[Settled]:
        """See `JobStore.import_jobs`."""
        return await self._database.batch(jobs_lease.import_jobs, batch)

    async def accounts(self, *, tenant: str, after: str, limit: int) -> Sequence[AccountRow]:
        """See `JobStore.accounts`."""
        return await self._database.browse(lambda: jobs_read.accounts(tenant, after, _bounded(limit)))

    async def verify_quotas(self, tenant: str) -> Verified:
        """See `JobStore.verify_quotas`."""
        return await self._database.browse(lambda: jobs_keep.verify(tenant))

    async def outbox(self, after: int, limit: int) -> Sequence[Usage]:
        """See `JobStore.outbox`."""
        return await self._database.read(lambda: jobs_read.outbox(after, _bounded(limit)))

    async def outbox_done(self, numbers: Sequence[int]) -> None:
        """See `JobStore.outbox_done`."""
        await self._database.write(lambda: jobs_read.outbox_done(numbers))

    async def usage_hour(self, hour: int) -> Sequence[UsageHour]:
        """See `JobStore.usage_hour`."""
        return await self._database.browse(lambda: jobs_read.usage_hour(hour))

    async def fence(self) -> int:
        """See `JobStore.fence`."""
        return await self._database.write(jobs_meta.fence)

    async def check(self) -> Sequence[str]:
        """See `JobStore.check`."""
        return [*(await self.verify_quotas("")).violations]

    async def close(self) -> None:
        """See `JobStore.close`."""
        await self._database.close()


def _bound(program: Callable[..., Program[T]], *, alone: bool) -> Callable[[Sequence[Any]], Program[T]]:
    """One function, made once: executors group calls by its identity."""

    def bound(items: Sequence[Any]) -> Program[T]:
        return program(items, alone=alone)

    return bound


def _bounded(limit: int) -> int:
    return max(1, min(limit, LIST_MAX))
