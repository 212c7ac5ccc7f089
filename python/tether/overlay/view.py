"""A view: what a watcher believes of a topic, verified by itself, from whichever storer told it first."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from tether.name import Topic
from tether.overlay import metrics
from tether.overlay.admission import Admission
from tether.overlay.record import Record
from tether.overlay.refusal import Refusal
from tether.overlay.shelf import Shelf, Shift
from tether.overlay.storer import Moment

AGE_MS_MAX = 86_400_000  # a storer that claims more is wrong; the record is then over anyway

Told = tuple[bytes, int]  # a record and its age in ms, as a storer says


@dataclass(slots=True)
class Sifted:
    """What is left of records that were told, after the checks that cost little.

    Attributes:
        fresh: parsed topic, record and age in seconds; credential and signature are still to be checked.
        refused: what was dropped.
    """

    fresh: list[tuple[Topic, Record, float]] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)


class View:
    """Records of one topic as this node believes them.

    Args:
        admission: checks records.
    """

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self.shelf = Shelf()

    def sift(self, topic: str, told: Sequence[Told], now: Moment) -> Sifted:
        """Drop duplicates and what is malformed, foreign, old or misplaced."""
        sifted = Sifted()
        for raw, age_ms in told:
            checked = self._admission.form(topic, raw, now.wall_ms)
            if isinstance(checked, Refusal):
                sifted.refused.append(checked)
            elif self._is_new(checked[1]):
                sifted.fresh.append((*checked, min(max(age_ms, 0), AGE_MS_MAX) / 1_000))
        return sifted

    def _is_new(self, record: Record) -> bool:
        """Whether a record says more than what is known; several storers tell the same."""
        if self.shelf.duplicates(record) or self.shelf.known(record) is not None:
            metrics.DUPLICATES.inc()
            return False
        return True

    def missing(self, sifted: Sifted, now: Moment) -> list[bytes]:
        """Hashes of credentials that must be fetched before `take`."""
        names = dict.fromkeys(record.body.credential_hash for _, record, _ in sifted.fresh)
        return [name for name in names if self._admission.known(name, now.wall_ms) is None]

    def take(self, sifted: Sifted, now: Moment) -> tuple[list[Shift], list[Refusal]]:
        """Check rights and signatures of what was sifted, all signatures at once, and keep what holds."""
        refused = list(sifted.refused)
        allowed: list[tuple[Record, float]] = []
        for topic, record, age_s in sifted.fresh:
            if not self._is_new(record):  # another storer told it while a credential was fetched
                continue
            refusal = self._admission.rights(topic, record, now.wall_ms)
            if refusal is None:
                allowed.append((record, age_s))
            else:
                refused.append(refusal)
        shifts: list[Shift] = []
        for (record, age_s), holds in zip(allowed, self._admission.signed([r for r, _ in allowed]), strict=True):
            outcome = self._put(record, age_s, now) if holds else Refusal.FORGED
            if isinstance(outcome, Refusal):
                refused.append(outcome)
            else:
                shifts.extend(outcome)
        return shifts, refused

    def adopt(self, record: Record, age_s: float, now: Moment) -> list[Shift]:
        """Keep a record that this node's own storer has verified."""
        outcome = self._put(record, age_s, now)
        return [] if isinstance(outcome, Refusal) else outcome

    def _put(self, record: Record, age_s: float, now: Moment) -> list[Shift] | Refusal:
        """Keep a verified record; one that came twice at a time is kept once."""
        return self.shelf.put(record, age_s, now.now_s) if self._is_new(record) else []
