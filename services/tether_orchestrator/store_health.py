"""Whether the job store can be written, and a store that fails at once while it cannot.

A store that is gone costs each call its whole timeout, and calls pile up behind it. After one failure, or while a call
has waited too long, everything but the beats of sessions is refused at once; those go on every second, and the first of
them that is written ends it.
Source: docs/design/design.md §5; the circuit breaker of Nygard, "Release It!" (2007).
"""

from collections.abc import Awaitable, Callable
from typing import Any, Protocol, cast

import structlog

from tether.errors import Reason, TetherError
from tether.store.jobs import JobStore
from tether_orchestrator.metrics import STORE_DOWN

STALL_S = 2.0  # a healthy commit takes milliseconds; a full disk or a dead server takes its timeout
RETRY_S = 1.0  # beats are written as often
_PLAIN = frozenset({"store_id", "generation", "job_id", "close"})  # these need no database
# of a store that was fenced nothing comes back but by another address: what waits is written after the restart
GONE = frozenset({Reason.STORE_UNAVAILABLE, Reason.STORE_UNUSABLE})
_log = structlog.get_logger("tether.orchestrator")


class Returned(Protocol):
    """Who hears that the store is back."""

    def __call__(self) -> None:
        """It is."""


class StoreHealth:
    """What is known of the store.

    Args:
        now_s: monotonic clock.
    """

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._failed = False
        self._since_s: dict[int, float] = {}
        self._calls = 0
        self._listeners: list[Returned] = []

    @property
    def ok(self) -> bool:
        """Whether a write may be tried."""
        return not self._failed and not self._stalled()

    def on_return(self, listener: Returned) -> None:
        """Call `listener` when the store is back."""
        self._listeners.append(listener)

    def check(self) -> None:
        """Pass while the store can be written; TetherError STORE_UNAVAILABLE."""
        if not self.ok:
            raise TetherError(Reason.STORE_UNAVAILABLE, "The store cannot be reached", retry_after_s=RETRY_S)

    async def watch(self, call: Awaitable[Any], *, writes: bool, short: bool) -> Any:  # noqa: ANN401 - as the call
        """Await a call of the store, and learn from how it goes.

        Args:
            call: the call.
            writes: whether its success shows that the store can be written.
            short: whether a healthy store answers it soon, whatever it holds.
        """
        self._calls += 1
        number = self._calls
        if short:
            self._since_s[number] = self._now_s()
        try:
            result = await call
        except TetherError as error:
            if error.reason in GONE:
                self._fail(error)
                if error.retry_after_s is None:
                    error.retry_after_s = RETRY_S
            raise
        finally:
            self._since_s.pop(number, None)
        if writes:
            self._succeed()
        return result

    def _stalled(self) -> bool:
        oldest_s = next(iter(self._since_s.values()), None)
        return oldest_s is not None and self._now_s() - oldest_s > STALL_S

    def _fail(self, error: TetherError) -> None:
        if not self._failed:
            _log.error("store_lost", error=error.message)
        self._failed = True
        STORE_DOWN.set(1)

    def _succeed(self) -> None:
        if not self._failed:
            return
        self._failed = False
        STORE_DOWN.set(0)
        _log.warning("store_is_back")
        for listener in self._listeners:
            listener()


class _Guarded:
    """A store whose calls are watched, and refused while it is gone.

    Args:
        store: the store.
        health: learns, and says whether to try.
        always: whether its calls are tried whatever is known: that is how it is found to be back.
    """

    def __init__(self, store: JobStore, health: StoreHealth, *, always: bool) -> None:
        self._store = store
        self._health = health
        self._always = always

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the store has by that name
        found = getattr(self._store, name)
        if name in _PLAIN:
            return found

        async def call(*args: object, **named: object) -> object:
            if not self._always:
                self._health.check()
            call_ = found(*args, **named)
            return await self._health.watch(call_, writes=name in _WRITES, short=name in _SHORT)

        self.__dict__[name] = call
        return call


_WRITES = frozenset({"reserve", "attempt", "complete", "renew", "leave", "requeue", "lease_quota", "import_jobs"})
_SHORT = _WRITES | {"get", "sessions"}  # the others look through tables, and may take their time


def guarded(store: JobStore, health: StoreHealth) -> JobStore:
    """The store, refusing at once while it is gone."""
    return cast("JobStore", _Guarded(store, health, always=False))


def probing(store: JobStore, health: StoreHealth) -> JobStore:
    """The store, tried whatever is known of it: for the beats of sessions."""
    return cast("JobStore", _Guarded(store, health, always=True))
