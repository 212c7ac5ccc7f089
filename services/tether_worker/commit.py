"""The worker's half of the end: it commits where the driver has not, so that a dead gateway costs nobody an answer.

Pure: time is an argument, what to do is returned. An end waits for its driver's OUTCOME; if none comes soon it goes to
the journal on this node's disk, and as a COMPLETE to an orchestrator, again and again until some OUTCOME says that it
is written, in this life or a later one. An answer that was cut off is its driver's to decide while that lives: it may
go on elsewhere, and must not find its job abandoned.
Source: docs/design/streams.md §5.
"""

from collections.abc import Iterator
from dataclasses import dataclass

KEEP_AFTER_S = 0.5  # twice the driver's own commit wait: a store that answers costs no write here
WAIT_S = 1.0  # four times the driver's own commit wait
RESEND_S = 2.0  # an orchestrator answers in milliseconds; a store that restarts takes seconds (a guess)
RESEND_S_MAX = 30.0  # a region that is gone for hours is not asked a thousand times (a guess)
KEEP_S = 900.0  # of an end that no disk keeps: outlives an orchestrator's restart (a guess)
SAFE_KEEP_S = 7 * 86_400.0  # of one in the journal; by then retention has closed the job
PENDING_MAX = 4_096  # a worker with more has been alone for minutes
PENDING_BYTES_MAX = 128 << 20  # COMPLETE bodies with answers of up to 256 KiB each
SEND_BYTES_MAX = 1 << 20  # of one look, 20 times a second: what waited for hours must not choke the link

LEASE_S = 5.0  # a driver that comes back comes within its lease
DECIDED_S = 30.0  # a driver that stays has long gone on elsewhere, or told an outcome

Name = tuple[bytes, int]  # job and epoch


@dataclass(slots=True)
class _Pending:
    body: bytes
    driver: int
    keep_s: float
    due_s: float
    until_s: float
    wait_s: float
    partial: bool = False
    safe: bool = False
    keeping: bool = False


class Committer:
    """Ends that no outcome is known of.

    Args:
        wait_s: how long the driver has.
        resend_s: between the first two tries; then twice as long each time.
        bytes_max: most bytes of all bodies.
    """

    def __init__(
        self, *, wait_s: float = WAIT_S, resend_s: float = RESEND_S, bytes_max: int = PENDING_BYTES_MAX
    ) -> None:
        self._wait_s = wait_s
        self._resend_s = resend_s
        self._bytes_max = bytes_max
        self._bytes = 0
        self._pending: dict[Name, _Pending] = {}
        self._settled: list[Name] = []
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._pending)

    def __repr__(self) -> str:
        return f"Committer({len(self._pending)} pending, {self.exposed} on no disk, {self.dropped} dropped)"

    @property
    def waiting(self) -> int:
        """Ends that are this worker's to tell: all but what living drivers decide."""
        return sum(not (pending.partial and pending.driver) for pending in self._pending.values())

    @property
    def exposed(self) -> int:
        """Those of them that would be lost with this process."""
        ends = self._pending.values()
        return sum(not (pending.safe or (pending.partial and pending.driver)) for pending in ends)

    def ended(self, job: bytes, epoch: int, body: bytes, driver: int, now_s: float, *, partial: bool = False) -> None:
        """An attempt ended.

        Args:
            job: 16 bytes.
            epoch: the attempt.
            body: its serialized `Link.Complete`.
            driver: its driver's link, or 0 when that is gone.
            now_s: monotonic.
            partial: whether its answer is not whole, but may become so elsewhere.
        """
        keep_s, due_s = (now_s + KEEP_AFTER_S, now_s + self._wait_s) if driver else (now_s, now_s)
        until_s = now_s + KEEP_S
        if partial and driver:
            keep_s = due_s = until_s = now_s + DECIDED_S
        self._add((job, epoch), _Pending(body, driver, keep_s, due_s, until_s, self._resend_s, partial))

    def restore(self, job: bytes, epoch: int, body: bytes, now_s: float) -> None:
        """An end that a former life left in the journal."""
        self._add((job, epoch), _Pending(body, 0, now_s, now_s, now_s + SAFE_KEEP_S, self._resend_s, safe=True))

    def knows(self, job: bytes, epoch: int) -> bool:
        """Whether an end waits for its outcome."""
        return (job, epoch) in self._pending

    def driver(self, job: bytes, epoch: int) -> int:
        """Link of the driver of an end that waits; 0 where there is none."""
        pending = self._pending.get((job, epoch))
        return pending.driver if pending is not None else 0

    def rebind(self, job: bytes, epoch: int, link: int) -> None:
        """The driver of an end that waits is back on another link."""
        pending = self._pending.get((job, epoch))
        if pending is None:
            return
        pending.driver = link
        if pending.partial and not pending.safe:
            pending.keep_s = pending.due_s = pending.until_s

    def outcome(self, job: bytes, epoch: int, *, written: bool) -> None:
        """An outcome came from driver or orchestrator; one that is not written asks to send again later."""
        if written:
            self._remove((job, epoch))

    def link_lost(self, link: int, now_s: float) -> None:
        """A driver is gone: its answers wait no longer, and what was cut off until its lease is over."""
        for pending in self._pending.values():
            if pending.driver == link:
                pending.driver, pending.until_s = 0, now_s + KEEP_S
                pending.due_s = pending.keep_s = now_s + (LEASE_S if pending.partial else 0.0)

    def due(self, now_s: float) -> Iterator[tuple[bytes, int, bytes]]:
        """What to send now, as (job, epoch, body), up to `SEND_BYTES_MAX`; the rest is due the next time."""
        told = 0
        for (job, epoch), pending in list(self._pending.items()):
            if now_s >= pending.until_s:
                self._give_up((job, epoch), pending)
            elif now_s >= pending.due_s and told < SEND_BYTES_MAX:
                pending.due_s = now_s + pending.wait_s
                pending.wait_s = min(2 * pending.wait_s, RESEND_S_MAX)
                told += len(pending.body)
                yield job, epoch, pending.body

    # journal

    def to_keep(self, now_s: float) -> Iterator[tuple[Name, bytes]]:
        """Ends that are to be written to the journal now; each is told to be `kept` or not."""
        for name, pending in self._pending.items():
            if pending.keep_s <= now_s < pending.until_s and not (pending.safe or pending.keeping):
                pending.keeping = True
                yield name, pending.body

    def kept(self, name: Name, now_s: float, *, safe: bool) -> None:
        """An end is in the journal, or could not be written; then it is tried again."""
        pending = self._pending.get(name)
        if pending is None:
            return
        pending.keeping, pending.safe = False, safe
        pending.keep_s = now_s + RESEND_S
        if safe:
            pending.until_s = max(pending.until_s, now_s + SAFE_KEEP_S)

    def hurry(self, now_s: float) -> None:
        """This process is about to end: all is to be kept now, but for what living drivers decide."""
        for pending in self._pending.values():
            if not (pending.partial and pending.driver):
                pending.keep_s = now_s

    def settled(self) -> list[Name]:
        """Ends that the journal need not keep, since the last call."""
        settled, self._settled = self._settled, []
        return settled

    # inside

    def _add(self, name: Name, pending: _Pending) -> None:
        before = self._pending.pop(name, None)
        self._pending[name] = pending
        self._bytes += len(pending.body) - (len(before.body) if before is not None else 0)
        while len(self._pending) > PENDING_MAX or (self._bytes > self._bytes_max and len(self._pending) > 1):
            self._crowd_out(next(iter(self._pending)))

    def _crowd_out(self, name: Name) -> None:
        """Memory lets the oldest go; what the journal has of it comes back with the next life."""
        self._bytes -= len(self._pending.pop(name).body)
        self.dropped += 1

    def _give_up(self, name: Name, pending: _Pending) -> None:
        self._remove(name)
        self.dropped += not (pending.partial and pending.driver)

    def _remove(self, name: Name) -> None:
        pending = self._pending.pop(name, None)
        if pending is None:
            return
        self._bytes -= len(pending.body)
        if pending.safe or pending.keeping:
            self._settled.append(name)
