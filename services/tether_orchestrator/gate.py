"""Whether this orchestrator takes new jobs: not while it drains, and not beside a rival with another store."""

import structlog

from tether.errors import Reason, TetherError
from tether.placement.rival import Orchestrator, must_yield, rivals

_log = structlog.get_logger("tether.orchestrator")
_RETRY_S = 1.0  # a peer or a restart takes over in about a second


class Gate:
    """Open, or closed for a reason.

    Args:
        me: this orchestrator.
    """

    def __init__(self, me: Orchestrator) -> None:
        self._me = me
        self._others: dict[str, Orchestrator] = {}
        self._draining = False
        self._yields = False

    @property
    def draining(self) -> bool:
        """Whether it drains."""
        return self._draining

    @property
    def peers(self) -> int:
        """Orchestrators of the region that place on the same workers, this one among them."""
        return 1 + len(self._others)

    def drain(self) -> None:
        """Take no more jobs, for good."""
        self._draining = True

    def check(self) -> None:
        """Pass where jobs may be reserved.

        Raises:
            TetherError: DRAINING or STORE_UNAVAILABLE.
        """
        if self._draining:
            raise TetherError(Reason.DRAINING, "The orchestrator finishes its work", retry_after_s=_RETRY_S)
        if self._yields:
            words = "Another orchestrator of the region has another job store"
            raise TetherError(Reason.STORE_UNAVAILABLE, words, retry_after_s=_RETRY_S)

    def seen(self, other: Orchestrator) -> None:
        """Another orchestrator of the region is there."""
        self._others[other.node] = other
        self._judge()

    def gone(self, node: str) -> None:
        """An orchestrator is gone."""
        self._others.pop(node, None)
        self._judge()

    def _judge(self) -> None:
        yields = must_yield(self._me, self._others.values())
        for rival in rivals(self._me, self._others.values()):
            _log.error("rival_orchestrator", me=self._me.node, rival=rival.node, reserving=not yields)
        if yields != self._yields:
            _log.warning("reserving_changed", me=self._me.node, reserving=not yields)
        self._yields = yields
