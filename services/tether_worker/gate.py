"""Who may run now: a job that must be alone waits until nothing runs, and what comes after it waits until it has ended.

Pure. First come, first served, so that a job that must be alone is not passed by for ever.
Source: docs/design/streams.md §7 (poison).
"""

from collections.abc import Hashable, Iterator


class Gate:
    """The order of the jobs of one process."""

    def __init__(self) -> None:
        self._running: set[Hashable] = set()
        self._waiting: dict[Hashable, bool] = {}  # name → alone, oldest first
        self._alone = False

    def __repr__(self) -> str:
        return f"Gate({len(self._running)} running, {len(self._waiting)} waiting, alone={self._alone})"

    @property
    def exclusive(self) -> bool:
        """Whether who comes now has to wait."""
        return bool(self._waiting) or (self._alone and bool(self._running))

    @property
    def waiting(self) -> tuple[Hashable, ...]:
        """Who waits, oldest first."""
        return tuple(self._waiting)

    def enter(self, name: Hashable, *, alone: bool) -> bool:
        """Whether `name` may run at once; else `leave` of another will tell."""
        if not self._waiting and self._fits(alone=alone):
            self._run(name, alone=alone)
            return True
        self._waiting[name] = alone
        return False

    def leave(self, name: Hashable) -> list[Hashable]:
        """`name` has ended, or waits no longer; returns who may run now."""
        self._waiting.pop(name, None)
        if name in self._running:
            self._running.discard(name)
            self._alone = False
        return list(self._released())

    def _fits(self, *, alone: bool) -> bool:
        return not self._running or not (alone or self._alone)

    def _run(self, name: Hashable, *, alone: bool) -> None:
        self._running.add(name)
        self._alone = alone

    def _released(self) -> Iterator[Hashable]:
        while self._waiting:
            name, alone = next(iter(self._waiting.items()))
            if not self._fits(alone=alone):
                return
            del self._waiting[name]
            self._run(name, alone=alone)
            yield name
