"""Settings of an orchestrator."""

from typing import Annotated

from pydantic import Field, field_validator

from tether.config import ServiceConfig
from tether.job.lease import LEASE_S

WEIGHTS = frozenset({"model", "region", "gpu", "queue", "warm", "breaker", "policy", "prefix"})
Share = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0, le=1_000)]


class Config(ServiceConfig):
    """What an orchestrator is told beside what every service is.

    Attributes:
        weights: weights of the score's terms by name; those not named keep the fleet's own.
        proximity: of regions by slug, 0 to 1; the own region is at 1.
        session_lease_s: how long a gateway's session stands without another beat.
        job_timeout_s: deadline of a job whose request names none.
        snapshot_wait_s: how long the start waits for a registry; after it, it serves what it finds later.
    """

    weights: dict[str, Weight] = Field(default={})
    proximity: dict[str, Share] = Field(default={})
    session_lease_s: float = Field(default=LEASE_S, ge=0.5, le=60)  # five missed beats
    job_timeout_s: float = Field(default=600.0, ge=1, le=3_600)  # gateways always send one; this only bounds a fault
    snapshot_wait_s: float = Field(default=0.0, ge=0, le=60)  # starting does not need a registry; placing does

    @field_validator("weights")
    @classmethod
    def _known_weights(cls, weights: dict[str, float]) -> dict[str, float]:
        unknown = sorted(weights.keys() - WEIGHTS)
        if unknown:
            raise ValueError(f"there is no weight {unknown[0]}; there are {', '.join(sorted(WEIGHTS))}")
        return weights
