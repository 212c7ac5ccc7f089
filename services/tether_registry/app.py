"""The composition root of the registry: settings in, a running service out."""

from collections.abc import Sequence

import structlog
from grpc import aio

from tether.artifact.folder import FolderStore
from tether.artifact.manifest import Limits
from tether.identity import Identity, Role
from tether.node.node import Node
from tether.node.region import OPERATOR
from tether.observe.metrics import MetricsPage, open_page
from tether.observe.trace import Tracing
from tether.store.registry import RegistryStore
from tether.store.registry_open import open_registry
from tether.v1 import registry_pb2_grpc as grpc_pb
from tether_registry import demo, metrics
from tether_registry.board import Board
from tether_registry.catalog import Catalog
from tether_registry.config import Config
from tether_registry.follow import StoreFollower
from tether_registry.policy import Policies
from tether_registry.servicer import AccessServicer, ArtifactServicer, RegistryServicer

DATABASE = "registry.db"
SERVICES = ("tether.v1.RegistryService", "tether.v1.AccessService", "tether.v1.ArtifactService")
_log = structlog.get_logger("tether.registry")


class RegistryApp:
    """One registry; see `tether.app.App`.

    Args:
        config: settings.
    """

    name = "registry"

    def __init__(self, config: Config) -> None:
        self._config = config
        self._node: Node | None = None
        self._store: RegistryStore | None = None
        self._blobs: FolderStore | None = None
        self._board: Board | None = None
        self._follower: StoreFollower | None = None
        self._page: MetricsPage | None = None
        self._tracing = Tracing()

    async def start(self) -> None:
        """Open store and artifacts, publish the demo where there is one, serve, announce."""
        try:
            await self._start()
        except BaseException:
            await self.close()
            raise

    async def drain(self, grace_s: float) -> None:
        """Take no more calls and end the watches; calls that run finish within `grace_s`."""
        if self._board is not None:
            self._board.close()
        if self._node is not None:
            await self._node.drain(grace_s)

    async def close(self) -> None:
        """Stop now; the same again does nothing."""
        if self._board is not None:
            self._board.close()
        if self._follower is not None:
            await self._follower.close()
        if self._node is not None:
            await self._node.close()
        if self._store is not None:
            await self._store.close()
        if self._blobs is not None:
            await self._blobs.close()
        if self._page is not None:
            await self._page.close()
        await self._tracing.close()
        self._node, self._store, self._blobs, self._board, self._page = None, None, None, None, None
        self._follower = None

    def endpoints(self) -> dict[str, str]:
        """host:port of the gRPC server, of the overlay and of the metrics page."""
        node = self._node
        if node is None:
            return {}
        found = {"registry": node.address, "registry-overlay": node.overlay.address}
        return found | ({"metrics": self._page.address} if self._page is not None else {})

    async def _start(self) -> None:
        config = self._config
        limits = Limits(config.blob_bytes_max, config.artifact_bytes_max)
        self._node = node = await Node.open(config, Role.REGISTRY)
        if config.metrics_port is not None:
            self._page = await open_page(config.metrics_port)
        self._tracing = Tracing.open(config.otlp_endpoint, self.name, {"region": config.region})
        self._store = store = await open_registry(config.store or config.state / DATABASE)
        metrics.STORE_UP.set(1)
        self._blobs = blobs = FolderStore(config.state / "artifacts", limits)
        await blobs.open()
        network_id = node.identity.network_id
        self._board = board = Board(
            lambda: store.snapshot(network_id), node.identity.sign, node.identity.credential, config.beat_s
        )
        catalog = Catalog(store, blobs, node.trust, limits, board.refresh)
        if config.demo_model is not None:
            publisher = Identity.load(config.publisher or config.state.parent / OPERATOR)
            await demo.prepare(
                config.demo_model, signer=publisher, store=store, blobs=blobs, catalog=catalog, limits=limits
            )
        await board.refresh()
        if config.store:
            self._follower = StoreFollower(store.revision, board, config.store_poll_s)
            self._follower.start()
        await node.serve(lambda server: _add(server, store, catalog, board, blobs))
        await node.present()
        _log.info("registry is ready", address=node.address)


def _add(server: aio.Server, store: RegistryStore, catalog: Catalog, board: Board, blobs: FolderStore) -> Sequence[str]:
    """Add the servicers; returns the names of their services."""
    grpc_pb.add_RegistryServiceServicer_to_server(RegistryServicer(store, catalog, board), server)
    grpc_pb.add_AccessServiceServicer_to_server(AccessServicer(store, Policies(store, board.refresh), board), server)
    grpc_pb.add_ArtifactServiceServicer_to_server(ArtifactServicer(blobs), server)
    return SERVICES


def build(config: Config) -> RegistryApp:
    """Compose a registry."""
    return RegistryApp(config)
