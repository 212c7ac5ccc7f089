"""Late binding: a request that finds no room waits here, and takes its worker when there is one.

Who waits at the scheduler still takes whichever worker comes free first; who waits at a worker is bound to it. Nobody
is let in who could not be served in time, and no tenant fills the queue: what it may have waiting is a part of the room
that is left, so there is always some for another.
Source: Choudhury and Hahne, "Dynamic Queue Length Thresholds for Shared-Memory Packet Switches", 1998.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from tether.placement.lane import CLASSES, HIGH, LOW, NORMAL, Lane, Tried, Waiting

_RETRY_S_MIN, _RETRY_S_MAX = 0.1, 30.0  # sooner nothing has changed; later people have given up
_LANES_MAX = 1_024  # models whose rate is remembered while nobody waits for them
_PART = {LOW: 1.0, NORMAL: 2.0, HIGH: 4.0}  # of the room that is left, what a tenant may have waiting: batch goes first


@dataclass(frozen=True, slots=True)
class QueueSettings:
    """How much may wait, and how.

    Attributes:
        model_max: most requests that wait for one model.
        total_max: most that wait in all.
        aging_s: a class that has waited longer than this is let in between.
        aged_every: one of so many places goes to a class that has aged.
    """

    model_max: int = 1_024  # a waiting request is a few KiB here and a call that is open at a gateway
    total_max: int = 8_192
    aging_s: float = 5.0  # a guess: as long as batch work may stand still before it looks broken
    aged_every: int = 8  # what a class that waits keeps of the places, at least


@dataclass(frozen=True, slots=True)
class Shed:
    """A request is not let in.

    Attributes:
        why: for people.
        retry_after_s: when there may be room.
    """

    why: str
    retry_after_s: float


class LateQueue:
    """Everything that waits.

    Args:
        settings: bounds.
    """

    def __init__(self, settings: QueueSettings) -> None:
        self._settings = settings
        self._lanes: OrderedDict[str, Lane] = OrderedDict()
        self._total = 0

    def __len__(self) -> int:
        return self._total

    def __repr__(self) -> str:
        return f"LateQueue({self._total} waiting for {len(self.models())} models)"

    def waiting(self, model: str) -> int:
        """How many wait for a model, all classes."""
        lane = self._lanes.get(model)
        return len(lane) if lane is not None else 0

    def models(self) -> Sequence[str]:
        """Models that somebody waits for; the one that was served last comes last."""
        return [model for model, lane in self._lanes.items() if len(lane)]

    def classes(self) -> dict[int, int]:
        """How many wait, by class."""
        return {rank: sum(lane.size(rank) for lane in self._lanes.values()) for rank in CLASSES}

    def offer(self, item: Waiting, now_s: float) -> Shed | None:
        """Let a request wait, or not.

        Args:
            item: the request.
            now_s: monotonic time.

        Returns:
            None where it waits now, else why not.
        """
        lane = self._lane(item.model)
        why = self._why_not(item, lane, now_s)
        if why:
            return Shed(why, self.retry_after_s(item.model, now_s))
        lane.add(item, now_s)
        self._total += 1
        return None

    def next(self, model: str, now_s: float, tried: Tried) -> Waiting | None:
        """Who is to be served next; it stays until `served` or `remove`.

        Args:
            model: where there may be room.
            now_s: monotonic time.
            tried: who was tried in vain.
        """
        lane = self._lanes.get(model)
        return lane.next(now_s, tried) if lane is not None else None

    def served(self, item: Waiting, now_s: float) -> None:
        """A request got its worker."""
        lane = self._lanes.get(item.model)
        if lane is not None and lane.served(item, now_s):
            self._total -= 1
            self._lanes.move_to_end(item.model)

    def remove(self, item: Waiting) -> bool:
        """A request waits no more: called off, or out of time. False where it was served or removed before."""
        lane = self._lanes.get(item.model)
        removed = lane is not None and lane.remove(item)
        self._total -= removed
        return removed

    def retry_after_s(self, model: str, now_s: float) -> float:
        """When those who wait for a model will have been served, about."""
        lane = self._lanes.get(model)
        per_s = lane.rate.per_s(now_s) if lane is not None else 0.0
        drain_s = (len(lane) + 1) / per_s if lane is not None and per_s > 0 else 0.0
        return min(max(drain_s, _RETRY_S_MIN), _RETRY_S_MAX)

    def _why_not(self, item: Waiting, lane: Lane, now_s: float) -> str:
        """Why a request may not wait, or empty."""
        factor = 2 if item.lenient or item.again else 1  # of what runs already there is a natural bound; this is a stop
        if self._total >= self._settings.total_max * factor:
            return f"{self._total} requests wait already"
        room = self._settings.model_max * factor - len(lane)
        if room <= 0:
            return f"{len(lane)} requests wait for {item.model} already"
        if item.again:
            return ""
        if lane.own(item) >= room * _PART[item.rank]:
            return f"{lane.own(item)} requests of this tenant wait for {item.model} already"
        wait_s = lane.expected_wait_s(item, now_s)
        if wait_s > item.wait_max_s:
            return f"The wait for {item.model} would be about {wait_s:.1f} s"
        return ""

    def _lane(self, model: str) -> Lane:
        lane = self._lanes.get(model)
        if lane is None:
            if len(self._lanes) >= _LANES_MAX:
                self._forget()
            lane = self._lanes[model] = Lane(self._settings.aging_s, self._settings.aged_every)
        return lane

    def _forget(self) -> None:
        """Forget the model that nobody waits for, and that was served longest ago."""
        empty = next((model for model, lane in self._lanes.items() if not len(lane)), None)
        if empty is not None:
            del self._lanes[empty]
