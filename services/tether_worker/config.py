"""Settings of the worker."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from tether.config import ServiceConfig, is_loopback, split_address
from tether_worker.fault import read_faults


class Config(ServiceConfig):
    """What a worker is told.

    Attributes:
        models: `name` or `name:version` of what it serves; empty for all that it can run.
        engine: `auto` picks by the format of each model's manifest; `simulated` runs none and paces words.
        slots: sequences that run together, per model.
        queue_max: jobs that may wait for a slot, per model; placement keeps the rest.
        tenant_jobs_max: jobs of one tenant in hand; 0 for no bound of its own.
        threads: threads of one engine; part of its fingerprint.
        prefill_chunk: tokens of one piece of a prompt, in place of the model's own; part of the fingerprint, so that
            workers that differ in it go on with each other's answers as COHERENT. 0 is the model's own.
        step_delay_ms: pause before each step of a decoder, so that answers last where somebody is to watch them.
        simulated_token_ms: time between two tokens of a simulated sequence.
        simulate_faults: test setting of a simulated engine: faults on order, such as `poison_text=BOOM,fail_rate=0.01`.
        gpu_class: class of its GPU, or `cpu`.
        latency_hops: network distance class.
        log_bytes_max: bytes kept of one answer for readers that come late.
        linger_s: how long an answer is kept after its end.
        commit_wait_s: how long the driver has to tell an outcome before the worker commits by itself.
        journal_bytes_max: room on this node's disk for ends that no orchestrator has written yet.
        models_bytes_max: room for models on this node's disk.
        standalone: serve InferenceService without any other service.
        keys_file: API keys that a standalone worker takes, one per line.
        insecure_no_key: a standalone worker takes calls without a key, on loopback.
        model_folder: folder of the model that a standalone worker serves.
    """

    models: tuple[str, ...] = Field(default=(), max_length=1_024)
    engine: Literal["auto", "simulated"] = "auto"
    slots: int = Field(8, ge=1, le=4_096)  # the demo model's throughput peaks there on two cores (bench/engine.py)
    queue_max: int = Field(8, ge=0, le=65_536)  # one more batch: enough to never idle between a report and a start
    tenant_jobs_max: int = Field(0, ge=0, le=65_536)
    threads: int = Field(1, ge=1, le=256)  # small models lose by more
    prefill_chunk: int = Field(0, ge=0, le=4_096)
    step_delay_ms: float = Field(0, ge=0, le=1_000)  # for demonstrations and tests
    simulated_token_ms: float = Field(20.0, ge=0, le=10_000)
    simulate_faults: str = Field("", max_length=1_024)
    gpu_class: str = Field("cpu", pattern=r"^[a-z0-9][a-z0-9-]{0,30}$")
    latency_hops: int = Field(0, ge=0, le=255)
    log_bytes_max: int = Field(8_388_608, ge=65_536, le=268_435_456)  # two million tokens of text
    linger_s: float = Field(30.0, ge=0, le=3_600)  # three detach graces: a client that resumes finds its answer
    commit_wait_s: float = Field(1.0, ge=0, le=60)  # the driver may be gone by then; committing twice is harmless
    journal_bytes_max: int = Field(256 << 20, ge=1 << 20)  # a thousand ends with the longest answers that are kept
    models_bytes_max: int = Field(64 << 30, ge=1 << 20)  # a few models of 7 billion parameters (a guess)
    standalone: bool = False
    keys_file: Path | None = None
    insecure_no_key: bool = False
    model_folder: Path | None = None

    @model_validator(mode="after")
    def _faults_are_for_tests(self) -> Self:
        """Faults need an engine that is simulated, and a worker that nobody else can reach."""
        read_faults(self.simulate_faults)
        host, _ = split_address(self.listen)
        if self.simulate_faults and not (self.engine == "simulated" and is_loopback(host)):
            raise ValueError("simulate_faults is for a simulated engine on loopback")
        return self
