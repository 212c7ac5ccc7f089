"""Settings of the gateway."""

from pydantic import Field

from tether.config import LoopbackAddress, ServiceConfig


class Config(ServiceConfig):
    """What a gateway is told.

    Attributes:
        listen: host:port for clients.
        input_bytes_max: longest input of a request.
        timeout_default_s: time that a job has where the client says nothing.
        place_timeout_s: longest wait for one orchestrator's placement; late binding waits inside it.
        commit_timeout_s: longest wait for one commit, and for a commit where the journal can't be written.
        attempts_max: workers that may refuse a job before its first chunk.
        window_bytes: credit of a job towards its worker.
        log_bytes_max: accepted answer kept per job for readers that join later.
        detach_grace_s: how long a job without readers goes on under DETACH.
        silence_s: longest silence of chunk and progress of a job before it moves to another worker.
        journal_bytes_max: ends that may wait for the store on this node's disk.
        wrong_keys_max: wrong keys of one source before it is throttled.
        wrong_key_refill_s: time after which a source may try one more.
    """

    listen: LoopbackAddress = "127.0.0.1:7400"
    input_bytes_max: int = Field(1_048_576, ge=1, le=3_145_728)  # within the 4 MiB that a gRPC message may have
    timeout_default_s: float = Field(300.0, gt=0, le=3_600)  # a long answer of a slow model (a guess)
    place_timeout_s: float = Field(30.0, gt=0, le=300)  # as long as a request may queue (a guess; bench/scheduling.py)
    commit_timeout_s: float = Field(
        5.0, gt=0, le=60
    )  # a store's hiccup; with neither store nor journal streams end then
    attempts_max: int = Field(3, ge=1, le=16)  # the third worker that refuses will not be the last
    window_bytes: int = Field(262_144, ge=4_096, le=16_777_216)  # a second of 64 fast streams' text
    log_bytes_max: int = Field(8_388_608, ge=65_536, le=268_435_456)  # two million tokens of text
    detach_grace_s: float = Field(10.0, ge=0, le=60)  # as streams.md says
    silence_s: float = Field(1.2, ge=0.5, le=60)  # three progress entries: a stopped worker's streams move in under 2 s
    journal_bytes_max: int = Field(67_108_864, ge=65_536, le=1 << 30)  # minutes of a busy gateway without a store
    wrong_keys_max: int = Field(10, ge=1, le=1_000)  # a person's typing errors, not a search
    wrong_key_refill_s: float = Field(5.0, gt=0, le=3_600)  # 17,000 tries a day against 2^128 keys
