"""Walking towards an id: the package's crawl, with every answer taken as hostile, an end, and no wait for the silent.

A contact that does not answer soon is passed over while its call goes on, so that a crawl among dying nodes takes a few
round trips and not a few timeouts; where it answers after all, it counts again.
Source: `kademlia.crawling.NodeSpiderCrawl`; loose parallelism of Stutzbach and Rejaie (2006).
"""

import asyncio

from kademlia.crawling import NodeSpiderCrawl
from kademlia.node import Node

from tether.overlay.contact import Contact
from tether.overlay.protocol import NO_REPLY, OverlayProtocol, Reply
from tether.overlay.setting import Settings

ASKED_MAX = 64  # 2^20 nodes need about 30; liars that invent ever nearer nodes end here


class Crawl(NodeSpiderCrawl):  # type: ignore[misc]  # the package has no types
    """Finds the k contacts nearest to an id that answer.

    Args:
        protocol: asks contacts.
        target: 20 bytes.
        settings: k, alpha, and how long is soon.
    """

    def __init__(self, protocol: OverlayProtocol, target: bytes, settings: Settings) -> None:
        super().__init__(protocol, Node(target), protocol.nearest(target), settings.k, settings.alpha)
        self._soon_s = settings.soon_s
        self._answered: set[bytes] = set()
        self._asked: dict[asyncio.Task[Reply], Contact] = {}
        self._late: set[asyncio.Task[Reply]] = set()

    async def contacts(self) -> list[Contact]:
        """The nearest contacts that answered, nearest first."""
        while True:
            self._ask_more()
            prompt = self._asked.keys() - self._late
            if not prompt:
                break
            done, _ = await asyncio.wait(prompt | self._late, timeout=self._soon_s, return_when=asyncio.FIRST_COMPLETED)
            self._take(done)
            if not done:
                self._pass_over(prompt)
        return [contact for contact in self.nearest if contact.id in self._answered]

    def _ask_more(self) -> None:
        """Ask the nearest that were not asked, while fewer than alpha prompt ones are waited for."""
        free = self.alpha - (len(self._asked) - len(self._late))
        for contact in self.nearest.get_uncontacted()[: max(0, free)]:
            if len(self.nearest.contacted) < ASKED_MAX:
                self.nearest.mark_contacted(contact)
                self._asked[self.protocol.spawn(self.protocol.call_find_node(contact, self.node))] = contact

    def _take(self, done: set[asyncio.Task[Reply]]) -> None:
        """Add what was answered; leave out who did not answer."""
        for task in done:
            contact = self._asked.pop(task)
            self._late.discard(task)
            happened, contacts = NO_REPLY if task.cancelled() else task.result()
            if happened:
                self._answered.add(contact.id)
                self.nearest.push([contact, *contacts])
            else:
                self.nearest.remove([contact.id])

    def _pass_over(self, prompt: set[asyncio.Task[Reply]]) -> None:
        """Wait for these no more than for anyone; their calls go on, and take them out of the table if they end so."""
        self._late |= prompt
        self.nearest.remove([self._asked[task].id for task in prompt])
