"""A credential that was checked: who, in which roles and regions, until when."""

from dataclasses import dataclass

from tether.errors import Reason, TetherError
from tether.identity.role import Role

CLOCK_TOLERANCE_S = 30  # wall clocks of honest nodes may differ by this much: overlay.md §2


@dataclass(frozen=True, slots=True)
class Verified:
    """What an issuer of this network vouches for.

    Attributes:
        node_id: the node's name, 52 characters.
        node_key: Ed25519 public key, 32 bytes.
        roles: roles that it may act in.
        regions: regions that it may act in; empty for all.
        issued_at_s: seconds since the Unix epoch.
        expires_at_s: seconds since the Unix epoch.
        hash: SHA-256 of the serialized credential, 32 bytes.
        label: name for people.
    """

    node_id: str
    node_key: bytes
    roles: frozenset[Role]
    regions: frozenset[str]
    issued_at_s: int
    expires_at_s: int
    hash: bytes
    label: str

    def serves(self, region: str) -> bool:
        """Whether it may act in `region`."""
        return not self.regions or region in self.regions

    def expired(self, now_s: float) -> bool:
        """Whether it is over, with tolerance for clocks that differ."""
        return now_s > self.expires_at_s + CLOCK_TOLERANCE_S

    def require(self, roles: frozenset[Role], what: str) -> None:
        """Pass where the node has one of `roles`.

        Raises:
            TetherError: ROLE_FORBIDDEN, naming `what` and the roles that may.
        """
        if not self.roles & roles:
            may = ", ".join(sorted(role.slug for role in roles)) or "no node"
            has = ", ".join(sorted(role.slug for role in self.roles))
            text = f"{what} is for {may}; this node is {has}."
            raise TetherError(Reason.ROLE_FORBIDDEN, text, metadata={"method": what})
