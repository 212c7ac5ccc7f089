"""Text as it becomes final: bytes of tokens in, whole characters out, nothing ever taken back.

A character may be spread over tokens, and the beginning of a stop text looks like text: both are held until they
are decided. So every token has a definite number of bytes, and (tokens, bytes) is a definite place.
"""

import codecs
from collections.abc import Sequence


class TextStream:
    """Turns token bytes into released text.

    Args:
        stops: texts that end the answer and are not part of it.

    Attributes:
        stopped: whether a stop text was reached.
    """

    def __init__(self, stops: Sequence[str] = ()) -> None:
        self.stopped = False
        self._stops = tuple(stop.encode() for stop in stops)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = b""

    def feed(self, token: bytes) -> bytes:
        """Takes one token's bytes; returns the text that is final now, maybe empty; nothing after a stop text."""
        if self.stopped:
            return b""
        text = self._decoder.decode(token).encode()
        return self._release(text) if self._stops else text

    def flush(self) -> bytes:
        """Returns what was held, at the end of an answer that no stop text ended; broken characters become U+FFFD."""
        if self.stopped:
            return b""
        held, self._held = self._held + self._decoder.decode(b"", final=True).encode(), b""
        return held

    def _release(self, text: bytes) -> bytes:
        held = self._held + text
        found = [at for at in (held.find(stop) for stop in self._stops) if at >= 0]
        if found:
            self.stopped, self._held = True, b""
            return held[: min(found)]
        keep = max(_overlap(held, stop) for stop in self._stops)
        self._held = held[len(held) - keep :]
        return held[: len(held) - keep]


def _overlap(text: bytes, stop: bytes) -> int:
    """Length of the longest end of `text` with which `stop` begins."""
    longest = min(len(text), len(stop) - 1)
    return next((size for size in range(longest, 0, -1) if text.endswith(stop[:size])), 0)
