"""Accounts, usage and leases of quota as the job store tells them.

Source: docs/design/design.md §5.
"""

from dataclasses import dataclass

from tether.job.hold import Position
from tether.job.price import FREE, Price
from tether.job.quota import UNLIMITED, Limits
from tether.store.jobs_type import Subject


@dataclass(frozen=True, slots=True)
class Usage:
    """What one settlement of a job billed.

    Attributes:
        number: unique; with the store's id it names the row for good.
        tenant: who pays.
        job: id, 16 bytes.
        epoch: attempt that was paid.
        model: name.
        version: MAJOR.MINOR.
        position: tokens and bytes beyond what was billed before.
        price_version: price that applied; 0 for none.
        cost_micros: millionths of the network's unit of account.
        at_ms: milliseconds since the Unix epoch.
    """

    number: int
    tenant: str
    job: bytes
    epoch: int
    model: str
    version: str
    position: Position
    price_version: int
    cost_micros: int
    at_ms: int


@dataclass(frozen=True, slots=True)
class UsageHour:
    """What a tenant used of a model within an hour.

    Attributes:
        tenant: who pays.
        hour: since the Unix epoch, UTC.
        model: name.
        version: MAJOR.MINOR.
        price_version: price that applied; 0 for none.
        position: tokens and bytes.
        cost_micros: millionths of the network's unit of account.
    """

    tenant: str
    hour: int
    model: str
    version: str
    price_version: int
    position: Position
    cost_micros: int


@dataclass(frozen=True, slots=True)
class AccountRow:
    """What a tenant holds and has used.

    Attributes:
        tenant: who.
        open_jobs: jobs that run.
        held_tokens: held for them and for leases.
        held_micros: the same, as spend.
        settled_input: tokens of prompts since the beginning.
        settled_output: tokens of answers since the beginning.
        settled_micros: spend since the beginning.
        day_tokens: tokens held and settled today (UTC).
        day_micros: spend held and settled today (UTC).
    """

    tenant: str
    open_jobs: int
    held_tokens: int
    held_micros: int
    settled_input: int
    settled_output: int
    settled_micros: int
    day_tokens: int
    day_micros: int


@dataclass(frozen=True, slots=True)
class Lease:
    """A slice of a tenant's quota in the hands of an orchestrator, for jobs that run while the store is gone.

    Attributes:
        lease: id, 16 bytes, drawn by the orchestrator.
        tenant: who pays.
        node: node id of the orchestrator.
        tokens: held.
        micros: spend that is held.
        until_ms: when nothing may be taken from it any more, milliseconds since the Unix epoch.
        limits: of the tenant; not kept.
    """

    lease: bytes
    tenant: str
    node: str
    tokens: int
    micros: int
    until_ms: int
    limits: Limits = UNLIMITED


@dataclass(frozen=True, slots=True)
class Leased:
    """The lease as it stands.

    Attributes:
        lease: what is held of it now.
        open: whether it still holds anything.
        written: whether this call wrote it.
    """

    lease: Lease
    open: bool
    written: bool


@dataclass(frozen=True, slots=True)
class Imported:
    """A job that ran while the store was gone.

    Attributes:
        subject: what it was.
        lease: slice that it ran from, 16 bytes.
        worker: node id.
        gateway: node id.
        used: what it used.
        price: what its tokens cost.
        receipt: serialized Infer.Receipt.
        seed: of its sampler, 64 bits.
        began_ms: milliseconds since the Unix epoch.
        ended_ms: milliseconds since the Unix epoch.
    """

    subject: Subject
    lease: bytes
    worker: str
    gateway: str
    used: Position
    price: Price = FREE
    receipt: bytes = b""
    seed: int = 0
    began_ms: int = 0
    ended_ms: int = 0


@dataclass(frozen=True, slots=True)
class Verified:
    """What a check of the books found.

    Attributes:
        violations: for people; empty when all holds.
        jobs: jobs that were checked.
        entries: ledger rows that were checked.
    """

    violations: tuple[str, ...]
    jobs: int
    entries: int
