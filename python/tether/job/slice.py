"""Slices of quota that were leased beforehand: what jobs may spend while the store cannot be asked.

What a slice grants was held in the store when it was drawn, so whatever is spent from it is within the tenant's limits.
A slice is used on the holder's own monotonic clock, from before it was asked for: it never outlives its hold.
Source: docs/design/design.md §5 (`without_store`); escrow transactions (O'Neil, TODS 1986).
"""

from dataclasses import dataclass

RENEW_PART = 0.5  # of its life: a slice that is older is drawn anew, so that an outage finds at least half a life


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
    """

    lease: bytes
    tenant: str
    tokens: int
    micros: int
    until_s: float
    jobs: int = 0


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


def give_back(slice_: Slice, tokens: int, micros: int) -> None:
    """A job has ended and was imported; what it did not use may be taken again."""
    slice_.tokens += tokens
    slice_.micros += micros
    slice_.jobs -= 1


def is_stale(slice_: Slice, now_s: float, life_s: float) -> bool:
    """Whether a slice is to be drawn anew."""
    return now_s >= slice_.until_s - life_s * (1.0 - RENEW_PART)
