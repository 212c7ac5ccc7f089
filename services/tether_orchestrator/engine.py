"""Engines of linked workers: what made an answer, and what another can do with it.

Reports come twice a second from every worker, and few of them are asked about: a report is kept as it came and read
when somebody asks.
Source: docs/design/streams.md §4.
"""

from dataclasses import dataclass

from tether.v1.health_pb2 import Health


@dataclass(frozen=True, slots=True)
class Engine:
    """A loaded engine.

    Attributes:
        fingerprint: SHA-256 over what decides its outputs, 32 bytes; empty where it is not known.
        continuity: what an engine with this fingerprint can continue, `Infer.Continuity`.
    """

    fingerprint: bytes = b""
    continuity: int = 0


UNKNOWN = Engine()


class Engines:
    """Engines by worker and model."""

    def __init__(self) -> None:
        self._raw: dict[str, bytes] = {}
        self._read: dict[str, dict[bytes, Engine]] = {}

    def report(self, worker: str, raw: bytes) -> None:
        """A worker reports."""
        self._raw[worker] = raw
        self._read.pop(worker, None)

    def forget(self, worker: str) -> None:
        """A worker has no link."""
        self._raw.pop(worker, None)
        self._read.pop(worker, None)

    def of(self, worker: str, digest: bytes) -> Engine:
        """The engine of a model (SHA-256 of its manifest) on a worker; `UNKNOWN` where it is not loaded."""
        read = self._read.get(worker)
        if read is None:
            raw = self._raw.get(worker)
            if raw is None:
                return UNKNOWN
            read = self._read[worker] = _engines(raw)
        return read.get(digest, UNKNOWN)


def _engines(raw: bytes) -> dict[bytes, Engine]:
    report = Health.Report.FromString(raw)
    return {one.model.digest: Engine(one.fingerprint, int(one.continuity)) for one in report.engines}
