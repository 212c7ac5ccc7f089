"""BaseWorker: a worker that users extend: `opener` serves an engine of your own, `authorize` refuses starts.

It is also the worker that Tether ships. Source: docs/design/design.md §6.
"""

import asyncio
from pathlib import Path

import structlog

from tether.identity import Role
from tether.node.find import Peers
from tether.node.node import Node
from tether.observe.metrics import MetricsPage, open_page
from tether.observe.trace import Tracing
from tether.registry.catalogue import Catalogue
from tether.registry.follower import SnapshotFollower
from tether.v1 import infer_pb2
from tether_worker.config import Config
from tether_worker.core import Ground, WorkerCore
from tether_worker.keeper import FILE as JOURNAL
from tether_worker.loader.loader import ModelLoader
from tether_worker.supply import Opener, SimulatedOpener
from tether_worker.ticket import TicketBody

MODELS = "models"
SNAPSHOT_WAIT_S = 2.0  # a start without a registry goes on; models are loaded once one was heard
_log = structlog.get_logger("tether.worker")


class BaseWorker:
    """One worker; see `tether.app.App`.

    Args:
        config: settings.
    """

    name = "worker"

    def __init__(self, config: Config) -> None:
        self.config = config
        self.core: WorkerCore | None = None
        self._node: Node | None = None
        self._page: MetricsPage | None = None
        self._follower: SnapshotFollower | None = None
        self._peers: list[Peers] = []
        self._tracing = Tracing()
        self._following: asyncio.Task[None] | None = None
        self._loader: ModelLoader | None = None

    # hooks

    def authorize(self, ticket: TicketBody, request: infer_pb2.Infer.Request) -> None:
        """Refuse a start by raising TetherError; its ticket has been checked."""

    def opener(self, node: Node, registries: Peers) -> Opener:
        """What fetches and opens models."""
        if self.config.engine == "simulated":
            return SimulatedOpener(self.config)
        from tether_worker.onnx import OnnxOpener  # noqa: PLC0415 - a simulated worker needs no onnxruntime

        folder = Path(self.config.state) / MODELS
        self._loader = ModelLoader(
            folder, node.trust, registries, node.channels, bytes_max=self.config.models_bytes_max
        )
        return OnnxOpener(self.config, self._loader)

    # App

    async def start(self) -> None:
        """Open the node, serve links, follow registry and orchestrators, load models, announce."""
        try:
            await self._start()
        except BaseException:
            await self.close()
            raise

    async def drain(self, grace_s: float) -> None:
        """Take no more jobs; those that run finish."""
        if self._node is None or self.core is None:
            return
        self._node.health.drain()
        await self.core.health.withdraw()
        await self.core.drain(grace_s)

    async def close(self) -> None:
        """Stop now; idempotent."""
        if self._following is not None:
            self._following.cancel()
            await asyncio.gather(self._following, return_exceptions=True)
        if self._loader is not None:
            await self._loader.close()
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
        await self._tracing.close()
        self.core, self._follower, self._node, self._page, self._following = None, None, None, None, None
        self._peers = []

    def endpoints(self) -> dict[str, str]:
        """host:port of the gRPC server and of the overlay."""
        node = self._node
        if node is None:
            return {}
        found = {"worker": node.address, "worker-overlay": node.overlay.address}
        return found | ({"metrics": self._page.address} if self._page is not None else {})

    async def _start(self) -> None:
        config = self.config
        self._node = node = await Node.open(config, Role.WORKER)
        if config.metrics_port is not None:
            self._page = await open_page(config.metrics_port)
        self._tracing = Tracing.open(config.otlp_endpoint, "worker", {"region": config.region})
        registries = Peers(node.overlay, config.region, Role.REGISTRY)
        orchestrators = Peers(node.overlay, config.region, Role.ORCHESTRATOR)
        self._peers = [registries, orchestrators]
        catalogue = Catalogue(node.trust, node.identity.network_id, Path(config.state))
        self._follower = SnapshotFollower(registries, node.channels, catalogue, node.node_id)
        ground = Ground(node.identity, node.trust, node.channels, node.overlay, self._tracing)
        opener = self.opener(node, registries)
        self.core = core = WorkerCore(ground, config, opener, authorize=self.authorize)
        await core.keeper.open(Path(config.state) / JOURNAL, config.journal_bytes_max)
        await self._follower.start()
        await node.serve(core.add_to)
        core.serve_at(node.address)
        if not await self._follower.ready(SNAPSHOT_WAIT_S):
            _log.warning("no registry was heard yet")
        await core.supply.reconcile(catalogue.models)
        catalogue.on_change(core.supply.changed)
        self._following = asyncio.create_task(core.supply.run(lambda: catalogue.models))
        core.start()
        orchestrators.listen(lambda: core.orchestrators_are(orchestrators.all()))
        core.orchestrators_are(orchestrators.all())
        await core.health.announce(core.health.report())
