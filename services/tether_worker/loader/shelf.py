"""What stands on the disk, what is pinned, and what must go to make room: decisions without I/O.

Room is taken before a fetch begins, so that two fetches never count on the same bytes. The least recently used version
that nobody runs goes first.
Source: least recently used replacement, with pins.
"""

from dataclasses import dataclass
from enum import Enum

from tether.errors import Reason, TetherError


class State(Enum):
    """How near a version is to being loaded."""

    ABSENT = "absent"
    FETCHING = "fetching"
    ON_DISK = "on-disk"
    FAILED = "failed"


@dataclass(slots=True)
class _Item:
    """A version on the shelf; room is taken while it is being fetched too."""

    size_bytes: int
    state: State
    used_at_s: float
    pins: int = 0


class Shelf:
    """The versions of one worker's disk.

    Args:
        bytes_max: room for all of them, bytes.
    """

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._items: dict[bytes, _Item] = {}
        self._failed: set[bytes] = set()

    def __repr__(self) -> str:
        shown = ", ".join(f"{digest.hex()[:8]} {one.state.value}" for digest, one in self._items.items())
        return f"Shelf({self.used_bytes} of {self._bytes_max} bytes: {shown})"

    @property
    def used_bytes(self) -> int:
        """Bytes that are taken, or promised to fetches."""
        return sum(one.size_bytes for one in self._items.values())

    def state(self, digest: bytes) -> State:
        """Return how near a version is to being loaded."""
        if digest in self._items:
            return self._items[digest].state
        return State.FAILED if digest in self._failed else State.ABSENT

    def found(self, digest: bytes, size_bytes: int, now_s: float) -> None:
        """Note a version that was on the disk at the start."""
        self._items[digest] = _Item(size_bytes, State.ON_DISK, now_s)

    def take(self, digest: bytes, size_bytes: int, now_s: float) -> list[bytes]:
        """Pin a version and take room for it; returns the versions that must be removed first.

        They count as gone from now on.

        Raises:
            TetherError: STORE_UNAVAILABLE where it does not fit beside what is pinned.
        """
        known = self._items.get(digest)
        more_bytes = size_bytes - (known.size_bytes if known else 0)
        going = self._make_room(digest, more_bytes)
        if known is None:
            known = self._items[digest] = _Item(size_bytes, State.FETCHING, now_s)
        known.size_bytes, known.used_at_s = size_bytes, now_s
        known.pins += 1
        self._failed.discard(digest)
        return going

    def stored(self, digest: bytes) -> None:
        """Note that a version is whole on the disk."""
        self._items[digest].state = State.ON_DISK

    def failed(self, digest: bytes) -> None:
        """Give a version's room back, because it could not be fetched; one that somebody still runs keeps it."""
        one = self._items.get(digest)
        if one is not None and one.pins > 1:
            one.pins -= 1
            return
        self._items.pop(digest, None)
        self._failed.add(digest)

    def pin(self, digest: bytes, now_s: float) -> None:
        """Keep a version that is on the disk for one more user."""
        one = self._items[digest]
        one.pins += 1
        one.used_at_s = now_s

    def unpin(self, digest: bytes, now_s: float) -> None:
        """Let one user of a version go."""
        one = self._items.get(digest)
        if one is not None and one.pins:
            one.pins -= 1
            one.used_at_s = now_s

    def _make_room(self, digest: bytes, more_bytes: int) -> list[bytes]:
        """Choose what goes, oldest first, and forget it."""
        excess_bytes = self.used_bytes + more_bytes - self._bytes_max
        idle = [key for key, one in self._items.items() if not one.pins and key != digest]
        going: list[bytes] = []
        for key in sorted(idle, key=lambda key: self._items[key].used_at_s):
            if excess_bytes <= 0:
                break
            going.append(key)
            excess_bytes -= self._items[key].size_bytes
        if excess_bytes > 0:
            text = f"The model needs {excess_bytes} bytes more than the worker's disk budget of {self._bytes_max} has."
            raise TetherError(Reason.STORE_UNAVAILABLE, text, metadata={"bytes_missing": str(excess_bytes)})
        for key in going:
            del self._items[key]
        return going
