"""What waits for the store: ends that could not be written, jobs that ran without it, and quota for the next time.

While the store is gone there is nothing to do; once it is back, ends go first, for they release holds.
"""

import structlog

from tether.errors import TetherError
from tether_orchestrator.offline import Offline
from tether_orchestrator.settlement import Settlement
from tether_orchestrator.slices import Slices
from tether_orchestrator.store_health import StoreHealth

_BATCHES_MAX = 64  # of one round: all that a minute's outage leaves, before any lease can lapse
_log = structlog.get_logger("tether.orchestrator")


class Waiting:
    """Brings the store up to date.

    Args:
        settlement: ends that are pending.
        offline: jobs that run without the store.
        slices: quota that is held for them.
        health: whether the store is there.
    """

    def __init__(self, settlement: Settlement, offline: Offline, slices: Slices, health: StoreHealth) -> None:
        self._settlement = settlement
        self._offline = offline
        self._slices = slices
        self._health = health
        self._cleared = False

    async def round(self) -> None:
        """One round; TetherError where the store is gone again."""
        if not self._health.ok:
            return
        for _ in range(_BATCHES_MAX):
            if not await self._settlement.write_pending():
                break
        for _ in range(_BATCHES_MAX):
            if not await self._offline.import_ended():
                break
        if not self._cleared:
            await self._slices.clear(self._offline.leases)
            self._cleared = True
        await self._slices.renew()

    async def close(self) -> None:
        """Give back the quota that no job needs; where the store is gone it forgets the slices in time."""
        if not self._health.ok:
            return
        try:
            await self._slices.close()
        except TetherError as error:
            _log.warning("slices_not_given_back", reason=error.reason.name)
