"""What all links of a process share, and who hears when one stands or falls."""

from dataclasses import dataclass, field
from typing import Protocol

from tether.link.book import LinkBook
from tether.link.end import LinkEnd, LinkLimits, Machine
from tether.link.handshake import Handshake


class LinkEvents(Protocol):
    """Who hears of links."""

    def up(self, link: LinkEnd) -> None:
        """A link stands."""

    def down(self, link: LinkEnd, why: str) -> None:
        """A link that stood has ended; called once."""


@dataclass(frozen=True, slots=True)
class LinkLocal:
    """This process's side of its links.

    Attributes:
        handshake: makes and checks hellos.
        machine: moves the frames of the links.
        book: links that stand.
        limits: waits.
    """

    handshake: Handshake
    machine: Machine
    book: LinkBook = field(default_factory=LinkBook)
    limits: LinkLimits = field(default_factory=LinkLimits)
