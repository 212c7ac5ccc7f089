"""An orchestrator in memory: places, completes, looks up and keeps sessions and worker links, with real signatures.

No policy and no store: every request goes to the next worker in turn. A test changes its ways by its attributes.
"""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Collection
from typing import Any

from grpc import aio

from tether.errors import Reason, TetherError
from tether.identity import Role
from tether.identity.signature import TICKET
from tether.link import Entry, Handshake, Kind, LinkEnd, LinkLocal, LinkServer, Outbox
from tether.node.find import Peer
from tether.rpc import server as rpc_server
from tether.testing.identities import TestNode
from tether.v1 import control_pb2, control_pb2_grpc, infer_pb2, link_pb2, placement_pb2, placement_pb2_grpc

OPEN = infer_pb2.JOB_STATE_RESERVED


class FakeOrchestrator(placement_pb2_grpc.PlacementServiceServicer, control_pb2_grpc.ControlServiceServicer):
    """One orchestrator; `start` it, and hand `self` to gateways as their peers.

    Attributes:
        workers: where jobs go, in turn; filled by worker links.
        jobs: by id.
        gateway_id: node that tickets name as driver.
        completions: what was asked, in order.
        prompts: tokens of prompts as gateways told them, by job.
        place_error: raised by Place while set.
        complete_error: raised by Complete while set.
        place_delay_s: Place waits so long before it answers.
        place_limit: Place calls that find a worker; the next find none.
        places: Place calls so far.
        foreign: so many of the next placements seem to be driven by another gateway, which never starts them.
    """

    def __init__(self, node: TestNode, gateway_id: str) -> None:
        self.node = node
        self.gateway_id = gateway_id
        self.workers: list[placement_pb2.WorkerAddress] = []
        self.jobs: dict[bytes, infer_pb2.Job] = {}
        self.headers: dict[bytes, placement_pb2.Header] = {}
        self.completions: list[tuple[str, bytes, int, int]] = []
        self.place_error: TetherError | None = None
        self.prompts: dict[bytes, int] = {}
        self.complete_error: TetherError | None = None
        self.place_delay_s = 0.0
        self.place_limit = 1 << 30
        self.places = 0
        self.foreign = 0
        self.reports = 0
        self.digest = bytes(32)
        self.version = "1.0"
        self.peer: Peer | None = None
        self.outbox = Outbox(self._entry)
        self._server: aio.Server | None = None

    # lifetime

    async def start(self) -> None:
        """Serve on any free port."""
        self._server = server = rpc_server.create()
        placement_pb2_grpc.add_PlacementServiceServicer_to_server(self, server)
        control_pb2_grpc.add_ControlServiceServicer_to_server(self, server)
        self.local = LinkLocal(Handshake(self.node.identity, self.node.trust), self.outbox)
        LinkServer(self.local, (Role.WORKER,), self).add_to(server)
        address = await rpc_server.bind(server, "127.0.0.1:0")
        await server.start()
        self.peer = Peer(self.node.node_id, address, self.node.identity.incarnation)

    async def close(self) -> None:
        """Stop."""
        for end in self.local.book:
            end.close("closed")
        if self._server is not None:
            await self._server.stop(0)

    # what gateways take for Peers

    async def one(self, _key: str, _timeout_s: float = 0.0) -> Peer:
        """This orchestrator."""
        if self.peer is None:
            raise TetherError(Reason.NO_ORCHESTRATOR, "No orchestrator is started.")
        return self.peer

    def known(self, node_id: str) -> Peer | None:
        """This orchestrator, by its node id."""
        return self.peer if node_id == self.node.node_id else None

    def fail(self, peer: Peer) -> None:
        """There is no other to prefer."""

    def other(self, _key: str, but: Collection[str]) -> Peer | None:
        """There is no other."""
        return None if self.peer is None or self.peer.node_id in but else self.peer

    # LinkEvents

    def up(self, link: LinkEnd) -> None:
        """A worker's link stands: jobs may go there."""
        report = link.peer.report
        if report is None:
            raise TetherError(Reason.LINK_PROTOCOL, "a worker reports in its hello")
        self.workers = [one for one in self.workers if one.worker_id != report.worker_id]
        self.workers.append(
            placement_pb2.WorkerAddress(
                worker_id=report.worker_id, incarnation=report.incarnation, address=report.address
            )
        )

    def down(self, link: LinkEnd, why: str) -> None:
        """A worker's link is gone."""
        self.outbox.forget(link)
        self.workers = [one for one in self.workers if one.worker_id != link.peer.node_id]

    def _entry(self, link: LinkEnd, entry: Entry) -> None:
        if entry.kind == Kind.BEAT and entry.body:
            self.reports += 1
        if entry.kind == Kind.COMPLETE:
            body = link_pb2.Link.Complete.FromString(entry.body)
            self.completions.append(("worker", entry.job, entry.epoch, body.outcome))
            self._settle(entry.job, body.outcome, body.receipt, body.answer)
            outcome = link_pb2.Link.Outcome(outcome=self.jobs[entry.job].state, written=True)
            self.outbox.send(link, Kind.OUTCOME, outcome.SerializeToString(), job=entry.job, epoch=entry.epoch)

    # PlacementService

    async def Place(self, request: placement_pb2.PlaceRequest, context: Any) -> placement_pb2.PlaceResponse:  # noqa: ANN401, N802
        """Place on the next worker, join, or tell the end."""
        self.places += 1
        if self.place_error is not None:
            raise self.place_error
        await asyncio.sleep(self.place_delay_s)
        header = request.header
        named = f"{header.tenant_id}/{header.correlation_id}/{header.retry_token}"
        job = hashlib.sha256(named.encode()).digest()[:16]
        row = self.jobs.get(job)
        if row is not None and self.headers[job].request_hash != header.request_hash:
            raise TetherError(Reason.JOB_CONFLICT, "the key of this job names another request")
        if row is not None and row.state not in (OPEN, infer_pb2.JOB_STATE_ABANDONED):
            return placement_pb2.PlaceResponse(job_id=job, ended=placement_pb2.Ended(job=row, model_digest=self.digest))
        return self._shown(self._placed(job, header, row, request.after_epoch))

    async def Complete(self, request: placement_pb2.CompleteRequest, context: Any) -> placement_pb2.CompleteResponse:  # noqa: ANN401, N802
        """Write an outcome; the first one holds."""
        self.completions.append(("gateway", request.job_id, request.epoch, request.outcome))
        self.prompts[request.job_id] = request.input_tokens
        if self.complete_error is not None:
            raise self.complete_error
        row = self._settle(request.job_id, request.outcome, request.receipt, request.answer)
        return placement_pb2.CompleteResponse(outcome=row.state, job=row)

    async def Session(  # noqa: N802
        self,
        request_iterator: AsyncIterator[placement_pb2.SessionRequest],
        context: Any,  # noqa: ANN401
    ) -> AsyncIterator[placement_pb2.SessionResponse]:
        """Answer beats."""
        async for request in request_iterator:
            yield placement_pb2.SessionResponse(beat=placement_pb2.SessionBeat(beat=request.beat))

    async def LookupJob(self, request: control_pb2.LookupJobRequest, context: Any) -> control_pb2.LookupJobResponse:  # noqa: ANN401, N802
        """Return a job of the tenant."""
        for row in self.jobs.values():
            by_id = row.name == request.job_id
            by_key = not request.job_id and (row.correlation_id, row.retry_token) == (
                request.correlation_id,
                request.retry_token,
            )
            if (by_id or by_key) and row.tenant_id == request.tenant_id:
                return control_pb2.LookupJobResponse(job=row)
        raise TetherError(Reason.JOB_UNKNOWN, "there is no such job")

    # inside

    def _shown(self, response: placement_pb2.PlaceResponse) -> placement_pb2.PlaceResponse:
        """To its driver as it is, to anyone else as a job to join."""
        if not self.foreign:
            return response
        self.foreign -= 1
        placed = response.placed
        joined = placement_pb2.Joined(
            epoch=placed.epoch,
            worker=placed.worker,
            model_id=placed.model_id,
            version=placed.version,
            model_digest=placed.model_digest,
        )
        return placement_pb2.PlaceResponse(job_id=response.job_id, joined=joined)

    def _placed(
        self, job: bytes, header: placement_pb2.Header, row: infer_pb2.Job | None, after_epoch: int
    ) -> placement_pb2.PlaceResponse:
        if not self.workers or self.places > self.place_limit:
            raise TetherError(Reason.NO_WORKER, "no worker is linked")
        if row is None:
            row = self.jobs[job] = infer_pb2.Job(
                name=job.hex(),
                tenant_id=header.tenant_id,
                correlation_id=header.correlation_id,
                retry_token=header.retry_token,
                model_id=header.model_id,
                version=self.version,
            )
            self.headers[job] = header
        new = row.state != OPEN or row.epoch == after_epoch
        if new:
            row.state, row.epoch = OPEN, row.epoch + 1
            others = [one for one in self.workers if one.worker_id != row.worker_id] or self.workers
            row.worker_id = others[0].worker_id
            self.workers.append(self.workers.pop(0))
        worker = next(one for one in self.workers if one.worker_id == row.worker_id)
        placed = placement_pb2.Placed(
            epoch=row.epoch,
            worker=worker,
            ticket=self._ticket(job, row, header, worker),
            model_id=row.model_id,
            version=self.version,
            model_digest=self.digest,
        )
        return placement_pb2.PlaceResponse(job_id=job, placed=placed)

    def _ticket(
        self, job: bytes, row: infer_pb2.Job, header: placement_pb2.Header, worker: placement_pb2.WorkerAddress
    ) -> bytes:
        identity = self.node.identity
        parameters = infer_pb2.Infer.Parameters()
        parameters.CopyFrom(header.parameters)
        if not parameters.HasField("seed"):
            parameters.seed = 7
        body = placement_pb2.TicketBody(
            network_id=identity.network_id,
            job_id=job,
            epoch=row.epoch,
            request_hash=header.request_hash,
            worker_id=worker.worker_id,
            worker_incarnation=worker.incarnation,
            driver_id=self.gateway_id,
            tenant_id=header.tenant_id,
            correlation_id=header.correlation_id,
            model_id=header.model_id,
            version=self.version,
            model_digest=self.digest,
            parameters=parameters,
            issued_at_ms=time.time_ns() // 1_000_000,
            valid_s=120,
            keyed=header.keyed,
        ).SerializeToString()
        ticket = placement_pb2.Ticket(body=body, signature=identity.sign(TICKET, body), credential=identity.credential)
        return ticket.SerializeToString()

    def _settle(self, job: bytes, outcome: int, receipt: infer_pb2.Infer.Receipt, answer: bytes) -> infer_pb2.Job:
        row = self.jobs[job]
        if row.state != OPEN:
            return row
        row.state = infer_pb2.JobState.ValueType(outcome)
        if receipt.body:
            body = infer_pb2.Infer.ReceiptBody.FromString(receipt.body)
            row.receipt.CopyFrom(receipt)
            row.usage.CopyFrom(body.usage)
            row.finish_reason = body.finish_reason
        if answer:
            row.answer.CopyFrom(infer_pb2.Infer.Payload.FromString(answer))
        return row


async def dead_address() -> str:
    """host:port of loopback where nobody answers."""
    server = aio.server()
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    await server.stop(0)
    return f"127.0.0.1:{port}"


__all__ = ["FakeOrchestrator", "dead_address"]
