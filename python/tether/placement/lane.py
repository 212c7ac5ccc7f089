"""What waits for one model: jobs that run already first, then class by class, tenants by weight within a class.

The order is strict but for one place in eight, which goes to a class that has been kept waiting too long.
"""

from collections import OrderedDict
from dataclasses import dataclass, field

from tether.placement.fair import RoundRobin
from tether.placement.rate import Rate

LOW, NORMAL, HIGH = 1, 2, 3  # as `Infer.Priority`
CLASSES = (HIGH, NORMAL, LOW)


@dataclass(eq=False, slots=True)
class Waiting:
    """A request that waits.

    Attributes:
        model: what it waits for: a name for a model version.
        tenant: whose it is.
        rank: its class, LOW to HIGH.
        weight: share of the tenant, from 1.
        since_s: when it came.
        wait_max_s: how long it may wait.
        again: whether its job runs already.
        cost: what it takes beside others, from 1.
        lenient: whether it runs with lowered limits already: then twice as much may wait.
    """

    model: str
    tenant: str
    rank: int
    weight: int
    since_s: float
    wait_max_s: float
    again: bool = False
    cost: float = 1.0
    lenient: bool = False

    @property
    def flow(self) -> str:
        """Requests of one tenant share one place in the round."""
        return self.tenant


@dataclass(slots=True)
class Tried:
    """What has been tried in vain in a search for somebody to serve.

    Attributes:
        running: ids of waiting objects whose jobs run already.
        flows: tenants, by class.
    """

    running: set[int] = field(default_factory=set)
    flows: dict[int, set[str]] = field(default_factory=lambda: {rank: set() for rank in CLASSES})

    def add(self, item: Waiting) -> None:
        """One more; the others of its tenant and class wait behind it."""
        if item.again:
            self.running.add(id(item))
        else:
            self.flows[item.rank].add(item.flow)


class Lane:
    """Requests that wait for one model.

    Args:
        aging_s: a class that has waited longer than this is let in between.
        aged_every: one of so many places goes to a class that has aged.
    """

    def __init__(self, aging_s: float, aged_every: int) -> None:
        self._aging_s = aging_s
        self._aged_every = aged_every
        self._running: OrderedDict[int, Waiting] = OrderedDict()
        self._classes: dict[int, RoundRobin[Waiting]] = {rank: RoundRobin() for rank in CLASSES}
        self._aged: Waiting | None = None
        self._unaged = 0
        self.rate = Rate()

    def __len__(self) -> int:
        return len(self._running) + sum(map(len, self._classes.values()))

    def size(self, rank: int) -> int:
        """How many of a class wait; those that run already count as HIGH."""
        return len(self._classes[rank]) + (len(self._running) if rank == HIGH else 0)

    def own(self, item: Waiting) -> int:
        """How many wait already of its tenant, in its class or a lower one."""
        return sum(self._classes[rank].size(item.flow) for rank in CLASSES if rank <= item.rank)

    def add(self, item: Waiting, now_s: float) -> None:
        """Let one wait."""
        self.rate.begin(now_s)
        if item.again:
            self._running[id(item)] = item
        else:
            self._classes[item.rank].add(item)

    def remove(self, item: Waiting) -> bool:
        """Take one out without serving it; False where it is not there."""
        taken = self._running.pop(id(item), None) is not None if item.again else self._classes[item.rank].remove(item)
        self._end()
        return taken

    def served(self, item: Waiting, now_s: float) -> bool:
        """One got what it waited for; False where it is not there."""
        self.rate.event(now_s)
        before = len(self)
        if item.again:
            self._running.pop(id(item), None)
        else:
            self._classes[item.rank].served(item)
            self._unaged = 0 if item is self._aged else self._unaged + 1
        self._end()
        return len(self) < before

    def next(self, now_s: float, tried: Tried) -> Waiting | None:
        """Who is to be served next; it stays."""
        self._aged = None
        running = next((item for item in self._running.values() if id(item) not in tried.running), None)
        if running is not None:
            return running
        if self._unaged + 1 >= self._aged_every:
            self._aged = self._oldest(now_s - self._aging_s, tried)
        return self._aged or self._in_order(tried)

    def expected_wait_s(self, item: Waiting, now_s: float) -> float:
        """How long a newcomer would wait: behind higher classes, in its own by its tenant's share; 0 if unknown."""
        per_s = self.rate.per_s(now_s)
        if per_s <= 0:
            return 0.0
        mine, weight = self._classes[item.rank], max(1, item.weight)
        own = mine.size(item.flow)
        by_share = (own + 1) * (mine.weights + (0 if own else weight)) / weight
        higher = len(self._running) + sum(len(self._classes[rank]) for rank in CLASSES if rank > item.rank)
        return (higher + min(by_share, len(mine) + 1)) / per_s

    def _in_order(self, tried: Tried) -> Waiting | None:
        for rank in CLASSES:
            item = self._classes[rank].next(tried.flows[rank])
            if item is not None:
                return item
        return None

    def _oldest(self, before_s: float, tried: Tried) -> Waiting | None:
        """The oldest request of a class that higher ones have kept waiting."""
        top = next((rank for rank in CLASSES if len(self._classes[rank])), LOW)
        heads = (head for rank in CLASSES if rank < top for head in self._classes[rank].heads())
        old = (head for head in heads if head.since_s < before_s and head.flow not in tried.flows[head.rank])
        return min(old, key=lambda head: head.since_s, default=None)

    def _end(self) -> None:
        if not len(self):
            self.rate.end()
