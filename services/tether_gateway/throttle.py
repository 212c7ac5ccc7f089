"""Wrong keys per source: a person mistypes, a machine searches.

Each wrong key takes from the source's bucket. An empty one refuses unknown keys unread; a key that was good from that
source lately goes on, so that one bad neighbour behind the same address locks nobody out.
"""

from collections import OrderedDict
from hashlib import blake2b

from tether import _native
from tether.errors import Reason, TetherError

GOOD_MAX = 8_192  # (source, key) pairs that were good lately; 16 bytes each
SOURCES_MAX = 65_536


class KeyThrottle:
    """Throttle of one gateway.

    Args:
        wrong_max: wrong keys before a source is throttled.
        refill_s: seconds after which it may try one more.
    """

    def __init__(self, wrong_max: int, refill_s: float) -> None:
        self._buckets = _native.Buckets(1.0 / refill_s, float(wrong_max), SOURCES_MAX)
        self._refill_s = refill_s
        self._good: OrderedDict[bytes, None] = OrderedDict()

    def check(self, source: str, token: str, now_s: float) -> None:
        """Refuse a source that tried too many wrong keys.

        Args:
            source: where the call comes from, without its port.
            token: what it sent.
            now_s: monotonic seconds.

        Raises:
            TetherError: TOO_MANY_ATTEMPTS.
        """
        if self._buckets.level(source, now_s) < 1.0 and _name(source, token) not in self._good:
            raise TetherError(
                Reason.TOO_MANY_ATTEMPTS, "Too many wrong keys came from this address.", retry_after_s=self._refill_s
            )

    def wrong(self, source: str, now_s: float) -> None:
        """Count a wrong key."""
        self._buckets.take(source, 1.0, now_s)

    def good(self, source: str, token: str) -> None:
        """Remember a good key."""
        name = _name(source, token)
        self._good[name] = None
        self._good.move_to_end(name)
        if len(self._good) > GOOD_MAX:
            self._good.popitem(last=False)


def _name(source: str, token: str) -> bytes:
    return blake2b(f"{source}\0{token}".encode(), digest_size=16).digest()
