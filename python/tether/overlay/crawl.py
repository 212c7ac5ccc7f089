"""Walking towards an id: the package's crawl, with every answer taken as hostile and an end to its rounds.

Source: `kademlia.crawling.NodeSpiderCrawl`.
"""

from typing import Any

from kademlia.crawling import NodeSpiderCrawl
from kademlia.node import Node

from tether.overlay.contact import Contact
from tether.overlay.protocol import OverlayProtocol, Reply
from tether.overlay.setting import Settings

ROUNDS_MAX = 20  # 2^20 nodes need about 10 rounds; liars that invent ever nearer nodes end here


class Crawl(NodeSpiderCrawl):  # type: ignore[misc]  # the package has no types
    """Finds the k contacts nearest to an id that answer.

    Args:
        protocol: asks contacts.
        target: 20 bytes.
        settings: k and alpha.
    """

    def __init__(self, protocol: OverlayProtocol, target: bytes, settings: Settings) -> None:
        near = protocol.nearest(target)
        super().__init__(protocol, Node(target), near, settings.k, settings.alpha)
        self._rounds = 0

    async def contacts(self) -> list[Contact]:
        """The nearest contacts that answered, nearest first."""
        found: list[Contact] = await self.find() if len(self.nearest) else []
        return found

    async def _nodes_found(self, responses: dict[bytes, Reply]) -> list[Any]:
        self._rounds += 1
        self.nearest.remove([peer for peer, (happened, _) in responses.items() if not happened])
        for happened, contacts in responses.values():
            if happened:
                self.nearest.push(contacts)
        if self.nearest.have_contacted_all() or self._rounds >= ROUNDS_MAX:
            return [contact for contact in self.nearest if contact.id in self.nearest.contacted]
        found: list[Any] = await self.find()
        return found
