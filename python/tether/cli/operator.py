"""How verbs reach services: an operator's identity, a short visit to the overlay, and calls that carry its token.

No address of a service is ever configured: the state folder (or `--bootstrap`) names an overlay node, and the control
topic names the rest.
"""

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import structlog
from google.protobuf.message import Message
from grpc import aio

from tether.client.target import default_state, read_endpoints
from tether.errors import Reason, TetherError
from tether.identity import Identity, Role, Trust
from tether.node.channels import Channels
from tether.node.find import Peers
from tether.node.region import OPERATOR
from tether.observe.log import configure_logging
from tether.overlay import Overlay
from tether.rpc.status import from_rpc_error
from tether.v1.control_pb2_grpc import ControlServiceStub
from tether.v1.placement_pb2_grpc import PlacementServiceStub
from tether.v1.registry_pb2_grpc import AccessServiceStub, RegistryServiceStub

if TYPE_CHECKING:
    from tether.v1.control_pb2_grpc import ControlServiceAsyncStub
    from tether.v1.placement_pb2_grpc import PlacementServiceAsyncStub
    from tether.v1.registry_pb2_grpc import AccessServiceAsyncStub, RegistryServiceAsyncStub

CALL_S = 20.0  # an operator's call reads or writes some rows; a longer one is stuck
FIND_S = 2.0  # a region that is up answers in milliseconds, a service that restarts within a second
PAGE = 1_000


class _Proven:
    """A stub whose calls carry token and deadline and raise typed errors.

    gRPC's own interceptors raise a second time when such a call is collected; this does not.
    """

    def __init__(self, stub: object, metadata: Callable[[], Sequence[tuple[str, str]]]) -> None:
        self._stub = stub
        self._metadata = metadata

    def __getattr__(self, name: str) -> Callable[[Message], Awaitable[Any]]:
        method = getattr(self._stub, name)

        async def call(request: Message) -> Any:  # noqa: ANN401 - each method has a response of its own
            try:
                return await method(request, metadata=self._metadata(), timeout=CALL_S)
            except aio.AioRpcError as error:
                raise from_rpc_error(error) from error

        return call


class Operator:
    """An operator on the overlay."""

    def __init__(self, identity: Identity, trust: Trust, region: str) -> None:
        self.identity = identity
        self.region = region
        self.overlay = Overlay(identity, trust)
        self._channels = Channels(identity)

    async def registry_channel(self) -> tuple[aio.Channel, tuple[tuple[str, str], ...]]:
        """Return a channel to the registry and the metadata that proves the operator."""
        node_id, address = await self._find(Role.REGISTRY)
        return self._channels.to(node_id, address), self._channels.metadata(node_id)

    async def registry(self) -> "RegistryServiceAsyncStub":
        """Return the registry's catalogue."""
        return cast("RegistryServiceAsyncStub", await self._proven(RegistryServiceStub, Role.REGISTRY))

    async def access(self) -> "AccessServiceAsyncStub":
        """Return the registry's tenants and keys."""
        return cast("AccessServiceAsyncStub", await self._proven(AccessServiceStub, Role.REGISTRY))

    async def control(self) -> "ControlServiceAsyncStub":
        """Return an orchestrator's workers and jobs."""
        return cast("ControlServiceAsyncStub", await self._proven(ControlServiceStub, Role.ORCHESTRATOR))

    async def placement(self) -> "PlacementServiceAsyncStub":
        """Return an orchestrator's placement."""
        return cast("PlacementServiceAsyncStub", await self._proven(PlacementServiceStub, Role.ORCHESTRATOR))

    async def find_orchestrator(self) -> tuple[str, str]:
        """Return node id and host:port of an orchestrator."""
        return await self._find(Role.ORCHESTRATOR)

    async def _proven(self, stub: Callable[[aio.Channel], object], role: Role) -> _Proven:
        node_id, address = await self._find(role)
        return _Proven(stub(self._channels.to(node_id, address)), lambda: self._channels.metadata(node_id))

    async def _find(self, role: Role) -> tuple[str, str]:
        peers = Peers(self.overlay, self.region, role)
        try:
            found = await peers.one("operator", FIND_S)
        except TetherError as error:
            message = f"no {role.slug} of region {self.region} is on the overlay: is the region up, and its name right?"
            raise TetherError(error.reason, message) from error
        finally:
            peers.close()
        return found.node_id, found.address

    async def close(self) -> None:
        """Leave the overlay and close all channels."""
        await self._channels.close()
        await self.overlay.close()


@asynccontextmanager
async def connect(state: Path | None, bootstrap: list[str] | None, region: str) -> AsyncIterator[Operator]:
    """Join the overlay as an operator for the time of a verb.

    Args:
        state: folder of a region, or an operator's own.
        bootstrap: host:port of overlay nodes; None takes the state folder's endpoints.json.
        region: region to look in.

    Raises:
        TetherError: STATE_UNUSABLE without an operator's credential, INVALID_FIELD without a bootstrap address, or
            what a call raised.
    """
    folder = state or default_state(os.environ)
    if not structlog.is_configured():  # a verb's own output stays clean: what went wrong is raised
        configure_logging("error")
    operator = _identity(folder, region)
    try:
        await operator.overlay.start(0, _bootstrap(folder, bootstrap))
        yield operator
    finally:
        await operator.close()


def _identity(folder: Path, region: str) -> Operator:
    home = folder / OPERATOR if (folder / OPERATOR / "credential.bin").exists() else folder
    if not (home / "credential.bin").exists():
        message = f"{folder} holds no operator: give --state of a `tether up` or `tether network init`"
        raise TetherError(Reason.STATE_UNUSABLE, message)
    return Operator(Identity.load(home), Trust.load(home), region)


def _bootstrap(folder: Path, given: list[str] | None) -> list[str]:
    if given:
        return [_checked_address(one) for one in given]
    known = read_endpoints(folder).get("overlay", "")
    if not known:
        message = f"no region runs in {folder}: start one with `tether up`, or give --bootstrap host:port"
        raise TetherError(Reason.INVALID_FIELD, message, field="bootstrap")
    return [known]


def _checked_address(text: str) -> str:
    from tether.config import split_address

    try:
        split_address(text)
    except ValueError as error:
        raise TetherError(Reason.INVALID_FIELD, f"--bootstrap {text}: {error}", field="bootstrap") from error
    return text


async def pages(
    method: Callable[[Any], Awaitable[Any]],
    request: Any,  # noqa: ANN401 - each List method has a request of its own
    field: str,
    limit: int | None = None,
) -> list[Any]:
    """Read all pages of a list.

    Args:
        method: a List method.
        request: its request; page size and token are filled in.
        field: field of the response that holds the rows.
        limit: most rows to return; None for all.
    """
    rows: list[Any] = []
    while limit is None or len(rows) < limit:
        request.page_size = min(PAGE, PAGE if limit is None else limit - len(rows))
        response = await method(request)
        rows.extend(getattr(response, field))
        if not response.next_page_token:
            break
        request.page_token = response.next_page_token
    return rows
