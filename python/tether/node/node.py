"""A node: identity, overlay, gRPC server and channels, composed the same way for all five services."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

import structlog
from grpc import aio

from tether.config import ServiceConfig
from tether.errors import Reason, TetherError
from tether.identity import Identity, Role, Trust
from tether.node.caller import CallerInterceptor
from tether.node.channels import Channels
from tether.node.find import presence_of, topic_of
from tether.node.lock import FolderLock
from tether.overlay import Announcement, Overlay
from tether.overlay.clock import Clock
from tether.rpc import server as rpc_server
from tether.rpc.health import HealthBoard
from tether.rpc.reflection import enable_reflection
from tether.rpc.unknown import UnknownMethod, methods

_log = structlog.get_logger("tether.node")


class Node:
    """What a service stands on. Made by `open`, served by `serve`, ended by `close`.

    Attributes:
        identity: who this node is.
        trust: whom it believes.
        overlay: how it finds others and is found.
        channels: how it calls others.
        server: its gRPC server; handlers are added in `serve`.
        health: what its health service says.
        role: the role it serves in.
        region: its region.
        address: host:port of its gRPC server; empty until `serve`.
    """

    def __init__(self, config: ServiceConfig, role: Role, lock: FolderLock, clock: Clock) -> None:
        self._config = config
        self._lock = lock
        self.role = role
        self.region = config.region
        self.address = ""
        self.identity = Identity.load(config.state)
        self.trust = Trust.load(config.state)
        _check_own(self.identity, self.trust, role, config.region, clock.wall_ms() / 1_000)
        self.overlay = Overlay(self.identity, self.trust, config.state, clock=clock)
        self.channels = Channels(self.identity, clock.wall_ms)
        self.health = HealthBoard()
        self._gate = CallerInterceptor(self.trust, self.identity.node_id, role, clock.wall_ms)
        self.server: aio.Server
        self._closed = False

    @classmethod
    async def open(
        cls,
        config: ServiceConfig,
        role: Role | int,
        *,
        clock: Clock | None = None,
        receive_bytes_max: int = rpc_server.RECEIVE_BYTES_MAX,
        interceptors: Sequence[aio.ServerInterceptor] = (),
    ) -> "Node":
        """Take the state folder, begin a new life, join the overlay.

        Args:
            config: the service's settings.
            role: what it serves as; its credential must allow it in the configured region.
            clock: time and chance.
            receive_bytes_max: largest message that its server takes.
            interceptors: more wrappers around its handlers, inside the check of callers.

        Raises:
            TetherError: STATE_UNUSABLE, ROLE_FORBIDDEN, NODE_TOKEN_INVALID or PORT_IN_USE.
        """
        lock = FolderLock(_existing(config.state))
        try:
            node = cls(config, Role(role), lock, clock or Clock())
        except BaseException:
            lock.close()
            raise
        try:
            node.server = rpc_server.create(
                receive_bytes_max=receive_bytes_max, interceptors=[node._gate, *interceptors]
            )
            await node.overlay.start(config.overlay_port, config.bootstrap)
        except BaseException:
            await node.close()
            raise
        return node

    @property
    def node_id(self) -> str:
        """This node's id."""
        return self.identity.node_id

    @property
    def incarnation(self) -> int:
        """Number of its present life."""
        return self.identity.incarnation

    async def serve(self, add: Callable[[aio.Server], Sequence[str]]) -> None:
        """Bind and serve: the service's own methods, health and reflection.

        Args:
            add: adds servicers and returns the full names of their services.

        Raises:
            TetherError: PORT_IN_USE, naming port and flag.
        """
        names = list(add(self.server))
        self._gate.guard(methods(names))
        names.append(self.health.install(self.server))
        enable_reflection(self.server, names)
        self.server.add_generic_rpc_handlers((UnknownMethod(names),))
        self.address = await rpc_server.bind(self.server, self._config.listen)
        await self.server.start()
        for service in ("", *names):
            self.health.set(service, serving=True)
        where = {"address": self.address, "overlay": self.overlay.address}
        _log.info("serving on loopback only", role=self.role.slug, **where)

    async def present(self, store_id: bytes = b"") -> Announcement:
        """Announce where this node serves, on the topic of its role; after `serve`.

        Args:
            store_id: id of its job store, where it is an orchestrator.

        Raises:
            TetherError: as `Overlay.announce`.
        """
        content = presence_of(self.role, self.node_id, [self.address], store_id)
        return await self.overlay.announce(topic_of(self.role, self.region), content)

    async def drain(self, grace_s: float) -> None:
        """Say NOT_SERVING, be found no more, and let running calls finish within `grace_s`."""
        self.health.drain()
        await self.overlay.withdraw()
        if self.address:
            await self.server.stop(grace_s)

    async def close(self) -> None:
        """Stop now and let the state folder go. The same again does nothing."""
        if self._closed:
            return
        self._closed = True
        try:
            if hasattr(self, "server"):
                await self.server.stop(0)
            await asyncio.gather(self.channels.close(), self.overlay.close())
        finally:
            self._lock.close()


def _existing(folder: Path) -> Path:
    if not folder.is_dir():
        text = f"There is no state folder {folder}; `tether node issue` makes it, `tether up` makes all."
        raise TetherError(Reason.STATE_UNUSABLE, text)
    return folder


def _check_own(identity: Identity, trust: Trust, role: Role, region: str, now_s: float) -> None:
    """Find at the start what every peer would refuse."""
    own = trust.credential(identity.credential, now_s)
    own.require(frozenset({role}), f"Serving as {role.slug}")
    if not own.serves(region):
        regions = ", ".join(sorted(own.regions))
        raise TetherError(Reason.ROLE_FORBIDDEN, f"This node's credential is for {regions}, not {region}.")
