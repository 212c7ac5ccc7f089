"""Joining, and joining again: a node alone keeps trying its bootstrap addresses and the contacts that it remembers."""

import asyncio
import socket
from collections.abc import Sequence

import structlog

from tether.config import split_address
from tether.overlay.clock import Clock
from tether.overlay.contact import Address, Contact
from tether.overlay.crawl import Crawl
from tether.overlay.protocol import OverlayProtocol
from tether.overlay.setting import Settings

DEPTH_MAX = 16  # subtrees that are looked into: more than a network of 100,000 nodes has beyond a neighbour
SILENT_MAX = 64  # silent contacts that are tried again; a whole neighbourhood
SILENT_S = 60.0  # how long they are; by then others know them, or nobody does
_log = structlog.get_logger("tether.overlay")


class Joiner:
    """Keeps this node in the network.

    Args:
        protocol: the table and its calls.
        settings: waits.
        clock: time and chance.
    """

    def __init__(self, protocol: OverlayProtocol, settings: Settings, clock: Clock) -> None:
        self._protocol = protocol
        self._settings = settings
        self._clock = clock
        self._bootstrap: list[Address] = []
        self._remembered: list[Address] = []
        self._joined = asyncio.Event()
        self._complained = False
        self._silent: dict[Address, float] = {}

    async def start(self, own: Address, bootstrap: Sequence[str], remembered: Sequence[Address]) -> None:
        """Join in the background; waits a little for the first contacts."""
        found = [address for text in bootstrap for address in await _resolve(text)]
        self._bootstrap = [address for address in dict.fromkeys(found) if address != own]
        self._remembered = [address for address in remembered if address != own]
        self._protocol.spawn(self._run())
        if self._bootstrap or self._remembered:
            await asyncio.wait([self._protocol.spawn(self._joined.wait())], timeout=self._settings.join_s)

    def on_silent(self, address: Address) -> None:
        """Try a contact that fell silent again for a while: perhaps only datagrams were lost."""
        if len(self._silent) < SILENT_MAX:
            self._silent.setdefault(address, self._clock.now_s() + SILENT_S)

    async def _run(self) -> None:
        wait_s = self._settings.rejoin_first_s
        refresh_s = 0.0
        while True:
            alone = len(self._protocol.router) == 0
            lacking = self._lacking() + (self._remembered if alone else [])
            due = self._clock.now_s() >= refresh_s
            if (await self._greet(lacking) or due) and await self._look_around():
                refresh_s = self._clock.now_s() + self._settings.refresh_s * self._clock.jitter()
            settled = len(self._protocol.router) > 0 and not self._lacking()
            wait_s = self._settings.rejoin_first_s if settled else min(wait_s * 2, self._settings.rejoin_max_s)
            await asyncio.sleep((self._settings.rejoin_max_s if settled else wait_s) * self._clock.jitter())

    def _lacking(self) -> list[Address]:
        """Addresses worth trying: bootstrap nodes and lately silent ones that are in no contact."""
        now_s = self._clock.now_s()
        present = {contact.address for contact in self._protocol.router.contacts()}
        for address, until_s in list(self._silent.items()):
            if address in present or until_s <= now_s:
                del self._silent[address]
        return [address for address in dict.fromkeys([*self._bootstrap, *self._silent]) if address not in present]

    async def _greet(self, addresses: Sequence[Address]) -> bool:
        """Greet addresses; returns with the first that answers, and whether one did."""
        for address in addresses:
            self._protocol.dead.heard(address)
        waiting = {self._protocol.spawn(self._protocol.call(address, None, "ping", [])) for address in addresses}
        while waiting:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if any(task.result()[0] for task in done):
                return True
        return False

    async def _look_around(self) -> bool:
        """Find this node's neighbours; False where it knows nobody to ask."""
        if len(self._protocol.router) == 0:
            self._complain()
            return False
        neighbours = await self._crawl(self._protocol.source_node.id)
        if self._complained:
            _log.info("joined the overlay", contacts=len(self._protocol.router))
        self._complained = False
        self._joined.set()
        for target in far_targets(self._protocol.source_node.id, neighbours, self._settings.k):
            await self._crawl(target)
        return True

    async def _crawl(self, target: bytes) -> list[Contact]:
        return await Crawl(self._protocol, target, self._settings).contacts()

    def _complain(self) -> None:
        """Say once that nobody answers."""
        if self._bootstrap and not self._complained:
            self._complained = True
            tried = ", ".join(f"{host}:{port}" for host, port in self._bootstrap)
            _log.warning("no bootstrap node answers; trying again until one does", bootstrap=tried)


def far_targets(own: bytes, neighbours: Sequence[Contact], k: int) -> list[bytes]:
    """Ids to look for so that no part of the network stays unknown: one in each subtree beyond the nearest neighbour.

    Without them, nodes that start together can fill their tables with their own half alone, and neither half finds what
    the other keeps. Fewer than k neighbours are the whole network; then there is nothing beyond.
    Source: Maymounkov and Mazières, "Kademlia" (2002), section 2.3.

    Args:
        own: this node's id, 20 bytes.
        neighbours: the contacts nearest to it, nearest first.
        k: size of a bucket.
    """
    if len(neighbours) < k:
        return []
    bits, number = len(own) * 8, int.from_bytes(own, "big")
    shared = bits - (number ^ neighbours[0].long_id).bit_length()
    return [(number ^ 1 << (bits - 1 - depth)).to_bytes(len(own), "big") for depth in range(min(shared + 1, DEPTH_MAX))]


async def _resolve(text: str) -> list[Address]:
    """UDP addresses of host:port; none, with a warning, where the host is unknown."""
    host, port = split_address(text)
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, family=socket.AF_INET, type=socket.SOCK_DGRAM)
    except OSError as error:
        _log.warning("a bootstrap host is unknown", bootstrap=text, error=str(error))
        return []
    return [(str(address[0]), port) for _, _, _, _, address in found[:1]]
