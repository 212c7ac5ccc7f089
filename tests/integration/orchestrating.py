"""An orchestrator with the nodes that talk to it: real node, real store, real gRPC on loopback; for tests."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from grpc import aio

from tether.identity import Identity, Trust
from tether.identity.signature import SNAPSHOT
from tether.node.channels import Channels
from tether.node.region import prepare
from tether.rpc.status import from_rpc_error
from tether.testing.fake_worker import FakeWorker, report_of
from tether.v1 import placement_pb2 as pb
from tether.v1.infer_pb2 import Infer, JobState
from tether.v1.placement_pb2_grpc import PlacementServiceStub
from tether.v1.registry_pb2 import Model, Snapshot, Tenant, WatchSnapshotResponse
from tether_orchestrator.app import OrchestratorApp, build
from tether_orchestrator.config import Config

REGION = "local"
WAIT_S = 5.0


async def until(holds: Callable[[], object], what: str) -> None:
    """Wait for a condition, within a limit."""
    deadline_s = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < deadline_s, what
        await asyncio.sleep(0.01)


class Region:
    """An orchestrator with the nodes that talk to it."""

    def __init__(self, state: Path, **catalogue: Any) -> None:
        services = {
            "orchestrator": "orchestrator", "other": "orchestrator", "gateway": "gateway", "gateway-2": "gateway",
            "worker-1": "worker", "worker-2": "worker", "worker-3": "worker", "registry": "registry",
        }  # fmt: skip
        self.folders = prepare(state, REGION, services)
        self.app: OrchestratorApp | None = None
        self._channels: list[Channels] = []
        self._workers: list[FakeWorker] = []
        for name in ("orchestrator", "other"):
            self._catalogue(self.folders[name], **catalogue)

    def _catalogue(self, folder: Path, **more: Any) -> None:
        """What a registry would have told."""
        registry = Identity.load(self.folders["registry"])
        models = [Model(model_id=name, version="1.0", digest=bytes(32), context_tokens=64) for name in ("demo", "idle")]
        body = Snapshot(
            **{"network_id": registry.network_id, "revision": 1, "models": models, "tenants": [Tenant(name="acme")]}
            | more
        ).SerializeToString()
        kept = WatchSnapshotResponse(
            snapshot=body,
            signature=registry.sign(SNAPSHOT, body),
            credential=registry.credential,
            revision=1,
        )
        (folder / "snapshot.bin").write_bytes(kept.SerializeToString())

    async def start(self, name: str = "orchestrator", **settings: Any) -> OrchestratorApp:
        app = build(Config(state=self.folders[name], region=REGION, **settings))
        await app.start()
        if name == "orchestrator":
            self.app = app
        return app

    @property
    def target(self) -> tuple[str, str]:
        """Node id and address of the orchestrator."""
        assert self.app is not None
        return self.app._node.node_id, self.app.endpoints()["orchestrator"]

    def stub(self, caller: str, kind: Any = PlacementServiceStub, app: OrchestratorApp | None = None) -> Any:
        """A stub whose calls carry the caller's token."""
        channels = Channels(Identity.load(self.folders[caller]))
        self._channels.append(channels)
        node, address = self.target if app is None else (app._node.node_id, app.endpoints()["orchestrator"])
        stub = kind(channels.to(node, address))
        return Caller(stub, lambda: channels.metadata(node))

    async def worker(self, name: str = "worker-1", **facts: Any) -> FakeWorker:
        identity = Identity.load(self.folders[name])
        worker = FakeWorker(identity, Trust.load(self.folders[name]), report_of(identity, REGION, **facts))
        await worker.dial(*self.target)
        self._workers.append(worker)
        fleet = self.app._parts.fleet
        await until(lambda: fleet.lives(identity.node_id, identity.incarnation), "the worker is known")
        return worker

    async def close(self) -> None:
        for worker in self._workers:
            await worker.close()
        for channels in self._channels:
            await channels.close()
        if self.app is not None:
            await self.app.close()


class Caller:
    """Adds metadata and a timeout to each call of a stub; errors become TetherErrors."""

    def __init__(self, stub: Any, metadata: Callable[[], Any]) -> None:
        self.stub, self.metadata = stub, metadata

    def __getattr__(self, method: str) -> Any:
        async def call(request: Any) -> Any:
            try:
                return await getattr(self.stub, method)(request, metadata=self.metadata(), timeout=WAIT_S)
            except aio.AioRpcError as error:
                raise from_rpc_error(error) from None

        return call

    def stream(self, method: str, *requests: Any) -> Any:
        return getattr(self.stub, method)(*requests, metadata=self.metadata(), timeout=WAIT_S)


def ask(
    name: str = "one", *, session: bytes = b"s" * 16, body: str = "", model: str = "demo", **more: Any
) -> pb.PlaceRequest:
    header = pb.Header(
        tenant_id="acme",
        model_id=model,
        correlation_id=name,
        keyed=True,
        request_hash=(body or name).encode().ljust(32, b"."),
        input_bytes=5,
        input_tokens_max=5,
        on_disconnect=Infer.ON_DISCONNECT_DETACH,
    )
    header.timeout.FromSeconds(60)
    header.parameters.max_tokens = 8
    return pb.PlaceRequest(header=header, session_id=session, **more)


def ending(placed: pb.PlaceResponse, worker: FakeWorker, **more: Any) -> pb.CompleteRequest:
    receipt = worker.receipt(placed.job_id, placed.placed.epoch)
    answer = Infer.Payload(text="hello").SerializeToString()
    return pb.CompleteRequest(
        job_id=placed.job_id,
        epoch=placed.placed.epoch,
        outcome=JobState.JOB_STATE_DONE,
        receipt=receipt,
        answer=answer,
        **more,
    )


def ticket_of(placed: pb.PlaceResponse) -> pb.TicketBody:
    return pb.TicketBody.FromString(pb.Ticket.FromString(placed.placed.ticket).body)


class Session:
    """A gateway's session stream."""

    def __init__(self, gateway: Caller, region: Region, session: bytes = b"s" * 16, name: str = "gateway") -> None:
        self.requests: asyncio.Queue[pb.SessionRequest | None] = asyncio.Queue()
        self.session, self.number = session, 0
        self.node = Identity.load(region.folders[name]).node_id
        self.call = gateway.stream("Session", self._send())

    async def _send(self) -> AsyncIterator[pb.SessionRequest]:
        while (request := await self.requests.get()) is not None:
            yield request

    async def beat(self, **more: Any) -> pb.SessionResponse:
        self.number += 1
        self.requests.put_nowait(
            pb.SessionRequest(session_id=self.session, node_id=self.node, beat=self.number, **more)
        )
        return await self.heard("beat")

    async def heard(self, kind: str) -> pb.SessionResponse:
        async with asyncio.timeout(WAIT_S):
            async for response in self.call:
                if response.WhichOneof("kind") == kind:
                    return response
        raise AssertionError(f"the session ended without {kind}")

    async def close(self) -> None:
        self.requests.put_nowait(None)
        self.call.cancel()
        await asyncio.gather(self.call.code(), return_exceptions=True)
