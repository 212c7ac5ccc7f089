"""Who keeps a topic: the k nodes nearest to it, found by a crawl that holds for a while, longer each time."""

from dataclasses import dataclass

from tether.identity.lru import Lru
from tether.overlay.clock import Clock
from tether.overlay.contact import Contact, topic_id
from tether.overlay.crawl import Crawl
from tether.overlay.protocol import OverlayProtocol
from tether.overlay.setting import Settings

TOPICS_MAX = 4_096  # topics that a node announces on or watches
HOLD_FIRST_S = 1.0  # a network that is just starting changes fast; an old one does not


@dataclass(frozen=True, slots=True)
class _Crawled:
    """What a crawl found, and how long it holds."""

    until_s: float
    hold_s: float
    contacts: list[Contact]


class Reach:
    """Finds storers.

    Args:
        protocol: the table and its calls.
        settings: k, and how long a crawl's result holds.
        clock: time.
    """

    def __init__(self, protocol: OverlayProtocol, settings: Settings, clock: Clock) -> None:
        self._protocol = protocol
        self._settings = settings
        self._clock = clock
        self._crawled: Lru[str, _Crawled] = Lru(TOPICS_MAX)

    async def storers(self, topic: str) -> list[Contact]:
        """Other nodes that keep a topic, nearest first; this node may be one besides."""
        now_s = self._clock.now_s()
        known = self._crawled.get(topic)
        if known is not None and now_s < known.until_s:
            return known.contacts
        found = await Crawl(self._protocol, topic_id(topic), self._settings).contacts()
        hold_s = HOLD_FIRST_S if known is None else min(known.hold_s * 2, self._settings.refresh_s)
        self._crawled.put(topic, _Crawled(now_s + hold_s * self._clock.jitter(), hold_s, found))
        return found

    def last_storers(self, topic: str) -> list[Contact]:
        """The same as last found, without looking again."""
        known = self._crawled.get(topic)
        return known.contacts if known is not None else self._protocol.nearest(topic_id(topic))

    def is_storer(self, topic: str) -> bool:
        """Whether this node is one of the nearest, as far as it knows."""
        return self._is_near(topic, self._protocol.source_node)

    def concerns(self, topic: str, contact: Contact) -> bool:
        """Whether a contact is one of the nearest; if so an older crawl is forgotten."""
        near = self._is_near(topic, contact)
        if near:
            self._crawled.drop(topic)
        return near

    def _is_near(self, topic: str, contact: Contact) -> bool:
        target = topic_id(topic)
        nearest = self._protocol.nearest(target)
        if len(nearest) < self._settings.k:
            return True
        distance = int.from_bytes(target, "big")
        return bool(contact.long_id ^ distance <= nearest[-1].long_id ^ distance)
