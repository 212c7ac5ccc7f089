"""The highest (incarnation, sequence) seen per key: what keeps an old record from coming back.

It is bounded and forgets what was raised longest ago; by then the record's issue time protects it.
"""

from collections import OrderedDict
from collections.abc import Iterable
from hashlib import blake2b

Order = tuple[int, int]
KEYS_MAX = 65_536  # 10,000 workers with some models each; about 200 bytes a key
NEVER: Order = (0, 0)


def key_of(topic: str, node_key: bytes, kind: str) -> bytes:
    """A short name (16 bytes) for (topic, node, kind of content)."""
    return blake2b(b"\0".join((node_key, topic.encode(), kind.encode())), digest_size=16).digest()


class Highest:
    """Orders by key; `take_raised` tells what changed since it was last asked."""

    def __init__(self, rows: Iterable[tuple[bytes, int, int]] = (), keys_max: int = KEYS_MAX) -> None:
        self._keys_max = keys_max
        self._orders: OrderedDict[bytes, Order] = OrderedDict((key, (life, number)) for key, life, number in rows)
        self._raised: set[bytes] = set()

    def get(self, key: bytes) -> Order:
        """The highest order of a key; `NEVER` where it is unknown."""
        return self._orders.get(key, NEVER)

    def lift(self, key: bytes, order: Order) -> None:
        """Keep `order` where it is higher."""
        if order > self.get(key):
            self._orders[key] = order
            self._orders.move_to_end(key)
            self._raised.add(key)
        while len(self._orders) > self._keys_max:
            self._raised.discard(self._orders.popitem(last=False)[0])

    def take_raised(self) -> list[tuple[bytes, int, int]]:
        """Rows that changed since the last call."""
        rows = [(key, *self._orders[key]) for key in self._raised]
        self._raised.clear()
        return rows

    def __len__(self) -> int:
        return len(self._orders)
