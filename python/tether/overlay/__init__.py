"""How nodes find each other: signed, expiring records on topics of a DHT that only credentialed nodes may enter.

Source: docs/design/overlay.md; Maymounkov and Mazières, "Kademlia" (2002), by the `kademlia` package.
"""

from tether.overlay.found import Change, ChangeKind, Found
from tether.overlay.overlay import Announcement, Overlay, Watch
from tether.overlay.setting import Settings

__all__ = ["Announcement", "Change", "ChangeKind", "Found", "Overlay", "Settings", "Watch"]
