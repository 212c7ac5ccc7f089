"""HealthReporter: reports to orchestrators twice a second, announcements on the overlay when something changed.

A report is the beat of an orchestrator link. On the overlay stand presence and one record per model version, which the
overlay renews by itself. Source: docs/design/overlay.md §2, docs/design/streams.md §7.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any, Protocol

import structlog

from tether import name
from tether.errors import TetherError
from tether.v1 import identity_pb2
from tether_worker import metrics
from tether_worker.control import ControlLinks
from tether_worker.jobs import JobTable
from tether_worker.model import Loading, ModelTable
from tether_worker.report import Now, Report, Self, make_presence, make_report

REPORT_S = 0.5  # a worker is suspect after 1 s of silence
SOON_S = 0.02  # room that came free is told so soon, or a worker of short answers would stand empty between two reports
RATE_S = 5.0  # tokens per second are told over so long
_log = structlog.get_logger("tether.worker")


class Announcer(Protocol):
    """What the reporter needs of `tether.overlay.Overlay`."""

    async def announce(self, topic: str, content: Any) -> Any:  # noqa: ANN401 - an Announcement
        """Announce until withdrawn."""


class HealthReporter:
    """Says how this worker is.

    Args:
        me: what does not change.
        models: what is loaded.
        jobs: counts.
        control: links to orchestrators.
        overlay: announcements; None for a worker without one.
        loading: models on their way.
    """

    def __init__(
        self,
        me: Self,
        models: ModelTable,
        jobs: JobTable,
        control: ControlLinks,
        overlay: Announcer | None,
        loading: Callable[[], tuple[Loading, ...]],
    ) -> None:
        self.address = ""
        self._me = me
        self._models = models
        self._jobs = jobs
        self._control = control
        self._overlay = overlay
        self._loading = loading
        self._sequence = 0
        self._tokens: list[tuple[float, int]] = []
        self._announced: dict[str, Any] = {}
        self._presence: bytes = b""
        self._freed = asyncio.Event()
        jobs.on_freed = self._freed.set

    def report(self) -> Report:
        """The next report."""
        self._sequence += 1
        now = Now(
            served=tuple(self._models),
            loading=self._loading(),
            sequence=self._sequence,
            started_total=self._jobs.started_total,
            draining=self._jobs.draining,
            exclusive=self._jobs.exclusive,
            tokens_per_second=self._rate(),
            address=self.address,
        )
        return make_report(self._me, now)

    async def run(self) -> None:
        """Report until cancelled: twice a second, and soon after room came free."""
        announced_s = -REPORT_S
        while True:
            self._freed.clear()
            report = self.report()
            self._control.beat(report.SerializeToString())
            metrics.SLOTS_FREE.set(report.capacity.slots_free)
            metrics.RUNNING.set(len(self._jobs))
            if time.monotonic() - announced_s >= REPORT_S:
                announced_s = time.monotonic()
                await self.announce(report)
            await asyncio.sleep(SOON_S)
            await self._until_freed(REPORT_S - SOON_S)

    async def _until_freed(self, limit_s: float) -> None:
        """Wait until room came free, but no longer than `limit_s` seconds."""
        timer = asyncio.get_running_loop().call_later(limit_s, self._freed.set)
        try:
            await self._freed.wait()
        finally:
            timer.cancel()

    async def announce(self, report: Report) -> None:
        """Bring the announcements up to date; what fails is tried again with the next report."""
        if self._overlay is None:
            return
        try:
            await self._announce(self._overlay, report)
        except TetherError as error:
            _log.warning("announcement failed", reason=error.reason.name, error=error.message)

    async def withdraw(self) -> None:
        """Take all announcements back."""
        for announcement in self._announced.values():
            await announcement.withdraw()
        self._announced.clear()

    async def _announce(self, overlay: Announcer, report: Report) -> None:
        region = self._me.config.region
        wanted = {} if report.draining else offers(region, report)
        for topic in set(self._announced) - set(wanted) - {name.presence_topic(region)}:
            await self._announced.pop(topic).withdraw()
        for topic, offer in wanted.items():
            if topic not in self._announced:
                self._announced[topic] = await overlay.announce(topic, offer)
        await self._announce_presence(overlay, name.presence_topic(region), make_presence(self._me, report))

    async def _announce_presence(self, overlay: Announcer, topic: str, presence: identity_pb2.Presence) -> None:
        raw = presence.SerializeToString(deterministic=True)
        if topic not in self._announced:
            self._announced[topic] = await overlay.announce(topic, presence)
        elif raw != self._presence:
            self._announced[topic].update(presence)
        self._presence = raw

    def _rate(self) -> float:
        """Tokens per second over the last few seconds."""
        now, total = time.monotonic(), sum(served.engine.stats.tokens_total for served in self._models)
        self._tokens = [(at, count) for at, count in self._tokens if now - at <= RATE_S and count <= total]
        self._tokens.append((now, total))
        began, before = self._tokens[0]
        return (total - before) / (now - began) if now > began else 0.0


def offers(region: str, report: Report) -> dict[str, identity_pb2.ModelOffer]:
    """What a worker offers, by topic."""
    loaded = {(engine.model.model_id, engine.model.version) for engine in report.engines}
    return {
        name.models_topic(ref.model_id, ref.version, region): identity_pb2.ModelOffer(
            worker_id=report.worker_id,
            model_id=ref.model_id,
            version=ref.version,
            digest=ref.digest,
            warm=(ref.model_id, ref.version) in loaded,
        )
        for ref in report.supported
        if (ref.model_id, ref.version) in loaded
    }
