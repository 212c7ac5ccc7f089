"""Two orchestrators with two stores in one region: each would run every key once, so together twice.

On SQLite exactly one may reserve. One that starts and sees another refuses; if both run already, the one with the
higher node id stops reserving. Both say so and name both.
Source: docs/design/design.md §5.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from tether.errors import Reason, TetherError


@dataclass(frozen=True, slots=True)
class Orchestrator:
    """An orchestrator as it announces itself.

    Attributes:
        node: node id.
        store_id: id of its job store, 16 bytes.
    """

    node: str
    store_id: bytes


def rivals(me: Orchestrator, others: Iterable[Orchestrator]) -> list[Orchestrator]:
    """Other orchestrators with another store, by node id."""
    return sorted(
        (other for other in others if other.node != me.node and other.store_id != me.store_id),
        key=lambda other: other.node,
    )


def must_yield(me: Orchestrator, others: Iterable[Orchestrator]) -> bool:
    """Whether `me` stops reserving: a rival has a lower node id."""
    return any(other.node < me.node for other in rivals(me, others))


def refusal(me: Orchestrator, rival: Orchestrator, region: str) -> TetherError:
    """The error of an orchestrator that may not start.

    Args:
        me: the one that starts.
        rival: the one that runs.
        region: where.

    Returns:
        STATE_UNUSABLE, naming both.
    """
    return TetherError(
        Reason.STATE_UNUSABLE,
        f"Orchestrator {rival.node} already serves region {region} with job store {rival.store_id.hex()}, "
        f"and this one ({me.node}) has job store {me.store_id.hex()}: "
        "SQLite allows one orchestrator per region; use PostgreSQL for more",
    )
