"""Billing at an orchestrator: usage is pushed to whoever bills, and written to files per hour.

One orchestrator of a region does it at a time; the others stand by.
Source: docs/billing.md.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from importlib.metadata import entry_points

import structlog

from tether.billing.batch import Origin
from tether.billing.desk import Desk
from tether.billing.file import HourFiles, require_parquet
from tether.billing.http import HttpSink
from tether.billing.place import FolderPlace
from tether.billing.pump import LEASE_MS, Limits, Pump
from tether.billing.sink import UsageSink
from tether.errors import Reason, TetherError
from tether.identity import Identity
from tether.store.jobs import JobStore
from tether_orchestrator.config import Config

DATABASE = "billing.db"
GROUP = "tether.usage_sinks"  # entry points: name = module:factory, called with the node's identity
_FILES_S = 60.0  # an hour's file is final two minutes after its end
_RELEASE_S = 1.0  # a store that is away keeps nobody from closing; the lease then runs out
_FAULT_S = 60.0  # wait after a fault of ours
_log = structlog.get_logger("tether.billing")


def wants_outbox(config: Config) -> bool:
    """Tell whether somebody will take usage, so that the store keeps rows until they are taken."""
    return bool(config.billing_url or config.usage_sinks)


class Billing:
    """Runs until closed; does nothing where no setting asks for it.

    Args:
        config: settings of the orchestrator.
        store: the job store.
        identity: signs batches.
    """

    def __init__(self, config: Config, store: JobStore, identity: Identity) -> None:
        self._config = config
        self._store = store
        self._identity = identity
        self._desk: Desk | None = None
        self._sinks: list[UsageSink] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Open what it needs and begin.

        Raises:
            TetherError: STATE_UNUSABLE or INVALID_FIELD for settings that cannot be met; STORE_UNAVAILABLE.
        """
        config = self._config
        files = self._files()
        self._sinks = self._open_sinks()
        if not self._sinks and files is None:
            return
        self._desk = desk = await Desk.open(config.store or config.state / DATABASE, self._identity.node_id)
        if self._sinks:
            origin = Origin(self._identity.network_id, config.region, self._store.store_id)
            limits = Limits(config.billing_period_s, config.billing_rows_max)
            pump = Pump(self._store, desk, self._sinks, origin, limits)
            self._tasks.append(asyncio.create_task(_repeat("push", pump.round), name="billing-push"))
        if files is not None:
            self._tasks.append(asyncio.create_task(_repeat("file", lambda: _write(files, desk)), name="billing-files"))

    async def close(self) -> None:
        """Stop, and let another one send; the same again does nothing."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        desk, self._desk = self._desk, None
        if desk is not None:
            await _release(desk)
        sinks, self._sinks = self._sinks, []
        for sink in sinks:
            await sink.close()

    def _files(self) -> HourFiles | None:
        config = self._config
        if config.usage_folder is None:
            return None
        parquet = "parquet" in config.usage_formats
        if parquet:
            require_parquet()
        return HourFiles(self._store, FolderPlace(config.usage_folder), config.region, parquet=parquet)

    def _open_sinks(self) -> list[UsageSink]:
        config = self._config
        sinks: list[UsageSink] = []
        if config.billing_url:
            sinks.append(HttpSink(config.billing_url, self._identity, config.billing_timeout_s))
        return [*sinks, *plugged(config.usage_sinks, self._identity)]


def plugged(names: Sequence[str], identity: Identity) -> list[UsageSink]:
    """Make the sinks of other packages.

    Args:
        names: entry points of group `tether.usage_sinks`.
        identity: of the node; each factory gets it.

    Raises:
        TetherError: INVALID_FIELD where there is none of a name.
    """
    found = {point.name: point for point in entry_points(group=GROUP)}
    unknown = next((name for name in names if name not in found), None)
    if unknown is not None:
        known = ", ".join(sorted(found)) or "none"
        text = f"No package offers the usage sink {unknown[:64]!a}; installed are: {known}."
        raise TetherError(Reason.INVALID_FIELD, text, field="usage_sinks")
    return [found[name].load()(identity) for name in names]


async def _repeat(what: str, work: Callable[[], Awaitable[float]]) -> None:
    """Do `work` until cancelled; it says how long to wait before it is done again."""
    while True:
        try:
            wait_s = await work()
        except TetherError as error:
            _log.warning("billing_round_failed", what=what, reason=error.reason.name, error=error.message)
            wait_s = random.uniform(1.0, _FAULT_S)  # noqa: S311  spreads retries, no secret
        except Exception:  # noqa: BLE001 - a fault of ours must not end billing for good
            _log.exception("billing_round_failed", what=what)
            wait_s = _FAULT_S
        await asyncio.sleep(wait_s)


async def _write(files: HourFiles, desk: Desk) -> float:
    """Write the files that are due, where this node may; returns seconds until the next look."""
    now_ms = time.time_ns() // 1_000_000
    if await desk.hold(now_ms, LEASE_MS):
        await files.round(now_ms)
    return _FILES_S


async def _release(desk: Desk) -> None:
    try:
        async with asyncio.timeout(_RELEASE_S):
            await desk.release()
    except (TetherError, TimeoutError) as error:
        _log.info("billing_lease_stays", error=str(error))
    await desk.close()
