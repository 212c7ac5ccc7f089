"""The records of many topics: the highest per (node, kind), until they are over.

A state machine without a clock: `put` and `expire` take the time and return what changed. Both a storer's records and a
watcher's view are shelves. Only what was verified is put here; `known` comes before the signature.
"""

from dataclasses import dataclass
from math import inf

from tether.identity.lru import Lru
from tether.overlay.found import ChangeKind
from tether.overlay.highest import Highest, key_of
from tether.overlay.record import Key, Record, same_content
from tether.overlay.refusal import Refusal

RECORDS_MAX = 65_536  # 10,000 workers with some models each; 1 KB each with its parsed form
TOPIC_RECORDS_MAX = 16_384  # a region's workers
NODE_RECORDS_MAX = 512  # a worker's models on this storer
NONCES_MAX = 131_072  # 45 s of 3,000 records a second


@dataclass(slots=True)
class Kept:
    """A record on the shelf.

    Attributes:
        record: verified.
        topic: its topic.
        received_s: when a storer first received these bytes, on this node's monotonic clock.
        expires_s: when it is over, on the same clock.
    """

    record: Record
    topic: str
    received_s: float
    expires_s: float

    def age_s(self, now_s: float) -> float:
        """Seconds since a storer received it."""
        return max(0.0, now_s - self.received_s)


@dataclass(frozen=True, slots=True)
class Shift:
    """What a put or an expiry did.

    Attributes:
        kind: UP, UPDATED or GONE; None where the same was said again.
        kept: the record; the old one where it is gone.
    """

    kind: ChangeKind | None
    kept: Kept


class Shelf:
    """Records by topic.

    Args:
        highest: orders that were seen, perhaps in an earlier life of this node.
    """

    def __init__(self, highest: Highest | None = None) -> None:
        self.highest = highest if highest is not None else Highest()
        self._topics: dict[str, dict[Key, Kept]] = {}
        self._per_node: dict[bytes, int] = {}
        self._nonces: Lru[bytes, None] = Lru(NONCES_MAX)
        self._count = 0
        self._next_s = 0.0

    def __len__(self) -> int:
        return self._count

    def duplicates(self, record: Record) -> bool:
        """Whether these very bytes are kept already."""
        kept = self._topics.get(record.body.topic, {}).get(record.key)
        return kept is not None and kept.record.raw == record.raw

    def known(self, record: Record) -> Refusal | None:
        """Refuse what was seen before or is older than what holds; costs no signature check."""
        body = record.body
        if body.nonce in self._nonces:
            return Refusal.REPLAYED
        own = self.highest.get(key_of(body.topic, body.node_key, record.kind))
        withdrawn = self.highest.get(key_of(body.topic, body.node_key, ""))
        return Refusal.STALE if record.order <= max(own, withdrawn) else None

    def put(self, record: Record, age_s: float, now_s: float) -> list[Shift] | Refusal:
        """Keep a verified record that `known` lets pass.

        Args:
            record: verified.
            age_s: seconds since a storer received it.
            now_s: this node's monotonic clock.
        """
        if not record.withdraws and self._is_full(record):
            return Refusal.FULL
        body = record.body
        self._nonces.put(body.nonce, None)
        self.highest.lift(key_of(body.topic, body.node_key, record.kind), record.order)
        if record.withdraws:
            return self._withdraw(record)
        lifetime_s = body.lifetime_ms / 1_000
        age_s = min(max(age_s, 0.0), lifetime_s)
        return [self._keep(Kept(record, body.topic, now_s - age_s, now_s + lifetime_s - age_s))]

    def _is_full(self, record: Record) -> bool:
        topic = self._topics.get(record.body.topic, {})
        if record.key in topic:
            return False
        many = self._per_node.get(record.body.node_key, 0) >= NODE_RECORDS_MAX
        return many or self._count >= RECORDS_MAX or len(topic) >= TOPIC_RECORDS_MAX

    def _keep(self, kept: Kept) -> Shift:
        topic = self._topics.setdefault(kept.topic, {})
        old = topic.get(kept.record.key)
        topic[kept.record.key] = kept
        self._next_s = min(self._next_s, kept.expires_s)
        if old is None:
            self._count += 1
            node = kept.record.body.node_key
            self._per_node[node] = self._per_node.get(node, 0) + 1
            return Shift(ChangeKind.UP, kept)
        same = same_content(old.record.body, kept.record.body)
        return Shift(None if same else ChangeKind.UPDATED, kept)

    def _withdraw(self, record: Record) -> list[Shift]:
        topic = self._topics.get(record.body.topic, {})
        over = [
            kept
            for (node, _), kept in topic.items()
            if node == record.body.node_key and kept.record.order < record.order
        ]
        return [self._drop(kept) for kept in over]

    def _drop(self, kept: Kept) -> Shift:
        topic = self._topics[kept.topic]
        del topic[kept.record.key]
        if not topic:
            del self._topics[kept.topic]
        self._count -= 1
        node = kept.record.body.node_key
        self._per_node[node] -= 1
        if not self._per_node[node]:
            del self._per_node[node]
        return Shift(ChangeKind.GONE, kept)

    def expire(self, now_s: float) -> list[Shift]:
        """Drop what is over."""
        if now_s < self._next_s:
            return []
        everything = [kept for topic in self._topics.values() for kept in topic.values()]
        self._next_s = min((kept.expires_s for kept in everything if kept.expires_s > now_s), default=inf)
        return [self._drop(kept) for kept in everything if kept.expires_s <= now_s]

    def forget(self, topic: str) -> None:
        """Drop a topic that nobody watches any more."""
        for kept in list(self._topics.get(topic, {}).values()):
            self._drop(kept)

    def read(self, topic: str, now_s: float) -> list[Kept]:
        """Records of a topic that are not over, by key."""
        kept = self._topics.get(topic, {})
        return [kept[key] for key in sorted(kept) if kept[key].expires_s > now_s]

    def page(self, topic: str, after: Key | None, bytes_max: int, now_s: float) -> tuple[list[Kept], bool]:
        """Records after a key that fit into `bytes_max`, and whether more follow."""
        page: list[Kept] = []
        for kept in self.read(topic, now_s):
            if after is not None and kept.record.key <= after:
                continue
            bytes_max -= len(kept.record.raw) + PAGE_ENTRY_BYTES
            if bytes_max < 0:
                return page, True
            page.append(kept)
        return page, False


PAGE_ENTRY_BYTES = 16  # age and framing of a record in a reply
