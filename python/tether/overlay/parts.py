"""The parts that work together on one socket, handed from the composition to those that act."""

from dataclasses import dataclass

from tether.overlay.admission import Admission
from tether.overlay.clock import Clock
from tether.overlay.protocol import OverlayProtocol
from tether.overlay.reach import Reach
from tether.overlay.reader import Reader
from tether.overlay.setting import Settings


@dataclass(frozen=True, slots=True)
class Parts:
    """Made once per node.

    Attributes:
        admission: checks records and credentials.
        protocol: calls peers.
        reach: finds storers.
        reader: reads from them.
        settings: limits and waits.
        clock: time and chance.
    """

    admission: Admission
    protocol: OverlayProtocol
    reach: Reach
    reader: Reader
    settings: Settings
    clock: Clock
