"""Settings of the registry."""

from pathlib import Path

from pydantic import Field

from tether.config import ServiceConfig


class Config(ServiceConfig):
    """What a registry is told besides what every service is.

    Attributes:
        demo_model: folder of a model to publish at the start, for the tenant `demo`, which is made too; unset is none.
        publisher: folder of a node identity that may sign models; signs `demo_model`; unset takes `operator` beside the
            registry's own folder.
        blob_bytes_max: largest file of an artifact, bytes.
        artifact_bytes_max: largest artifact, bytes.
        beat_s: time between two signs of life to a watcher, seconds.
    """

    demo_model: Path | None = None
    publisher: Path | None = None
    blob_bytes_max: int = Field(default=64 << 30, ge=1, le=1 << 40)  # a shard of the largest open models is under 10 GB
    artifact_bytes_max: int = Field(default=100 << 30, ge=1, le=1 << 44)  # what a manifest of 3.5 MB can list
    beat_s: float = Field(default=1.0, ge=0.05, le=2.0)  # readers call three missed ones a loss
