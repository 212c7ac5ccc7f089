"""Settings of an orchestrator."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_validator

from tether.billing.address import address
from tether.config import ServiceConfig
from tether.job.lease import LEASE_S
from tether.store.registry_open import SCHEMES, is_postgres

WEIGHTS = frozenset({"model", "region", "gpu", "queue", "warm", "breaker", "policy", "prefix"})
Share = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0, le=1_000)]


def _billing_url(url: str) -> str:
    if url:
        address(url)
    return url


class Config(ServiceConfig):
    """What an orchestrator is told beside what every service is.

    Attributes:
        weights: weights of the score's terms by name; those not named keep the fleet's own.
        proximity: of regions by slug, 0 to 1; the own region is at 1.
        session_lease_s: how long a gateway's session stands without another beat.
        job_timeout_s: deadline of a job whose request names none.
        store: where jobs are kept: a `postgresql://` address, or empty for a SQLite file in the state folder.
        store_replica: `postgresql://` address of a replica of the store for long reads; empty is none.
        dead_letters_max: dead letters kept; the oldest go first.
        dead_letters_bytes_max: bytes of requests and frames that they keep, all together.
        dead_letter_bytes_max: bytes of one request; a larger one is not kept.
        dead_letters_kept_s: how long they are kept.
        dead_letter_sink: https address (http on this machine) that gets a copy of each, or empty.
        journal_bytes_max: bytes of what waits for the store on this node's disk.
        slice_tokens: tokens of a tenant's quota held beforehand for work without the store.
        slice_s: how long such a slice is held before it is drawn anew.
        relays_max: links between gateways and workers that are passed on here.
        billing_url: https address that usage is pushed to, or http on this machine; empty is off.
        billing_period_s: time between two batches of usage, seconds.
        billing_timeout_s: longest time of one attempt to push a batch, seconds.
        billing_rows_max: rows of usage in a batch.
        usage_sinks: further takers of usage, entry points of group `tether.usage_sinks`.
        usage_folder: folder that gets usage/HOUR.jsonl and .parquet; several orchestrators share one; unset is off.
        usage_formats: of these files.
        run_ahead: jobs that may wait at a worker for each of its slots, rounded up; others wait here.
        queue_wait_max_s: longest wait for a worker, of requests of which policy says nothing.
        queue_model_max: most requests that wait for one version of a model.
        queue_max: most requests that wait in all.
        snapshot_wait_s: how long the start waits for a registry; after it, it serves what it finds later.
    """

    weights: dict[str, Weight] = Field(default={})
    proximity: dict[str, Share] = Field(default={})
    session_lease_s: float = Field(default=LEASE_S, ge=0.5, le=60)  # five missed beats
    job_timeout_s: float = Field(default=600.0, ge=1, le=3_600)  # gateways always send one; this only bounds a fault
    store: str = Field(default="", repr=False)  # it may hold a password
    store_replica: str = Field(default="", repr=False)
    dead_letters_max: int = Field(default=100_000, ge=1, le=10_000_000)  # one death a second for a day
    dead_letters_bytes_max: int = Field(default=1 << 30, ge=0)  # what a disk spares without being asked; a guess
    dead_letter_bytes_max: int = Field(default=4 << 20, ge=0)  # the largest request that gRPC takes by default
    dead_letters_kept_s: float = Field(default=604_800.0, ge=1)  # a week: a failure on Friday is looked at on Monday
    dead_letter_sink: str = Field(default="", pattern=r"^(https?://.+)?$")
    journal_bytes_max: int = Field(default=256 << 20, ge=1 << 20)  # a minute of ends with the largest kept answers
    slice_tokens: int = Field(default=100_000, ge=0)  # a hundred answers of a thousand tokens; a guess
    slice_s: float = Field(default=600.0, ge=1, le=86_400)  # a long outage; what is held is missed nowhere else so long
    relays_max: int = Field(default=1_024, ge=0, le=65_536)  # 32 gateways and 32 workers that all meet here
    billing_url: Annotated[str, AfterValidator(_billing_url)] = ""
    billing_period_s: float = Field(default=60.0, ge=0.05, le=3_600)  # bills are by the minute at best
    billing_timeout_s: float = Field(default=10.0, ge=0.05, le=60)  # a third of what senders of webhooks commonly give
    billing_rows_max: int = Field(default=1_000, ge=1, le=1_000)  # 400 KB of JSON: under every proxy's limit
    usage_sinks: tuple[str, ...] = ()
    usage_folder: Path | None = None
    usage_formats: tuple[Literal["jsonl", "parquet"], ...] = ("jsonl", "parquet")
    run_ahead: float = Field(default=0.25, ge=0, le=1_000)  # a slot that comes free is filled before the next report
    queue_wait_max_s: float = Field(default=10.0, gt=0, le=300)  # as long as people look at nothing (a guess)
    queue_model_max: int = Field(default=1_024, ge=1, le=65_536)  # each is a call that is open, some KiB
    queue_max: int = Field(default=8_192, ge=1, le=1_048_576)  # the same
    snapshot_wait_s: float = Field(default=0.0, ge=0, le=60)  # starting does not need a registry; placing does

    @field_validator("store", "store_replica")
    @classmethod
    def _known_store(cls, url: str) -> str:
        if url and not is_postgres(url):
            raise ValueError(f"must begin with {SCHEMES[0]}, or be empty for SQLite in the state folder")
        return url

    @field_validator("weights")
    @classmethod
    def _known_weights(cls, weights: dict[str, float]) -> dict[str, float]:
        unknown = sorted(weights.keys() - WEIGHTS)
        if unknown:
            raise ValueError(f"there is no weight {unknown[0]}; there are {', '.join(sorted(WEIGHTS))}")
        return weights
