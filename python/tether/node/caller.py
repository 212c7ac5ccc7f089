"""Who calls: checked once per call, before the servicer sees it.

Methods of clients and the standard services (health, reflection) pass; every other method needs a node token whose roles
the matrix allows. A method that nobody listed is refused.
"""

import contextvars
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import grpc
from grpc import aio

from tether.errors import Reason, TetherError
from tether.identity import CLIENT_METHODS, Role, Trust, Verified, allowed_roles
from tether.identity.token import from_header

OPEN_PREFIXES = ("/grpc.health.v1.", "/grpc.reflection.")  # what tools call before they know any key
AUTHORIZATION = "authorization"

_caller: contextvars.ContextVar["Caller | None"] = contextvars.ContextVar("tether_caller", default=None)


@dataclass(frozen=True, slots=True)
class Caller:
    """The node that calls.

    Attributes:
        node_id: its id.
        roles: roles of its credential.
        regions: regions of its credential; empty for all.
        credential: the whole of what was checked.
    """

    node_id: str
    roles: frozenset[Role]
    regions: frozenset[str]
    credential: Verified


def caller(context: object) -> Caller:  # noqa: ARG001  # names the call it is asked about; the call's own task knows it
    """The node that made the call which is being handled.

    Raises:
        TetherError: NODE_TOKEN_INVALID where the call is a client's.
    """
    known = _caller.get()
    if known is None:
        raise TetherError(Reason.NODE_TOKEN_INVALID, "The call carries no node token.")
    return known


def is_open(method: str) -> bool:
    """Whether a method needs no node token."""
    return method in CLIENT_METHODS or method.startswith(OPEN_PREFIXES)


def check_call(
    method: str, metadata: Sequence[tuple[str, str | bytes]], trust: Trust, me: tuple[str, Role], now_ms: int
) -> Caller:
    """Who calls `method`, where it may.

    Args:
        method: such as `/tether.v1.PlacementService/Place`.
        metadata: the call's.
        trust: what this node believes.
        me: this node's id and role.
        now_ms: milliseconds since the Unix epoch.

    Raises:
        TetherError: NODE_TOKEN_INVALID, or ROLE_FORBIDDEN.
    """
    values = [value for key, value in metadata if key == AUTHORIZATION]
    if len(values) != 1 or not isinstance(values[0], str):
        raise TetherError(Reason.NODE_TOKEN_INVALID, "The call needs one `authorization: Tether-Node …`.")
    known = trust.token(from_header(values[0]), me[0], now_ms)
    known.require(allowed_roles(method, me[1]), method)
    return Caller(known.node_id, known.roles, known.regions, known)
