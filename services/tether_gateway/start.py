"""Bodies of START and ATTACH: what a worker needs to run an attempt. Pure.

The stream table adds what it knows best: position, prefix, chain state and continuity.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from google.protobuf.duration_pb2 import Duration

from tether.v1 import infer_pb2, link_pb2, placement_pb2
from tether_gateway.flight import Flight, Maker, Placement

ANSWER_BYTES_MAX = 262_144  # as streams.md says
Part = tuple[int, int, int, int, int, bytes]  # epoch, start and end in tokens and bytes, chain digest: `handed()`
Handed = infer_pb2.Infer.HandedPrefix


@dataclass(frozen=True, slots=True)
class Terms:
    """What every START of a gateway says.

    Attributes:
        driver_id: this gateway.
        window_bytes: credit of a job towards its worker.
        detach_grace_s: how long a worker goes on without its driver.
    """

    driver_id: str
    window_bytes: int
    detach_grace_s: float


def start_body(flight: Flight, terms: Terms, left_s: float, parts: Sequence[Part]) -> bytes:
    """Serialized `Link.Start` of a job that this gateway drives, without what the stream table adds.

    Args:
        flight: the job; its `placed` is the attempt.
        terms: of this gateway.
        left_s: until the deadline.
        parts: of the prefix that is handed over, in order; none where the attempt begins at position 0.
    """
    return _start(flight, flight.placed, terms, left_s, parts)


def race_body(flight: Flight, placed: placement_pb2.Placed, terms: Terms, left_s: float) -> bytes:
    """The same for an attempt beside the present one, which begins at position 0 as that did."""
    return _start(flight, placed, terms, left_s, ())


def _start(flight: Flight, placed: Placement, terms: Terms, left_s: float, parts: Sequence[Part]) -> bytes:
    start = link_pb2.Link.Start(
        request=flight.admitted.raw,
        ticket=placed.ticket if isinstance(placed, placement_pb2.Placed) else b"",
        credit_bytes=terms.window_bytes,
        traceparent=flight.traceparent,
        timeout=_duration(left_s),
        detach_grace=_duration(terms.detach_grace_s),
        answer_bytes_max=ANSWER_BYTES_MAX if flight.admitted.header.keyed else 0,
        handed=handed_of(parts, flight.makers, terms.driver_id),
        attempts=flight.attempts,
    )
    return start.SerializeToString()


def attach_body(flight: Flight, terms: Terms) -> bytes:
    """Serialized `Link.Attach` of a job that this gateway reads."""
    return link_pb2.Link.Attach(tenant_id=flight.admitted.tenant, credit_bytes=terms.window_bytes).SerializeToString()


def handed_of(parts: Sequence[Part], makers: dict[int, Maker], driver_id: str) -> list[Handed]:
    """Who made the parts of a prefix."""
    nobody = Maker("")
    return [
        Handed(
            epoch=epoch,
            start=infer_pb2.Infer.Position(tokens=tokens, bytes=text_bytes),
            end=infer_pb2.Infer.Position(tokens=end_tokens, bytes=end_bytes),
            chain=chain,
            worker_id=makers.get(epoch, nobody).worker_id,
            driver_id=driver_id,
            fingerprint=makers.get(epoch, nobody).fingerprint,
        )
        for epoch, tokens, text_bytes, end_tokens, end_bytes, chain in parts
    ]


def last_fingerprint(parts: Sequence[Part], makers: dict[int, Maker]) -> bytes:
    """Fingerprint of the engine that made the end of a prefix; empty where it is not known."""
    return makers[parts[-1][0]].fingerprint if parts and parts[-1][0] in makers else b""


def _duration(seconds: float) -> Duration:
    duration = Duration()
    duration.FromMilliseconds(max(1, int(seconds * 1_000)))
    return duration
