"""The routing table: the package's, with the pings of full buckets kept as tasks that someone awaits."""

from collections.abc import Callable
from typing import Any

from kademlia.routing import RoutingTable

from tether.overlay.contact import Contact


class Table(RoutingTable):  # type: ignore[misc]  # the package has no types
    """Contacts by distance.

    Args:
        protocol: pings a contact.
        k: size of a bucket.
        me: this node.
        spawn: runs a coroutine as a task that is cancelled and awaited at the end.
    """

    def __init__(self, protocol: Any, k: int, me: Contact, spawn: Callable[[Any], object]) -> None:  # noqa: ANN401
        super().__init__(protocol, k, me)
        self._spawn = spawn

    def add_contact(self, node: Contact) -> None:
        """Add or move up a contact; where its bucket is full, see whether the oldest one still lives."""
        index = self.get_bucket_for(node)
        bucket = self.buckets[index]
        if bucket.add_node(node):
            return
        if bucket.has_in_range(self.node) or bucket.depth() % 5:
            self.split_bucket(index)
            self.add_contact(node)
        else:
            self._spawn(self.protocol.call_ping(bucket.head()))

    def contact(self, dht_id: bytes) -> Contact | None:
        """The contact with that id."""
        for bucket in self.buckets:
            if dht_id in bucket.nodes:
                found: Contact = bucket.nodes[dht_id]
                return found
        return None

    def contacts(self) -> list[Contact]:
        """All contacts."""
        return [contact for bucket in self.buckets for contact in bucket.get_nodes()]

    def __len__(self) -> int:
        return sum(len(bucket) for bucket in self.buckets)
