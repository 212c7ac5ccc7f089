"""Slices of quota that were leased beforehand: what jobs may spend while the store cannot be asked.

What a slice grants was held in the store when it was drawn, so whatever is spent from it is within the tenant's limits.
A slice is used on the holder's own monotonic clock, from before it was asked for: it never outlives its hold.
Source: docs/design/design.md §5 (`without_store`); escrow transactions (O'Neil, TODS 1986).
"""

from dataclasses import dataclass

from tether.job.price import Price, most
from tether.job.quota import Limits

RENEW_PART = 0.5  # of its life: a slice that is older is drawn anew, so that an outage finds at least half a life
_FULL_PART = 0.5  # of what it was granted: one that an outage left emptier is drawn anew for the next
_DAY_PART = 16  # of a day's limit goes into one slice: two orchestrators hold an eighth, ten times ten minutes' mean
_OWN_BIT = 1  # of a lease's last byte


@dataclass(slots=True)
class Slice:
    """A slice of one tenant's quota.

    Attributes:
        lease: id, 16 bytes.
        tenant: who pays.
        tokens: what may still be held or used.
        micros: the same, as spend.
        until_s: monotonic time after which nothing may be taken.
        jobs: jobs that run from it and have not been imported.
        granted: tokens that it had at first.
    """

    lease: bytes
    tenant: str
    tokens: int
    micros: int
    until_s: float
    jobs: int = 0
    granted: int = 0


def take(slice_: Slice, tokens: int, micros: int, now_s: float) -> bool:
    """Take a job's hold from a slice; False where it does not fit or the slice is over.

    Args:
        slice_: changed in place when it fits.
        tokens: the most that the job can use.
        micros: the most that it can cost.
        now_s: monotonic time.
    """
    if now_s >= slice_.until_s or tokens > slice_.tokens or micros > slice_.micros:
        return False
    slice_.tokens -= tokens
    slice_.micros -= micros
    slice_.jobs += 1
    return True


def free(slice_: Slice, tokens: int, micros: int) -> None:
    """A job has ended; what it did not use may be taken again at once, and what it used is paid from the lease."""
    slice_.tokens += tokens
    slice_.micros += micros


def give_back(slice_: Slice, tokens: int, micros: int) -> None:
    """A job was imported; what it did not use, and was not freed at its end, may be taken again."""
    free(slice_, tokens, micros)
    slice_.jobs -= 1


def is_stale(slice_: Slice, now_s: float, life_s: float) -> bool:
    """Whether a slice is to be drawn anew: it is old, or an outage has used it up."""
    old = now_s >= slice_.until_s - life_s * (1.0 - RENEW_PART)
    return old or slice_.tokens < slice_.granted * _FULL_PART


def size(tokens: int, limits: Limits, price: Price, life_s: float) -> int:
    """Tokens of a slice: as many as settings say, but a small part of a day's limits, and of no more than rates allow.

    Args:
        tokens: as settings say.
        limits: of the tenant.
        price: of the dearest tokens.
        life_s: of a slice.
    """
    if limits.tokens_per_day:
        tokens = min(tokens, limits.tokens_per_day // _DAY_PART)
    if limits.tokens_per_minute:
        tokens = min(tokens, int(limits.tokens_per_minute * max(1.0, life_s / 60)))
    cost, spend = most(price, tokens), limits.spend_per_day_micros // _DAY_PART
    return tokens * spend // cost if limits.spend_per_day_micros and cost > spend else tokens


def mark(lease: bytes, *, own: bool) -> bytes:
    """A lease's id that says whether its holder was asked by the tenant, or follows another that was.

    Those who follow look at the first alone: no two keep each other's slices alive after the tenant went silent.
    """
    return lease[:-1] + bytes([lease[-1] & ~_OWN_BIT | own])


def is_own(lease: bytes) -> bool:
    """Whether the holder of a lease was asked by its tenant; see `mark`."""
    return bool(lease[-1] & _OWN_BIT)
