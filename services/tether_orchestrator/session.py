"""Sessions: the standing of gateways, and what this orchestrator tells them.

A beat is answered at once and written once a second for all sessions together; what is lost or ended is pushed down. A
gateway that does not read is closed: it will open another session stream and look for itself.
Source: docs/design/streams.md §3.
"""

import asyncio
import hashlib
from collections.abc import Callable

import structlog

from tether.errors import Reason, TetherError
from tether.job.lease import Leases
from tether.store.jobs import Driver, JobStore
from tether.store.jobs import Session as SessionRow
from tether.v1.placement_pb2 import (
    BreakerHint,
    Drive,
    JobOutcome,
    NewEpoch,
    OrchestratorDrain,
    SessionBeat,
    SessionRequest,
    SessionResponse,
    WorkerLost,
)
from tether_orchestrator.demand import Demands
from tether_orchestrator.metrics import SESSIONS

_log = structlog.get_logger("tether.orchestrator")
_WAITING_MAX = 4_096  # pushes that a gateway may lag behind: seconds of outcomes at a thousand a second
_SESSIONS_MAX = 4_096  # gateways of a region, many times over
SESSION_BYTES = 16


class SessionEnd:
    """One open session stream: what waits to be sent down.

    Args:
        row: the session as it stands.
    """

    def __init__(self, row: SessionRow) -> None:
        self.row = row
        self._waiting: asyncio.Queue[SessionResponse | None] = asyncio.Queue()
        self._over = False

    def push(self, response: SessionResponse) -> None:
        """Send down; one that lags too far behind is ended."""
        if self._over:
            return
        if self._waiting.qsize() >= _WAITING_MAX:
            _log.warning("session_stalled", node=self.row.node)
            self.end()
            return
        self._waiting.put_nowait(response)

    def end(self) -> None:
        """End the stream after what waits."""
        self._over = True
        self._waiting.put_nowait(None)

    async def next(self) -> SessionResponse | None:
        """The next response, or None at the end."""
        return await self._waiting.get()


class Sessions:
    """All session streams of this orchestrator.

    Args:
        store: keeps the beats; tried whatever is known of it.
        leases: judges them.
        lease_s: told to gateways.
        now_s: monotonic clock.
        demands: splits tenants' limits.
        store_ok: says whether the store can be written.
    """

    def __init__(
        self,
        store: JobStore,
        leases: Leases,
        lease_s: float,
        now_s: Callable[[], float],
        demands: Demands,
        store_ok: Callable[[], bool],
    ) -> None:
        self._store = store
        self._demands = demands
        self._store_ok = store_ok
        self._down = self._renewing = False
        self._leases = leases
        self._lease_s = lease_s
        self._now_s = now_s
        self._ends: dict[bytes, SessionEnd] = {}
        self._dirty: dict[bytes, SessionRow] = {}

    def __len__(self) -> int:
        return len(self._ends)

    def open(self, first: SessionRequest, node: str) -> SessionEnd:
        """A gateway opened its session stream.

        Args:
            first: its first beat.
            node: who it proved to be.

        Raises:
            TetherError: INVALID_FIELD, ROLE_FORBIDDEN or OVERLOADED.
        """
        _check(first, node)
        old = self._ends.get(first.session_id)
        if old is not None and old.row.node != node:
            raise TetherError(Reason.ROLE_FORBIDDEN, "The session belongs to another gateway")
        if old is None and len(self._ends) >= _SESSIONS_MAX:
            raise TetherError(Reason.OVERLOADED, "Too many sessions are open", retry_after_s=1.0)
        if old is not None:
            old.end()
        end = SessionEnd(_row(first))
        self._ends[first.session_id] = end
        SESSIONS.set(len(self._ends))
        return end

    def lapsed(self, session: bytes) -> bool:
        """Whether nobody answers for a session."""
        return self._leases.lapsed(session, self._now_s())

    def close(self, end: SessionEnd) -> None:
        """A session stream ended; the session itself stands until its lease is over."""
        if self._ends.get(end.row.session) is end:
            del self._ends[end.row.session]
            self._demands.gone(end.row.session)
        SESSIONS.set(len(self._ends))

    async def beat(self, end: SessionEnd, request: SessionRequest) -> None:
        """A beat came in."""
        if request.session_id != end.row.session:
            raise TetherError(Reason.INVALID_FIELD, "A stream has one session", field="session_id")
        end.row = _row(request)
        if request.leaving:
            await self.leave(end.row.session)
            return
        self._dirty[end.row.session] = end.row
        self._leases.heard(end.row.session, self._now_s())
        shares = self._demands.heard(end.row.session, request.demands)
        response = SessionResponse(beat=SessionBeat(beat=request.beat, shares=shares, store_ok=self._store_ok()))
        response.beat.lease.FromMilliseconds(int(self._lease_s * 1_000))
        end.push(response)

    async def leave(self, session: bytes) -> None:
        """A gateway leaves: its jobs may be taken over at once."""
        self._dirty.pop(session, None)
        self._leases.left(session)
        await self._store.leave(session)

    async def renew(self) -> None:
        """Write the beats of the last second, and learn those of other orchestrators; one round at a time."""
        if self._renewing:
            return
        self._renewing = True
        try:
            await self._renew()
        finally:
            self._renewing = False

    async def probe(self) -> None:
        """Try the store while it is gone: the first beats that are written show that it is back."""
        if self._down or not self._store_ok():
            await self.renew()

    async def _renew(self) -> None:
        dirty, self._dirty = self._dirty, {}
        try:
            await self._store.renew(list(dirty.values()))  # an empty one too: it shows whether the store is there
            rows = await self._store.sessions()
        except TetherError:
            self._dirty = dirty | self._dirty
            self._down = True
            self._leases.outage(self._now_s())
            raise
        if self._down:  # nobody could beat before this write: every lease begins with it
            self._leases.outage(self._now_s())
        self._down = False
        for row in rows:
            self._leases.seen(row.session, row.beat, self._now_s())
        for session in self._leases.forget(self._now_s()):
            await self._store.leave(session)

    # what gateways are told

    def worker_lost(self, worker: str, incarnation: int) -> None:
        """Tell all that a worker is gone."""
        self._tell_all(SessionResponse(worker_lost=WorkerLost(worker_id=worker, incarnation=incarnation)))

    def outcome(self, session: bytes, outcome: JobOutcome) -> None:
        """Tell a job's driver its outcome."""
        end = self._ends.get(session)
        if end is not None:
            end.push(SessionResponse(outcome=outcome))

    def new_epoch(self, told: NewEpoch, but: bytes) -> None:
        """Tell all but one session of a job's newest attempt: its readers may be at any gateway."""
        response = SessionResponse(new_epoch=told)
        for session, end in list(self._ends.items()):
            if session != but:
                end.push(response)

    def anyone(self, job: bytes) -> Driver | None:
        """A gateway that can drive a job without a client: the same one for the same job; None where none stands."""
        ends = list(self._ends.values())
        if not ends:
            return None
        row = max(ends, key=lambda end: hashlib.blake2b(job + end.row.session, digest_size=8).digest()).row
        return Driver(row.session, row.node)

    def drive(self, session: bytes, drive: Drive) -> None:
        """Ask a gateway to drive a job; one that has just gone leaves it to be abandoned, as any dead driver does."""
        end = self._ends.get(session)
        if end is not None:
            end.push(SessionResponse(drive=drive))

    def breaker(self, hint: BreakerHint) -> None:
        """Tell all that a breaker changed."""
        self._tell_all(SessionResponse(breaker=hint))

    def drain(self, grace_s: float) -> None:
        """Ask all to place elsewhere."""
        response = SessionResponse(drain=OrchestratorDrain())
        response.drain.grace.FromMilliseconds(int(grace_s * 1_000))
        self._tell_all(response)

    def end_all(self) -> None:
        """End all streams."""
        for end in list(self._ends.values()):
            end.end()

    def _tell_all(self, response: SessionResponse) -> None:
        for end in list(self._ends.values()):
            end.push(response)


def _check(first: SessionRequest, node: str) -> None:
    if len(first.session_id) != SESSION_BYTES:
        raise TetherError(Reason.INVALID_FIELD, "session_id must be 16 bytes", field="session_id")
    if first.node_id != node:
        raise TetherError(Reason.ROLE_FORBIDDEN, "The session names another node than its caller")


def _row(request: SessionRequest) -> SessionRow:
    return SessionRow(request.session_id, request.node_id, request.incarnation, request.beat)
