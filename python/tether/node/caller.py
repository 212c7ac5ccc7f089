"""Who calls: checked once per call, before the servicer sees it.

Methods of clients and the standard services (health, reflection) pass; every other method needs a node token whose
roles the matrix allows. A method that nobody listed is refused.
"""

import contextvars
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

import grpc
import structlog
from grpc import aio

from tether.errors import Reason, TetherError
from tether.identity import CLIENT_METHODS, ROLE_MATRIX, Role, Trust, Verified, allowed_roles
from tether.identity.token import from_header

OPEN_PREFIXES = ("/grpc.health.v1.", "/grpc.reflection.")  # what tools call before they know any key
AUTHORIZATION = "authorization"

if TYPE_CHECKING:
    Handler: TypeAlias = grpc.RpcMethodHandler[Any, Any]
else:
    Handler = grpc.RpcMethodHandler  # generic in the stubs alone
_log = structlog.get_logger("tether.node")
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


def caller(_context: object) -> Caller:
    """The node that made the call which is being handled; a call and its task know it, whatever its shape.

    Args:
        _context: the servicer's context, which names the call.

    Raises:
        TetherError: NODE_TOKEN_INVALID where the call is a client's.
    """
    known = _caller.get()
    if known is None:
        raise TetherError(Reason.NODE_TOKEN_INVALID, "The call carries no node token.")
    return known


def is_open(method: str, served: frozenset[str]) -> bool:
    """Whether a method needs no node token.

    Args:
        method: path of the method.
        served: paths of the service's own methods. What is not served is open: the last handler says so to anyone.
    """
    if method in CLIENT_METHODS or method.startswith(OPEN_PREFIXES):
        return True
    return method not in served and method not in ROLE_MATRIX


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


class CallerInterceptor(aio.ServerInterceptor):
    """Lets a call through to its handler when its caller may make it.

    Args:
        trust: what this node believes.
        node_id: this node.
        role: the role it serves in.
        now_ms: milliseconds since the Unix epoch.
    """

    def __init__(self, trust: Trust, node_id: str, role: Role, now_ms: Callable[[], int] | None = None) -> None:
        self._trust = trust
        self._me = (node_id, role)
        self._now_ms = now_ms or (lambda: time.time_ns() // 1_000_000)
        self._served: frozenset[str] = frozenset()

    def guard(self, methods: Iterable[str]) -> None:
        """Name the methods that the server has; one that no rule names is then for nobody."""
        self._served = frozenset(methods)

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """Return the method's handler, or one that refuses."""
        method = handler_call_details.method
        if not is_open(method, self._served):
            metadata: Any = handler_call_details.invocation_metadata
            try:
                _caller.set(check_call(method, metadata, self._trust, self._me, self._now_ms()))
            except TetherError as error:
                _log.info("call refused", method=method, reason=error.reason.name, why=error.message)
                return grpc.stream_stream_rpc_method_handler(_refuser(error))
        return await continuation(handler_call_details)


def _refuser(error: TetherError) -> Callable[..., Awaitable[NoReturn]]:
    """A handler that ends its call by `error`, whatever the method's shape."""

    async def refuse(_requests: object, _context: object) -> NoReturn:
        raise error

    return refuse
