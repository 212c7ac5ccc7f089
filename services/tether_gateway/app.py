"""The gateway, put together: the only place that constructs its parts."""

from pathlib import Path

import structlog

from tether.identity import Role
from tether.node.find import Peers
from tether.node.journal import Journal
from tether.node.node import Node
from tether.observe.metrics import MetricsPage, open_page
from tether.observe.trace import Tracing
from tether.registry.catalogue import Catalogue
from tether.registry.follower import SnapshotFollower
from tether_gateway.config import Config
from tether_gateway.core import GatewayCore, Ground

JOURNAL = "ends.journal"  # in the state folder
CUT_S = 0.5  # of the grace, for clients that are cut off to hear it
SNAPSHOT_WAIT_S = 2.0  # a start without a registry goes on; requests are refused until one was heard
_log = structlog.get_logger("tether.gateway")


class GatewayApp:
    """One gateway; see `tether.app.App`."""

    name = "gateway"

    def __init__(self, config: Config) -> None:
        self._config = config
        self._node: Node | None = None
        self._page: MetricsPage | None = None
        self._follower: SnapshotFollower | None = None
        self._peers: list[Peers] = []
        self._tracing = Tracing()
        self._journal: Journal | None = None
        self.core: GatewayCore | None = None

    async def start(self) -> None:
        """Open the node, follow registry and orchestrators, serve, announce."""
        try:
            await self._start()
        except BaseException:
            await self.close()
            raise

    async def drain(self, grace_s: float) -> None:
        """Take no more requests; streams that run finish."""
        if self._node is None or self.core is None:
            return
        self._node.health.drain()
        await self.core.drain(max(0.0, grace_s - CUT_S))
        await self.core.sessions.close()
        await self._node.drain(1.0)

    async def close(self) -> None:
        """Stop now; idempotent."""
        if self.core is not None:
            await self.core.close()
        for peers in self._peers:
            peers.close()
        if self._follower is not None:
            await self._follower.close()
        if self._node is not None:
            await self._node.close()
        if self._page is not None:
            await self._page.close()
        if self._journal is not None:
            await self._journal.close()
        await self._tracing.close()
        self.core, self._follower, self._node, self._page, self._peers = None, None, None, None, []
        self._journal = None

    def endpoints(self) -> dict[str, str]:
        """host:port of the gRPC server and of the overlay."""
        node = self._node
        if node is None:
            return {}
        found = {"gateway": node.address, "gateway-overlay": node.overlay.address}
        return found | ({"metrics": self._page.address} if self._page is not None else {})

    async def _start(self) -> None:
        config = self._config
        self._node = node = await Node.open(config, Role.GATEWAY)
        if config.metrics_port is not None:
            self._page = await open_page(config.metrics_port)
        self._tracing = Tracing.open(config.otlp_endpoint, "gateway", {"region": config.region})
        registries = Peers(node.overlay, config.region, Role.REGISTRY)
        orchestrators = Peers(node.overlay, config.region, Role.ORCHESTRATOR)
        self._peers = [registries, orchestrators]
        catalogue = Catalogue(node.trust, node.identity.network_id, Path(config.state))
        self._follower = SnapshotFollower(registries, node.channels, catalogue, node.node_id)
        self._journal = await Journal.open(Path(config.state) / JOURNAL, bytes_max=config.journal_bytes_max)
        trust, channels = node.trust, node.channels
        ground = Ground(node.identity, trust, channels, orchestrators, catalogue, self._tracing, self._journal)
        self.core = core = GatewayCore(ground, config)
        await self._follower.start()
        core.start()
        orchestrators.listen(lambda: core.sessions.follow(orchestrators.all()))
        core.sessions.follow(orchestrators.all())
        await node.serve(core.add_to)
        await node.present()
        if not await self._follower.ready(SNAPSHOT_WAIT_S):
            _log.warning("no registry was heard yet")


def build(config: Config) -> GatewayApp:
    """Compose a gateway."""
    return GatewayApp(config)
