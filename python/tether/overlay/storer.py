"""A storer: keeps the records of topics near it, gives them to readers, and tells watchers what changes.

Its methods are what peers may ask; each takes untrusted arguments and the time, and returns an answer or a Refusal. It
knows no socket: whom to tell comes back as a list.
"""

from dataclasses import dataclass
from typing import Any

from tether.identity.lru import Lru
from tether.name import Topic
from tether.overlay import metrics
from tether.overlay.admission import Admission
from tether.overlay.budget import Budget, Rate
from tether.overlay.contact import Address
from tether.overlay.found import ChangeKind
from tether.overlay.highest import Highest
from tether.overlay.message import VALUE_BYTES_MAX
from tether.overlay.record import Key, Record
from tether.overlay.refusal import Refusal
from tether.overlay.shelf import Shelf, Shift
from tether.overlay.topic import read_topic

LEASE_MS_MAX = 60_000  # a watcher that is gone is told nothing after this
LEASES_MAX = 16_384  # on all topics; 100 bytes each
CREDENTIALS_IN_REPLY_MAX = 12  # 600 bytes each fit into a datagram
PAGE_BYTES = VALUE_BYTES_MAX - 64  # room for the list around the records
STORE_EACH = Rate(per_s=100, burst=512)  # a worker with 256 models starts at once and renews every 5 s
STORE_ALL = Rate(per_s=5_000, burst=10_000)  # about a quarter of a core of signatures
_CHANGES = {kind: metrics.CHANGES.labels(kind.value if kind else "renewed") for kind in (None, *ChangeKind)}


@dataclass(frozen=True, slots=True)
class Moment:
    """Now, on both clocks: `wall_ms` for what was written elsewhere, `now_s` (monotonic) for all else."""

    wall_ms: int
    now_s: float


@dataclass(frozen=True, slots=True)
class Stored:
    """What a store did.

    Attributes:
        refusal: why it was refused, or None.
        record: what was kept; None where it was refused or known already.
        changed: whether it says something new, so that watchers are told.
    """

    refusal: Refusal | None = None
    record: Record | None = None
    changed: bool = False


class Storer:
    """Records of topics near this node.

    Args:
        admission: checks records.
        highest: orders seen, perhaps in an earlier life.
        each: how much one writer may store.
    """

    def __init__(self, admission: Admission, highest: Highest, each: Rate = STORE_EACH) -> None:
        self._admission = admission
        self.shelf = Shelf(highest)
        self._budget = Budget(each, STORE_ALL)
        self._leases: Lru[tuple[str, Address], float] = Lru(LEASES_MAX)
        self._watched: dict[str, set[Address]] = {}

    def store(self, writer_key: bytes, arguments: list[Any], now: Moment) -> Stored:
        """Keep a record that its own writer sends: cheap checks, budget, seen before, rights, signature."""
        match arguments:
            case [str(topic), bytes(raw)]:
                checked = self._admission.form(topic, raw, now.wall_ms)
                return Stored(checked) if isinstance(checked, Refusal) else self._store(writer_key, *checked, now)
        return Stored(Refusal.MALFORMED)

    def _store(self, writer_key: bytes, parsed: Topic, record: Record, now: Moment) -> Stored:
        if self.shelf.duplicates(record):
            metrics.DUPLICATES.inc()
            return Stored()
        refusal = Refusal.RELAYED if record.body.node_key != writer_key else None
        refusal = refusal or (None if self._budget.take(writer_key, now.now_s) else Refusal.BUDGET)
        refusal = refusal or self.shelf.known(record) or self._admission.rights(parsed, record, now.wall_ms)
        if refusal is not None:
            return Stored(refusal)
        if self._admission.signed([record]) != [True]:
            return Stored(Refusal.FORGED)
        return self._put(record, now)

    def _put(self, record: Record, now: Moment) -> Stored:
        shifts = self.shelf.put(record, 0.0, now.now_s)
        if isinstance(shifts, Refusal):
            return Stored(shifts)
        for shift in shifts:
            _CHANGES[shift.kind].inc()
        return Stored(None, record, any(shift.kind is not None for shift in shifts))

    def fetch(self, arguments: list[Any], now: Moment) -> object:
        """A page of a topic: `[[record, age in ms]…]` and whether more follow."""
        match arguments:
            case [str(topic), []]:
                return self._page(topic, None, now)
            case [str(topic), [bytes(node), str(kind)]]:
                return self._page(topic, (node, kind), now)
        return Refusal.MALFORMED

    def _page(self, topic: str, after: Key | None, now: Moment) -> object:
        if isinstance(read_topic(topic), Refusal):
            return Refusal.TOPIC
        page, more = self.shelf.page(topic, after, PAGE_BYTES, now.now_s)
        return [[[kept.record.raw, int(kept.age_s(now.now_s) * 1_000)] for kept in page], more]

    def credentials(self, arguments: list[Any]) -> object:
        """Credentials by their hashes; unknown ones are left out."""
        match arguments:
            case [list(names)] if len(names) <= CREDENTIALS_IN_REPLY_MAX:
                found = [self._admission.credential(name) for name in names if isinstance(name, bytes)]
                return [raw for raw in found if raw is not None]
        return Refusal.MALFORMED

    def watch(self, address: Address, arguments: list[Any], now: Moment) -> object:
        """Tell `address` what changes on a topic, for a while; 0 ends it."""
        match arguments:
            case [str(topic), int(lease_ms)] if 0 <= lease_ms <= LEASE_MS_MAX:
                if isinstance(read_topic(topic), Refusal):
                    return Refusal.TOPIC
                self._lease(topic, address, now.now_s + lease_ms / 1_000)
                return True
        return Refusal.MALFORMED

    def _lease(self, topic: str, address: Address, until_s: float) -> None:
        self._leases.put((topic, address), until_s)
        self._watched.setdefault(topic, set()).add(address)

    def watchers(self, topic: str, now_s: float) -> list[Address]:
        """Who is to be told of a change."""
        watching = self._watched.get(topic, set())
        over = {address for address in watching if (self._leases.get((topic, address)) or 0.0) <= now_s}
        for address in over:
            self._leases.drop((topic, address))
        watching -= over
        if not watching:
            self._watched.pop(topic, None)
        return list(watching)

    def expire(self, now_s: float) -> list[Shift]:
        """Drop what is over."""
        for topic in list(self._watched):
            self.watchers(topic, now_s)
        return self.shelf.expire(now_s)
