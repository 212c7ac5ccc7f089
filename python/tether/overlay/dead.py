"""Addresses that did not answer: left alone for a while, longer each time, so that no lookup waits for one twice."""

from math import inf

from tether.identity.lru import Lru
from tether.overlay.contact import Address
from tether.overlay.setting import Settings

ADDRESSES_MAX = 4_096  # more than a node meets while its longest wait lasts


class DeadAddresses:
    """Negative cache of endpoints, without a clock."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._until: Lru[Address, tuple[float, float]] = Lru(ADDRESSES_MAX)

    def silent(self, address: Address, now_s: float) -> None:
        """Note that an address did not answer."""
        known = self._until.get(address)
        wait_s = self._settings.dead_first_s if known is None else min(known[1] * 2, self._settings.dead_max_s)
        self._until.put(address, (now_s + wait_s, wait_s))

    def left(self, address: Address) -> None:
        """Note that an address said that it leaves: it is left alone until it is heard."""
        self._until.put(address, (inf, self._settings.dead_max_s))

    def heard(self, address: Address) -> None:
        """Note that an address lives."""
        self._until.drop(address)

    def is_dead(self, address: Address, now_s: float) -> bool:
        """Whether to leave an address alone."""
        known = self._until.get(address)
        return known is not None and now_s < known[0]
