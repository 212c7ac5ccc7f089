"""The links of a process: numbered, found by node, and of two links of one node the newest stays."""

from collections.abc import Iterator

from tether.errors import Reason, TetherError
from tether.link.end import LinkEnd


class LinkBook:
    """Links that stand, by number and by node."""

    def __init__(self) -> None:
        self._last = 0
        self._by_number: dict[int, LinkEnd] = {}
        self._by_node: dict[tuple[str, str], LinkEnd] = {}

    def __len__(self) -> int:
        return len(self._by_number)

    def __iter__(self) -> Iterator[LinkEnd]:
        return iter(list(self._by_number.values()))

    def __repr__(self) -> str:
        return f"LinkBook({sorted(self._by_number.values(), key=lambda end: end.number)})"

    def number(self) -> int:
        """A number that no link of this process had before, from 1."""
        self._last += 1
        return self._last

    def get(self, number: int) -> LinkEnd | None:
        """The link with this number, while it stands."""
        return self._by_number.get(number)

    def of(self, node_id: str, via: str = "") -> LinkEnd | None:
        """The newest link with a node, while it stands: a link of its own, or the one that `via` relays."""
        return self._by_node.get((node_id, via))

    def wake(self, number: int) -> None:
        """Wake a link's writer, if the link still stands."""
        end = self._by_number.get(number)
        if end is not None:
            end.wake()

    def admit(self, end: LinkEnd) -> None:
        """Take a link in and close an older one of the same node that came the same way.

        Raises:
            TetherError: LINK_PROTOCOL when `end` is the older one.
        """
        old = self._by_node.get(_key(end))
        if old is not None and not old.closed:
            if old.peer.age_key >= end.peer.age_key:
                raise TetherError(Reason.LINK_PROTOCOL, "a newer link of this node stands")
            old.close("replaced")
        self._by_node[_key(end)] = end
        self._by_number[end.number] = end

    def remove(self, end: LinkEnd) -> None:
        """Forget a link that ended."""
        self._by_number.pop(end.number, None)
        if self._by_node.get(_key(end)) is end:
            del self._by_node[_key(end)]


def _key(end: LinkEnd) -> tuple[str, str]:
    return (end.peer.node_id, end.peer.via)
