"""Contacts: a node's place in the DHT, bound to its key, and where it was last heard.

The 160-bit id is cut from the hash of the node's key, so that nobody chooses where in the space it stands.
Source: `kademlia.node.Node`, which this extends.
"""

from hashlib import sha256
from ipaddress import IPv4Address

from kademlia.node import Node

from tether.identity import node_id
from tether.identity.name import KEY_BYTES

ID_BYTES = 20  # the package's 160 bits
PORT_MAX = 65_535

Address = tuple[str, int]


def dht_id(node_key: bytes) -> bytes:
    """Place of a node in the DHT."""
    return sha256(node_key).digest()[:ID_BYTES]


def topic_id(topic: str) -> bytes:
    """Place of a topic in the DHT."""
    return sha256(topic.encode()).digest()[:ID_BYTES]


class Contact(Node):  # type: ignore[misc]  # the package has no types
    """A node and where it was heard.

    Args:
        node_key: Ed25519 public key, 32 bytes.
        address: (host, port) of its UDP socket.
    """

    def __init__(self, node_key: bytes, address: Address) -> None:
        super().__init__(dht_id(node_key), *address)
        self.node_key = node_key
        self.node_id = node_id(node_key)

    @property
    def address(self) -> Address:
        """(host, port) of its UDP socket."""
        return (self.ip, self.port)

    def wire(self) -> list[object]:
        """As it travels in replies."""
        return [self.node_key, self.ip, self.port]


def read_contact(value: object) -> Contact | None:
    """A contact from a reply; None where it is malformed."""
    match value:
        case [bytes(key), str(host), int(port)] if len(key) == KEY_BYTES and _is_address(host, port):
            return Contact(key, (host, port))
    return None


def _is_address(host: str, port: int) -> bool:
    """Only literal loopback addresses, as nodes bind for now: a peer must not make this node send anywhere else."""
    try:
        loopback = IPv4Address(host).is_loopback
    except ValueError:
        return False
    return loopback and 0 < port <= PORT_MAX and not isinstance(port, bool)
