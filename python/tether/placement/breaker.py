"""A circuit breaker per (model, region): stop sending where most of it fails, ask again with a single probe.

Outcomes are counted in two half windows that rotate, so a verdict rests on the last half to whole window. Open, nothing
is sent; after a pause one job goes as a probe, and its outcome closes the breaker or opens it for longer.
Source: Nygard, "Release It!", 2007; the rotating pair after Envoy's outlier detection.
"""

from collections import OrderedDict
from dataclasses import dataclass
from enum import Enum

_BREAKERS_MAX = 4_096  # (model, region) pairs that had outcomes lately; the oldest is forgotten, that is closed


class Circuit(Enum):
    """Where a breaker stands; values are those of `BreakerHint.state`."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


@dataclass(frozen=True, slots=True)
class BreakerSettings:
    """When a breaker opens, and for how long.

    Attributes:
        window_s: span that a verdict looks back on.
        samples_min: outcomes without which there is no verdict.
        error_share_max: share of failures that opens it.
        slow_share_max: share of slow jobs that opens it.
        slow_s_per_token: a job that took longer per token than this was slow.
        in_row_max: failures in a row that open it, whatever went well before.
        pause_s: how long it stays open before the first probe; doubles with each failed probe.
        pause_s_max: longest pause; also how long a probe may take before another one follows.
    """

    window_s: float = 10.0  # a guess: some hundred jobs of a busy model; bench/scheduling.py replaces it
    samples_min: int = 20  # fewer say nothing about a share
    error_share_max: float = 0.5  # half: the other half still proves that retries elsewhere help
    slow_share_max: float = 0.8
    slow_s_per_token: float = 5.0  # slower than reading aloud by far
    in_row_max: int = 10  # where a third fails by chance, so many in a row are one case in 60,000
    pause_s: float = 1.0
    pause_s_max: float = 2.0  # what has healed takes jobs again within so much and one probe


@dataclass(frozen=True, slots=True)
class Standing:
    """A breaker as people see it.

    Attributes:
        model: name of the model.
        region: where.
        circuit: where it stands.
        error_rate: part of failures in its window, 0 to 1.
        trips: times it opened.
        why: why it opened last, or empty.
    """

    model: str
    region: str
    circuit: Circuit
    error_rate: float
    trips: int
    why: str


class Breaker:
    """One breaker.

    Args:
        settings: when it opens.
        now_s: monotonic time.
    """

    def __init__(self, settings: BreakerSettings, now_s: float) -> None:
        self._settings = settings
        self._halves = [[0, 0, 0, 0], [0, 0, 0, 0]]  # [outcomes, failures, slow, sent]: the half before, and this one
        self._rotated_s = now_s
        self._state = Circuit.CLOSED
        self._pause_s = settings.pause_s
        self._until_s = now_s
        self._in_row = 0
        self._ended_s = now_s
        self.trips = 0
        self.why = ""

    @property
    def error_rate(self) -> float:
        """Part of failures in its window, 0 to 1."""
        outcomes, failures, _slow, _sent = self._sums()
        return failures / outcomes if outcomes else 0.0

    def __repr__(self) -> str:
        return f"Breaker({self._state.value}, {self._halves})"

    def circuit(self, now_s: float) -> Circuit:
        """Where it stands; HALF_OPEN when the next job may go as a probe."""
        if self._state is not Circuit.CLOSED and now_s >= self._until_s:
            return Circuit.HALF_OPEN
        return Circuit.CLOSED if self._state is Circuit.CLOSED else Circuit.OPEN

    def health(self, now_s: float) -> float:
        """1 where jobs may go, 0 where not."""
        return 0.0 if self.circuit(now_s) is Circuit.OPEN else 1.0

    def sent(self, now_s: float) -> None:
        """A job goes: the probe, when it is time for one."""
        self._rotate(now_s)
        self._halves[1][3] += 1
        if self.circuit(now_s) is Circuit.HALF_OPEN:
            self._state = Circuit.HALF_OPEN
            self._until_s = now_s + self._settings.pause_s_max  # a probe that never ends is followed by another

    def unsent(self, now_s: float) -> None:
        """The last job that went did not come about; was it the probe, the next one is."""
        self._halves[1][3] -= 1
        if self._state is Circuit.HALF_OPEN:
            self._until_s = now_s

    def ended(self, *, failed: bool, s_per_token: float, now_s: float) -> None:
        """A job ended.

        Args:
            failed: whether it failed by the worker's or model's fault.
            s_per_token: how long it took, per token.
            now_s: monotonic time.
        """
        slow = s_per_token > self._settings.slow_s_per_token
        recent = now_s - self._ended_s < self._settings.window_s
        self._in_row = (self._in_row if recent else 0) + 1 if failed else 0
        self._ended_s = now_s
        if self._state is Circuit.HALF_OPEN:
            self._judge_probe(bad=failed or slow, now_s=now_s)
            return
        self._rotate(now_s)
        half = self._halves[1]
        half[0], half[1], half[2] = half[0] + 1, half[1] + failed, half[2] + slow
        why = self._why() if self._state is Circuit.CLOSED else ""
        if why:
            self._open(self._settings.pause_s, now_s)
            self.trips, self.why = self.trips + 1, why

    def _judge_probe(self, *, bad: bool, now_s: float) -> None:
        if bad:
            self._open(min(self._pause_s * 2, self._settings.pause_s_max), now_s)
            return
        self._in_row = 0
        self._state = Circuit.CLOSED
        self._halves = [[0, 0, 0, 0], [0, 0, 0, 0]]

    def _open(self, pause_s: float, now_s: float) -> None:
        self._state, self._pause_s, self._until_s = Circuit.OPEN, pause_s, now_s + pause_s

    def _why(self) -> str:
        """Why it must open, or empty.

        Failures come sooner than answers: after a burst all that has ended may have failed while most of it runs well.
        So what was sent and has not ended counts as well, until it says otherwise.
        """
        settings = self._settings
        outcomes, failures, slow, sent = self._sums()
        running = max(0, sent - outcomes)
        if self._in_row >= max(settings.in_row_max, running):
            return f"{self._in_row} failures in a row"
        if outcomes < settings.samples_min:
            return ""
        if failures >= settings.error_share_max * (outcomes + running):
            return f"{failures} of {outcomes} failed"
        return f"{slow} of {outcomes} were slow" if slow >= settings.slow_share_max * outcomes else ""

    def _sums(self) -> tuple[int, int, int, int]:
        outcomes, failures, slow, sent = (before + now for before, now in zip(*self._halves, strict=True))
        return outcomes, failures, slow, sent

    def _rotate(self, now_s: float) -> None:
        half_s = self._settings.window_s / 2
        if now_s - self._rotated_s < half_s:
            return
        stale = now_s - self._rotated_s >= 2 * half_s
        self._halves = [[0, 0, 0, 0] if stale else self._halves[1], [0, 0, 0, 0]]
        self._rotated_s = now_s


class Breakers:
    """Breakers by (model, region); one that never had an outcome is closed."""

    def __init__(self, settings: BreakerSettings) -> None:
        self._settings = settings
        self._by_key: OrderedDict[tuple[str, str], Breaker] = OrderedDict()
        self._tripped: set[tuple[str, str]] = set()

    def unhealthy(self, model: str, now_s: float) -> dict[str, float]:
        """Health of the regions where a model's breaker is not closed; most of the time empty."""
        if not self._tripped:
            return {}
        return {region: self._by_key[name, region].health(now_s) for name, region in self._tripped if name == model}

    def sent(self, model: str, region: str, now_s: float) -> None:
        """A job goes to a region."""
        self._at((model, region), now_s).sent(now_s)

    def unsent(self, model: str, region: str, now_s: float) -> None:
        """The last job that went to a region did not come about."""
        breaker = self._by_key.get((model, region))
        if breaker is not None:
            breaker.unsent(now_s)

    def ended(self, model: str, region: str, *, failed: bool, s_per_token: float, now_s: float) -> Circuit | None:
        """A job ended; returns the breaker's state when that changed it, else None."""
        key = (model, region)
        breaker = self._at(key, now_s)
        before = breaker.circuit(now_s)
        breaker.ended(failed=failed, s_per_token=s_per_token, now_s=now_s)
        after = breaker.circuit(now_s)
        (self._tripped.discard if after is Circuit.CLOSED else self._tripped.add)(key)
        return after if after is not before else None

    def all(self, now_s: float) -> list[Standing]:
        """Every breaker that has seen anything, by model and region."""
        return [
            Standing(model, region, one.circuit(now_s), one.error_rate, one.trips, one.why)
            for (model, region), one in sorted(self._by_key.items())
        ]

    def _at(self, key: tuple[str, str], now_s: float) -> Breaker:
        breaker = self._by_key.get(key)
        if breaker is None:
            if len(self._by_key) >= _BREAKERS_MAX:
                self._tripped.discard(self._by_key.popitem(last=False)[0])
            breaker = self._by_key[key] = Breaker(self._settings, now_s)
        self._by_key.move_to_end(key)
        return breaker
