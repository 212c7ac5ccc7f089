"""Deficit round robin: each flow's turn adds to its deficit by weight, and it is served while the deficit lasts.

So flows share what there is by their weights, whatever they ask for, at constant cost, and a flow that asks for little
waits for one round at most.
Source: Shreedhar and Varghese, "Efficient Fair Queueing Using Deficit Round Robin", SIGCOMM 1995.
"""

from collections import OrderedDict, deque
from collections.abc import Collection, Hashable, Iterator
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar


class Item(Protocol):
    """What waits in a flow."""

    @property
    def flow(self) -> Hashable:
        """Whose it is."""

    @property
    def weight(self) -> int:
        """Share of its flow, from 1."""

    @property
    def cost(self) -> float:
        """What serving it takes, from 1."""


T = TypeVar("T", bound=Item)


@dataclass(slots=True)
class _Flow(Generic[T]):
    items: OrderedDict[int, T] = field(default_factory=OrderedDict)
    weight: int = 1
    deficit: float = 0.0
    granted: bool = False  # whether this turn has added to the deficit

    def head(self) -> T:
        return next(iter(self.items.values()))


class RoundRobin(Generic[T]):
    """Items by flow, in the order in which they are served."""

    def __init__(self) -> None:
        self._flows: dict[Hashable, _Flow[T]] = {}
        self._ring: deque[Hashable] = deque()
        self._size = 0
        self._least: int | None = None
        self.weights = 0  # of the flows that wait, together

    def __len__(self) -> int:
        return self._size

    def size(self, flow: Hashable) -> int:
        """Items of a flow."""
        found = self._flows.get(flow)
        return len(found.items) if found is not None else 0

    def add(self, item: T) -> None:
        """Queue an item behind those of its flow, which has the weight of its first item until it is empty."""
        flow = self._flows.get(item.flow)
        if flow is None:
            flow = self._flows[item.flow] = _Flow(weight=max(1, item.weight))
            self._ring.append(item.flow)
            self.weights, self._least = self.weights + flow.weight, None
        flow.items[id(item)] = item
        self._size += 1

    def remove(self, item: T) -> bool:
        """Take an item out without serving it; False where it is not there."""
        flow = self._flows.get(item.flow)
        if flow is None or flow.items.pop(id(item), None) is None:
            return False
        self._size -= 1
        if not flow.items:  # an empty flow saves nothing up
            del self._flows[item.flow]
            self._ring.remove(item.flow)
            self.weights, self._least = self.weights - flow.weight, None
        return True

    def next(self, blocked: Collection[Hashable] = ()) -> T | None:
        """Whose turn it is, without serving it; flows in `blocked` are passed over, and earn nothing by that."""
        passed = 0
        while passed < len(self._ring):
            flow = self._flows[self._ring[0]]
            if self._ring[0] in blocked:
                passed += 1
            else:
                passed = 0
                if self._may(flow):
                    return flow.head()
                flow.granted = False
            self._ring.rotate(-1)
        return None

    def served(self, item: T) -> None:
        """An item got what it waited for: its flow pays."""
        flow = self._flows.get(item.flow)
        if flow is not None and id(item) in flow.items:
            flow.deficit -= item.cost
            self.remove(item)

    def heads(self) -> Iterator[T]:
        """The first of each flow, in no order."""
        return (flow.head() for flow in self._flows.values())

    def _may(self, flow: _Flow[T]) -> bool:
        """Whether the flow whose turn it is has saved up enough; the lightest gains 1 a turn, the others by weight."""
        if not flow.granted:
            if self._least is None:
                self._least = min(one.weight for one in self._flows.values())
            flow.granted = True
            flow.deficit += flow.weight / self._least
        return flow.deficit >= flow.head().cost
