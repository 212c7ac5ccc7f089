"""A network of real identities in a temporary folder: root, issuer, and a credential per node that a test names."""

from dataclasses import dataclass
from pathlib import Path

from tether.identity import Identity, Role, Trust, network


@dataclass(frozen=True, slots=True)
class TestNode:
    """Who a node of a test is.

    Attributes:
        identity: its key and credential.
        trust: what it believes.
    """

    __test__ = False

    identity: Identity
    trust: Trust

    @property
    def node_id(self) -> str:
        """Its id."""
        return self.identity.node_id


class Identities:
    """A network for tests.

    Args:
        folder: an empty folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        network.init(folder / "network", "test")

    def node(self, name: str, role: Role) -> TestNode:
        """A node with a credential; the same name again is the same node's next life."""
        own = self._folder / name
        if not own.exists():
            network.issue(self._folder / "network", own, [role], [], name)
        return TestNode(Identity.load(own), Trust.load(own))
