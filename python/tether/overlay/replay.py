"""Counters that were seen: a sliding window, so that a datagram counts once, in any order.

Source: RFC 6479 (the window of IPsec), with one integer as its bits.
"""

WINDOW = 1_024  # datagrams that may overtake each other; a burst of a large crawl


class ReplayWindow:
    """Accepts each counter once, unless it is too old to tell."""

    def __init__(self) -> None:
        self._top = 0
        self._bits = 0

    def accept(self, counter: int) -> bool:
        """Whether `counter` (from 1) is new; it is not new the next time."""
        ahead = counter - self._top
        if ahead > 0:
            self._bits = ((self._bits << min(ahead, WINDOW)) | 1) & ((1 << WINDOW) - 1)
            self._top = counter
            return True
        if -ahead >= WINDOW or counter < 1 or self._bits >> -ahead & 1:
            return False
        self._bits |= 1 << -ahead
        return True
