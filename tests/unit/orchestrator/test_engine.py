"""Engines: what a worker's newest report says of them."""

from tether.v1.health_pb2 import Health
from tether.v1.infer_pb2 import Infer
from tether_orchestrator.engine import UNKNOWN, Engine, Engines


def report(*engines: tuple[bytes, bytes]) -> bytes:
    return Health.Report(
        engines=[
            Health.Engine(
                model=Health.ModelRef(digest=digest), fingerprint=fingerprint, continuity=Infer.CONTINUITY_EXACT
            )
            for digest, fingerprint in engines
        ]
    ).SerializeToString()


def test_engine_is_that_of_the_newest_report() -> None:
    engines = Engines()
    engines.report("w", report((b"m", b"one")))
    assert engines.of("w", b"m") == Engine(b"one", Infer.CONTINUITY_EXACT)
    engines.report("w", report((b"m", b"two"), (b"n", b"three")))
    assert engines.of("w", b"m").fingerprint == b"two"
    assert engines.of("w", b"n").fingerprint == b"three"


def test_engine_of_a_model_that_is_not_loaded_or_a_worker_without_a_link_is_unknown() -> None:
    engines = Engines()
    assert engines.of("w", b"m") is UNKNOWN
    engines.report("w", report((b"m", b"one")))
    assert engines.of("w", b"other") is UNKNOWN
    engines.forget("w")
    assert engines.of("w", b"m") is UNKNOWN
