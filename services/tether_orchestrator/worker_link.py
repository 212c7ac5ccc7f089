"""Links of workers: their reports feed the fleet, their completions are settled, and their death is noticed.

A closed link takes its worker out of rotation at once. Whether it is dead or only lost its way is settled by datagram
pings; then the gateways are told.
Source: docs/design/streams.md §6, §7.
"""

from collections.abc import Callable

import structlog
from google.protobuf.message import DecodeError

from tether.errors import Reason, TetherError
from tether.job.state import State
from tether.link import Broke, Entry, Kind, LinkBook, LinkEnd, Outbox
from tether.v1.identity_pb2 import Role
from tether.v1.infer_pb2 import JobState
from tether.v1.link_pb2 import Link
from tether_orchestrator.doubt import Doubt
from tether_orchestrator.ending import End
from tether_orchestrator.engine import Engines
from tether_orchestrator.fleet import FleetView
from tether_orchestrator.settlement import Pended, Settlement
from tether_orchestrator.task import Tasks

_log = structlog.get_logger("tether.orchestrator")
ROLES = (Role.ROLE_WORKER,)
_OWN_DOING = frozenset({"drained", "closed"})  # this orchestrator leaves, the worker does not


class WorkerLinks:
    """Hears of worker links (`LinkEvents`) and takes their entries.

    Args:
        fleet: what reports feed.
        doubt: finds out whether a lost worker is dead.
        tasks: completions that are being written.
        engines: what reports tell of engines.
        broke: hears which worker broke the protocol, and how.
    """

    def __init__(
        self,
        fleet: FleetView,
        doubt: Doubt,
        tasks: Tasks,
        engines: Engines,
        broke: Callable[[str, Broke], None] = lambda _worker, _broke: None,
    ) -> None:
        self._broke = broke
        self._fleet = fleet
        self._engines = engines
        self._doubt = doubt
        self._tasks = tasks
        self._settlement: Settlement | None = None
        self.book = LinkBook()
        self.outbox = Outbox(self.entry)

    def settle_with(self, settlement: Settlement) -> None:
        """Completions go there; settlement in turn tells outcomes here."""
        self._settlement = settlement

    # LinkEvents

    def up(self, link: LinkEnd) -> None:
        """A worker's link stands; TetherError without a report."""
        report = link.peer.report
        if report is None:
            raise TetherError(Reason.LINK_PROTOCOL, "A worker's hello needs its report")
        self._doubt.heard(link.peer.node_id, link.peer.incarnation)
        self._report(link, report.SerializeToString())
        _log.info("worker_linked", worker=link.peer.node_id, incarnation=link.peer.incarnation)

    def down(self, link: LinkEnd, why: str) -> None:
        """A worker's link ended."""
        self.outbox.forget(link)
        worker = link.peer.node_id
        if link.broke is not None:
            self._broke(worker, link.broke)
        newer = self.book.of(worker)
        if newer is not None:
            self._doubt.replaced(worker, link.peer.incarnation, newer.peer.incarnation)
            return
        expected = why in _OWN_DOING or self._fleet.drains(worker)
        (_log.info if expected else _log.warning)("worker_link_ended", worker=worker, why=why)
        self._fleet.suspect(worker)
        self._engines.forget(worker)
        if why not in _OWN_DOING:
            self._doubt.lost(worker, link.peer.incarnation)

    # entries

    def entry(self, link: LinkEnd, entry: Entry) -> None:
        """One entry came in; ValueError or TetherError ends the link."""
        match entry.kind:
            case Kind.BEAT if entry.body:
                self._report(link, entry.body)
            case Kind.BEAT:
                self._fleet.beat(link.peer.node_id)
            case Kind.DRAIN:
                self._fleet.drain(link.peer.node_id)
            case Kind.COMPLETE:
                self._complete(link, entry)
            case _:
                _log.debug("link_entry_ignored", kind=entry.kind)

    def tell(self, worker: str, job: bytes, epoch: int, outcome: State) -> None:
        """Tell a worker the outcome of its attempt, where it has a link."""
        link = self.book.of(worker)
        if link is not None:
            self._outcome(link, job, epoch, outcome, written=True)

    def ask(self, worker: str, job: bytes, epoch: int) -> None:
        """Ask a worker for the end of an attempt whose driver is gone; one that it never heard of it gives up."""
        link = self.book.of(worker)
        if link is not None:
            self._outcome(link, job, epoch, State.RESERVED, written=False)

    def _report(self, link: LinkEnd, raw: bytes) -> None:
        """A report whose life is not the link's own is of no use; ValueError where it is malformed."""
        self._fleet.report(link.peer.node_id, raw)
        self._engines.report(link.peer.node_id, raw)

    def _complete(self, link: LinkEnd, entry: Entry) -> None:
        if self._tasks.full:
            raise TetherError(Reason.OVERLOADED, "Too many completions wait")
        try:
            body = Link.Complete.FromString(entry.body)
            end = _end(link.peer.node_id, entry, body)
        except (DecodeError, ValueError) as error:
            raise TetherError(Reason.LINK_PROTOCOL, "A COMPLETE is malformed") from error
        self._tasks.start(self._settle(link, end))

    async def _settle(self, link: LinkEnd, end: End) -> None:
        if self._settlement is None:
            return
        try:
            settled = await self._settlement.complete(end)
        except TetherError as error:
            _log.warning("completion_refused", job=end.job.hex(), reason=error.reason.name, error=error.message)
            again = error.row.again  # the store may be back later; what is refused stays refused
            self._outcome(link, end.job, end.epoch, State.ABANDONED, written=not again)
            return
        if isinstance(settled, Pended):  # durable here: the worker need not keep it
            self._outcome(link, end.job, end.epoch, end.outcome, written=True)
            return
        row = settled.row
        if row.state is State.RESERVED and row.raced_epoch:  # its driver will say which of the two counts
            self._outcome(link, end.job, end.epoch, State.ABANDONED, written=False)
            return
        stale = row.epoch > end.epoch or row.state is State.RESERVED
        self._outcome(link, end.job, end.epoch, State.ABANDONED if stale else row.state, written=True)

    def _outcome(self, link: LinkEnd, job: bytes, epoch: int, outcome: State, *, written: bool) -> None:
        body = Link.Outcome(outcome=JobState.ValueType(outcome), written=written)
        self.outbox.send(link, Kind.OUTCOME, body.SerializeToString(), job=job, epoch=epoch)


def _end(worker: str, entry: Entry, body: Link.Complete) -> End:
    outcome = State(body.outcome)
    if outcome is State.RESERVED or entry.epoch < 1:
        raise ValueError("no outcome")
    receipt = body.receipt if body.HasField("receipt") else None
    placed_by = body.orchestrator_id
    return End(entry.job, entry.epoch, outcome, receipt, body.answer, body.error, worker=worker, placed_by=placed_by)
