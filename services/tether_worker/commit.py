"""The worker's half of the end: it commits where the driver has not, so that a dead gateway costs nobody an answer.

Pure: time is an argument, what to send is returned. A job waits `wait_s` for its driver's OUTCOME, then its
COMPLETE goes out on an orchestrator link, again and again until some OUTCOME says it is written.
Source: docs/design/streams.md §5.
"""

from collections.abc import Iterator
from dataclasses import dataclass

WAIT_S = 1.0  # four times the driver's own commit wait
RESEND_S = 2.0  # an orchestrator answers in milliseconds; a store that restarts takes seconds (a guess)
KEEP_S = 900.0  # outlives an orchestrator's restart; afterwards the hold has lapsed anyway (a guess)
PENDING_MAX = 4_096  # COMPLETE bodies of at most 256 KiB answers; a worker with more has been alone for minutes


@dataclass(slots=True)
class _Pending:
    body: bytes
    driver: int
    due_s: float
    until_s: float


class Committer:
    """Ends that no outcome is known of.

    Args:
        wait_s: how long the driver has.
        resend_s: between two tries.
    """

    def __init__(self, *, wait_s: float = WAIT_S, resend_s: float = RESEND_S) -> None:
        self._wait_s = wait_s
        self._resend_s = resend_s
        self._pending: dict[tuple[bytes, int], _Pending] = {}
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._pending)

    def __repr__(self) -> str:
        return f"Committer({len(self._pending)} pending, {self.dropped} dropped)"

    def ended(self, job: bytes, epoch: int, body: bytes, driver: int, now_s: float) -> None:
        """An attempt ended; `body` is its `Link.Complete`, `driver` its driver's link, or 0 when that is gone."""
        if len(self._pending) >= PENDING_MAX:
            self._pending.pop(next(iter(self._pending)))
            self.dropped += 1
        due_s = now_s + (self._wait_s if driver else 0.0)
        self._pending[job, epoch] = _Pending(body, driver, due_s, now_s + KEEP_S)

    def driver(self, job: bytes, epoch: int) -> int:
        """Link of the driver of an end that waits; 0 where there is none."""
        pending = self._pending.get((job, epoch))
        return pending.driver if pending is not None else 0

    def rebind(self, job: bytes, epoch: int, link: int) -> None:
        """The driver of an end that waits is back on another link."""
        pending = self._pending.get((job, epoch))
        if pending is not None:
            pending.driver = link

    def outcome(self, job: bytes, epoch: int, *, written: bool) -> None:
        """An outcome came from driver or orchestrator; one that is not written changes nothing."""
        if written:
            self._pending.pop((job, epoch), None)

    def link_lost(self, link: int, now_s: float) -> None:
        """A driver is gone: its jobs wait no longer."""
        for pending in self._pending.values():
            if pending.driver == link:
                pending.driver, pending.due_s = 0, now_s

    def due(self, now_s: float) -> Iterator[tuple[bytes, int, bytes]]:
        """What to send now, as (job, epoch, body)."""
        for (job, epoch), pending in list(self._pending.items()):
            if now_s >= pending.until_s:
                del self._pending[job, epoch]
                self.dropped += 1
            elif now_s >= pending.due_s:
                pending.due_s = now_s + self._resend_s
                yield job, epoch, pending.body
