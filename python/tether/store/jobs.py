"""The job store as a contract: what is written about jobs, and what is promised about it.

Every write takes a batch, is one transaction, and returns only when it is durable. In every committed state the settled
tokens equal the usage and the held tokens equal the holds of jobs that have not ended.
Source: docs/design/design.md §5, docs/design/streams.md §1, §3, §5, §7.
"""

from collections.abc import Sequence
from typing import Protocol

from tether.job.state import State
from tether.store.jobs_letter import DeadLetter, Deposit, LetterGroup, LetterLimits, LetterQuery, Requeue
from tether.store.jobs_quota import AccountRow, Imported, Lease, Leased, Usage, UsageHour, Verified
from tether.store.jobs_type import (
    Attempt,
    Completion,
    Driver,
    Existing,
    JobRow,
    PastAttempt,
    Refused,
    Reservation,
    Reserved,
    Session,
    Settled,
    Subject,
    Worker,
)

__all__ = [
    "ANSWER_BYTES_MAX",
    "FIRST_OPEN",
    "LIST_MAX",
    "AccountRow",
    "Attempt",
    "Completion",
    "DeadLetter",
    "Deposit",
    "Driver",
    "Existing",
    "Imported",
    "JobRow",
    "JobStore",
    "Lease",
    "Leased",
    "LetterGroup",
    "LetterLimits",
    "LetterQuery",
    "PastAttempt",
    "Refused",
    "Requeue",
    "Reservation",
    "Reserved",
    "Session",
    "Settled",
    "Subject",
    "Usage",
    "UsageHour",
    "Verified",
    "Worker",
]

ANSWER_BYTES_MAX = 262_144  # 256 KiB: what streams.md §2 keeps of a keyed job
LIST_MAX = 1_000  # rows of a page, as control.proto says
FIRST_OPEN = (0, 0)  # before the deadline and number of every open job


class JobStore(Protocol):
    """What orchestrators keep; they alone open it.

    Every method may raise TetherError STORE_UNAVAILABLE: then nothing was written, or, where the connection to a server
    was lost at the very commit, all of it or nothing; the same call again finds out, since every write is idempotent.
    Every one may raise STORE_UNUSABLE once another store was promoted in place of this one.
    """

    @property
    def store_id(self) -> bytes:
        """16 bytes, drawn at creation."""

    def job_id(self, tenant: str, correlation_id: str, retry_token: str) -> bytes:
        """The id of a key, 16 bytes."""

    async def reserve(self, batch: Sequence[Reservation]) -> list[Reserved | Existing | Refused]:
        """Reserve jobs; one result each, in order. Existing where the key is there and does not run again."""

    async def attempt(self, batch: Sequence[Attempt]) -> list[Reserved | Existing | Refused]:
        """Raise epochs by compare-and-set; one result each, in order. Existing where the comparison fails."""

    async def complete(self, batch: Sequence[Completion]) -> list[Settled | Refused]:
        """Write outcomes; the first one holds. One result each, in order."""

    async def renew(self, sessions: Sequence[Session]) -> None:
        """Write beats of gateway sessions."""

    async def leave(self, session_id: bytes) -> None:
        """Remove a session whose gateway left."""

    async def sessions(self) -> list[Session]:
        """All sessions, as last written."""

    async def get(self, job: bytes) -> JobRow | None:
        """One job with receipt and answer."""

    async def list(self, *, tenant: str, state: State | None, before: int, limit: int) -> Sequence[JobRow]:
        """Jobs without answers, newest first.

        Args:
            tenant: only this one's; empty for all.
            state: only in this one; None for all.
            before: only jobs with a smaller number; 0 for all.
            limit: at most so many, 1 to `LIST_MAX`.
        """

    async def undriven(self, standing: Sequence[bytes], after: tuple[int, int], limit: int) -> Sequence[JobRow]:
        """Open jobs that none of these sessions drives, by deadline and number.

        Args:
            standing: sessions that stand.
            after: only jobs beyond this deadline (milliseconds since the Unix epoch) and number; `FIRST_OPEN` for all.
            limit: at most so many, 1 to `LIST_MAX`.
        """

    async def expire(self, limit: int) -> int:
        """Abandon at most `limit` jobs whose deadline is long over; returns how many."""

    async def purge(self, limit: int) -> int:
        """Forget at most `limit` jobs whose retention is over, with what belongs to them; returns how many."""

    async def attempts_of(self, job: bytes) -> Sequence[PastAttempt]:
        """The attempts of a job, oldest first, the newest one among them."""

    async def deposit(self, deposit: Deposit) -> bool:
        """Keep the request of a dead job, or a frame; False where its job is not dead, or limits say otherwise."""

    async def dead_letters(self, query: LetterQuery) -> Sequence[DeadLetter]:
        """Dead letters without request, frame and attempts, newest first."""

    async def dead_letter(self, name: str) -> DeadLetter | None:
        """One with all that is kept."""

    async def analyze(self, by: str, since_ms: int) -> Sequence[LetterGroup]:
        """Dead letters that share something, largest group first within each kind.

        Args:
            by: one of `KINDS`; empty for all four.
            since_ms: only those that died since; 0 for all.
        """

    async def requeue(self, batch: Sequence[Requeue]) -> Sequence[Reserved | Existing | Refused]:
        """Reserve dead jobs again; one result each, in order. Existing where the job is not dead (any more)."""

    async def drop(self, name: str) -> bool:
        """Forget a dead letter; False where there is none. Its job stays as it is."""

    async def lease_quota(self, batch: Sequence[Lease]) -> Sequence[Leased | Refused]:
        """Hold slices of quota; one result each, in order. A lease that is there is returned as it stands."""

    async def settle_lease(self, leases: Sequence[bytes]) -> Sequence[Leased | Refused]:
        """Give back what is left of leases; one result each, in order. A lease that was given back stays so."""

    async def leases(self, node: str) -> Sequence[Lease]:
        """Open leases of an orchestrator; of all where `node` is empty."""

    async def import_jobs(self, batch: Sequence[Imported]) -> Sequence[Settled]:
        """Write jobs that ran from leases; one result each, in order. A job that is there stays as it is."""

    async def accounts(self, *, tenant: str, after: str, limit: int) -> Sequence[AccountRow]:
        """What tenants hold and have used, by name.

        Args:
            tenant: only this one's; empty for all.
            after: only those beyond this name.
            limit: at most so many, 1 to `LIST_MAX`.
        """

    async def verify_quotas(self, tenant: str) -> Verified:
        """Check the books of a tenant, of all where `tenant` is empty."""

    async def outbox(self, after: int, limit: int) -> Sequence[Usage]:
        """Usage that `outbox_done` was not told of, with larger numbers than `after`, by number."""

    async def outbox_done(self, numbers: Sequence[int]) -> None:
        """These rows of usage were taken by whoever bills; only such rows are ever added up and forgotten."""

    async def usage_hour(self, hour: int) -> Sequence[UsageHour]:
        """What was used in an hour (since the Unix epoch, UTC): final once the hour is over by a minute."""

    @property
    def generation(self) -> int:
        """Number of the store's generation: each promotion raises it, and a store of an older one refuses writes."""

    async def fence(self) -> int:
        """Refuse all further writes through this store and every one opened before; returns the new generation."""

    async def check(self) -> Sequence[str]:
        """Violations of the invariants; empty when all holds."""

    async def close(self) -> None:
        """Finish what was submitted and close; idempotent."""
