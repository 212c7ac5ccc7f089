"""Roles: what a node may act as; the numbers are those of `tether.v1.Role`."""

from collections.abc import Iterable
from enum import IntEnum

from tether.errors import Reason, TetherError
from tether.v1 import identity_pb2


class Role(IntEnum):
    """What a node may act as."""

    GATEWAY = 1
    ORCHESTRATOR = 2
    REGISTRY = 3
    WORKER = 4
    BRIDGE = 5
    ISSUER = 6
    OPERATOR = 7
    PUBLISHER = 8

    @property
    def slug(self) -> str:
        """Name as operators type it, such as `gateway`."""
        return self.name.lower()

    @property
    def wire(self) -> identity_pb2.Role.ValueType:
        """The same role, typed for generated messages."""
        return identity_pb2.Role.ValueType(self.value)

    @classmethod
    def parse(cls, slug: str) -> "Role":
        """Read a role's name.

        Raises:
            TetherError: INVALID_FIELD where no role has that name.
        """
        for role in cls:
            if role.slug == slug:
                return role
        known = ", ".join(role.slug for role in cls)
        raise TetherError(Reason.INVALID_FIELD, f"{slug!r} is no role; roles are {known}.", field="role")


def known_roles(numbers: Iterable[int]) -> frozenset[Role]:
    """Roles that this version knows among `numbers`; the others are left out, so that they give no right."""
    known = set(Role)
    return frozenset(Role(number) for number in numbers if number in known)
