"""Putting an attempt on its link: START with the parts of what was accepted, or ATTACH for a reader.

Source: docs/design/streams.md §3, §4.
"""

from collections.abc import Callable

from tether.v1 import infer_pb2, placement_pb2
from tether_gateway.attempt import POSITION_NONE, Lost, continuity
from tether_gateway.flight import Flight, Maker
from tether_gateway.governor import Again
from tether_gateway.splice import Splice, now_ms
from tether_gateway.start import Part, Terms, attach_body, last_fingerprint, race_body, start_body

Launched = Callable[[bytes, int], None]  # job, epoch


class Launcher:
    """Launches attempts of one gateway.

    Args:
        splice: streams and table.
        terms: what every START says.
    """

    def __init__(self, splice: Splice, terms: Terms) -> None:
        self._splice = splice
        self._table = splice.table
        self._terms = terms
        self.launched: Launched = _ignore

    def accepted(self, job: bytes) -> tuple[int, int]:
        """Accepted position of a job, tokens and bytes."""
        found = self._table.position(job)
        return POSITION_NONE if found is None else found[1:]

    def again(self, flight: Flight, lost: Lost) -> Again:
        """What to ask the orchestrator for, for a job whose attempt is over."""
        tokens, text_bytes = self.accepted(flight.job)
        fingerprint = last_fingerprint(self._parts(flight), flight.makers)
        by = flight.placed_by
        return Again(flight.newest, lost.cause, tokens, text_bytes, fingerprint, lost.text, placed_by=by)

    def launch(self, flight: Flight, link: int) -> None:
        """Start, or read, the attempt that the flight has landed on; again on a new link where it runs already."""
        flight.link = link
        if flight.driver:
            self.launched(flight.job, flight.epoch)
        body, how = self._body(flight)
        self._splice.act(
            self._table.placed(flight.job, flight.epoch, link, body, now_ms(), continuity=how, driver=flight.driver)
        )

    def race(self, flight: Flight, placed: placement_pb2.Placed, link: int) -> None:
        """Start a second attempt beside the present one; whichever brings a first chunk goes on."""
        self.launched(flight.job, placed.epoch)
        flight.raced, flight.raced_link, flight.newest = placed, link, max(flight.newest, placed.epoch)
        flight.makers[placed.epoch] = Maker(placed.worker.worker_id, placed.fingerprint)
        body = race_body(flight, placed, self._terms, _left_s(flight))
        self._splice.act(self._table.race(flight.job, placed.epoch, link, body, now_ms()))

    def _body(self, flight: Flight) -> tuple[bytes, int]:
        placed = flight.placed
        if not isinstance(placed, placement_pb2.Placed):
            return attach_body(flight, self._terms), infer_pb2.Infer.CONTINUITY_UNSPECIFIED
        parts = self._parts(flight)
        how = continuity(self.accepted(flight.job), last_fingerprint(parts, flight.makers), placed)
        handed = () if how == infer_pb2.Infer.CONTINUITY_RERUN else parts
        return start_body(flight, self._terms, _left_s(flight), handed), how

    def _parts(self, flight: Flight) -> list[Part]:
        return self._table.handed(flight.job) or []


def _ignore(_job: bytes, _epoch: int) -> None:
    return


def _left_s(flight: Flight) -> float:
    return flight.admitted.deadline_s - now_ms() / 1_000
