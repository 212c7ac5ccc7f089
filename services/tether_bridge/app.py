"""The composition root of the bridge: settings in, a running HTTP server out."""

import structlog

from tether.identity import Role
from tether.node.find import Peers
from tether.node.node import Node
from tether.observe.metrics import MetricsPage, open_page
from tether.registry.catalogue import Catalogue
from tether.registry.follower import SnapshotFollower
from tether_bridge import routes
from tether_bridge.config import Config
from tether_bridge.endpoint import Desk
from tether_bridge.host import Host
from tether_bridge.upstream import Upstream

SNAPSHOT_WAIT_S = 2.0  # a start without a registry goes on; models are listed once one was heard
_log = structlog.get_logger("tether.bridge")


class BridgeApp:
    """One bridge; see `tether.app.App`.

    Args:
        config: settings.
    """

    name = "bridge"

    def __init__(self, config: Config) -> None:
        self._config = config
        self._host: Host | None = None
        self._node: Node | None = None
        self._desk: Desk | None = None
        self._page: MetricsPage | None = None
        self._follower: SnapshotFollower | None = None
        self._peers: list[Peers] = []

    async def start(self) -> None:
        """Bind, open the node, follow registry and gateways, serve, announce."""
        try:
            await self._start()
        except BaseException:
            await self.close()
            raise

    async def drain(self, grace_s: float) -> None:
        """Take no more requests; answers that run end within `grace_s`, what is left is told why."""
        if self._node is None or self._desk is None or self._host is None:
            return
        self._node.health.drain()
        await self._desk.drain(grace_s)
        await self._host.close()
        await self._node.drain(0.0)

    async def close(self) -> None:
        """Stop now; the same again does nothing."""
        if self._desk is not None:
            await self._desk.drain(0.0)
        if self._host is not None:
            await self._host.close()
        if self._follower is not None:
            await self._follower.close()
        for peers in self._peers:
            peers.close()
        if self._node is not None:
            await self._node.close()
        if self._page is not None:
            await self._page.close()
        self._host, self._node, self._desk, self._page, self._follower = None, None, None, None, None
        self._peers = []

    def endpoints(self) -> dict[str, str]:
        """host:port of the HTTP server, of the gRPC server, of the overlay and of the metrics page."""
        node, host = self._node, self._host
        if node is None or host is None:
            return {}
        found = {"bridge": host.address, "bridge-grpc": node.address, "bridge-overlay": node.overlay.address}
        return found | ({"metrics": self._page.address} if self._page is not None else {})

    async def _start(self) -> None:
        config = self._config
        self._host = host = Host(config.http)
        self._node = node = await Node.open(config, Role.BRIDGE)
        if config.metrics_port is not None:
            self._page = await open_page(config.metrics_port)
        gateways = Peers(node.overlay, config.region, Role.GATEWAY)
        registries = Peers(node.overlay, config.region, Role.REGISTRY)
        self._peers = [gateways, registries]
        catalogue = Catalogue(node.trust, node.identity.network_id, config.state)
        self._follower = SnapshotFollower(registries, node.channels, catalogue, node.node_id)
        await self._follower.start()
        self._desk = desk = Desk(config, Upstream(gateways, node.channels.to))
        await node.serve(lambda _: ())
        await host.serve(routes.build(desk, catalogue))
        await node.present()
        if not await self._follower.ready(SNAPSHOT_WAIT_S):
            _log.warning("no registry was heard yet")
        _log.info("bridge is ready", address=host.address)


def build(config: Config) -> BridgeApp:
    """Compose a bridge."""
    return BridgeApp(config)
