"""Settings of the registry."""

from pathlib import Path

from pydantic import Field, field_validator

from tether.config import ServiceConfig
from tether.store.registry_open import SCHEMES, is_postgres


class Config(ServiceConfig):
    """What a registry is told besides what every service is.

    Attributes:
        store: `postgresql://…`, which several registries may share; empty is SQLite in the state folder.
        store_poll_s: time between two looks for what others wrote to a store that is shared, seconds.
        demo_model: folder of a model to publish at the start, for the tenant `demo`, which is made too; unset is none.
        publisher: folder of a node identity that may sign models; signs `demo_model`; unset takes `operator` beside the
            registry's own folder.
        blob_bytes_max: largest file of an artifact, bytes.
        artifact_bytes_max: largest artifact, bytes.
        beat_s: time between two signs of life to a watcher, seconds.
    """

    store: str = Field(default="", repr=False)  # it may hold a password
    store_poll_s: float = Field(default=0.25, ge=0.05, le=1.0)  # a change reaches orchestrators within a second
    demo_model: Path | None = None
    publisher: Path | None = None
    blob_bytes_max: int = Field(default=64 << 30, ge=1, le=1 << 40)  # a shard of the largest open models is under 10 GB
    artifact_bytes_max: int = Field(default=100 << 30, ge=1, le=1 << 44)  # what a manifest of 3.5 MB can list
    beat_s: float = Field(default=1.0, ge=0.05, le=2.0)  # readers call three missed ones a loss

    @field_validator("store")
    @classmethod
    def _known_store(cls, url: str) -> str:
        if url and not is_postgres(url):
            raise ValueError(f"must begin with {SCHEMES[0]}, or be empty for SQLite in the state folder")
        return url
