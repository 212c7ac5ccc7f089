"""A worker that is only a link: it reports what a test tells it to and signs receipts, but runs nothing."""

import asyncio
from dataclasses import dataclass, field

from tether.identity import Identity, Trust
from tether.identity.signature import RECEIPT
from tether.link import NO_JOB, Dialler, Entry, Handshake, Kind, LinkEnd, LinkLocal, Outbox
from tether.node.channels import Channels
from tether.v1.health_pb2 import Health
from tether.v1.identity_pb2 import Role
from tether.v1.infer_pb2 import Infer
from tether.v1.link_pb2 import Link

WAIT_S = 5.0


@dataclass(slots=True)
class FakeWorker:
    """A worker's identity with one link to an orchestrator.

    Attributes:
        identity: who it is.
        trust: whom it believes.
        report: what its beats say.
        outcomes: OUTCOME entries it was told, as (job, epoch, outcome).
    """

    identity: Identity
    trust: Trust
    report: Health.Report
    outcomes: "asyncio.Queue[tuple[bytes, int, Link.Outcome]]" = field(default_factory=asyncio.Queue)
    _channels: Channels | None = None
    _link: LinkEnd | None = None
    _task: "asyncio.Task[str] | None" = None
    _outbox: Outbox | None = None

    async def dial(self, node_id: str, address: str) -> None:
        """Open the link to an orchestrator."""
        self._channels = Channels(self.identity)
        self._outbox = Outbox(self._entry)
        handshake = Handshake(self.identity, self.trust, report=lambda: self.report)
        local = LinkLocal(handshake, self._outbox)
        dialler = Dialler(local, self._channels, (Role.ROLE_ORCHESTRATOR,), self)
        self._link = await dialler.dial(node_id, address)
        self._task = asyncio.create_task(dialler.hold(self._link))

    def beat(self, **changes: object) -> None:
        """Send the next report, changed."""
        self.report.sequence += 1
        for name, value in changes.items():
            setattr(self.report, name, value)
        self._send(Kind.BEAT, self.report.SerializeToString())

    def complete(self, job: bytes, epoch: int, body: Link.Complete) -> None:
        """Commit a job over the link."""
        self._send(Kind.COMPLETE, body.SerializeToString(), job, epoch)

    def receipt(self, job: bytes, epoch: int, *, text: str = "hello", complete: bool = True) -> Infer.Receipt:
        """Sign that an attempt came to `text`, a token a letter."""
        body = Infer.ReceiptBody(
            network_id=self.identity.network_id,
            job_id=job,
            epoch=epoch,
            worker_id=self.identity.node_id,
            usage=Infer.Usage(input_tokens=3, output_tokens=len(text)),
            end=Infer.Position(tokens=len(text), bytes=len(text.encode())),
            finish_reason=Infer.FINISH_REASON_STOP,
            complete=complete,
        ).SerializeToString()
        signature = self.identity.sign(RECEIPT, body)
        return Infer.Receipt(body=body, signature=signature, credential=self.identity.credential)

    async def outcome(self) -> tuple[bytes, int, Link.Outcome]:
        """The next OUTCOME that it is told."""
        return await asyncio.wait_for(self.outcomes.get(), WAIT_S)

    async def close(self) -> None:
        """End link and channel, as a death does; idempotent."""
        if self._link is not None:
            self._link.close("closed")
        if self._task is not None:
            await self._task
        if self._channels is not None:
            await self._channels.close()
        self._link, self._task, self._channels = None, None, None

    def up(self, link: LinkEnd) -> None:
        """See `LinkEvents`."""

    def down(self, link: LinkEnd, why: str) -> None:
        """See `LinkEvents`."""

    def _entry(self, _link: LinkEnd, entry: Entry) -> None:
        if entry.kind == Kind.OUTCOME:
            self.outcomes.put_nowait((entry.job, entry.epoch, Link.Outcome.FromString(entry.body)))

    def _send(self, kind: Kind, body: bytes, job: bytes = NO_JOB, epoch: int = 0) -> None:
        if self._link is not None and self._outbox is not None:
            self._outbox.send(self._link, kind, body, job=job, epoch=epoch)


def report_of(
    identity: Identity, region: str, *, slots: int = 4, queue_max: int = 0, model: str = "demo", loading: bool = False
) -> Health.Report:
    """What an idle worker of one model says, or one that still loads it."""
    ref = Health.ModelRef(model_id=model, version="1.0", digest=bytes(32))
    state = Health.CACHE_STATE_LOADING if loading else Health.CACHE_STATE_READY
    slots = 0 if loading else slots
    return Health.Report(
        worker_id=identity.node_id,
        capacity=Health.Capacity(slots=slots, slots_free=slots, queue_max=queue_max),
        gpu_class="cpu",
        region=region,
        supported=[] if loading else [ref],
        model_cache=[Health.CachedModel(model=ref, state=state)],
        incarnation=identity.incarnation,
        sequence=1,
        address="127.0.0.1:9",
    )
