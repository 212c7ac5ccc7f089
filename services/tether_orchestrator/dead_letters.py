"""Dead letters: what drivers hand over, what operators take back, and where it is told of elsewhere.

A dead job keeps its identity: taken back it runs as its next attempt, with its id and its seed, driven by a gateway
without a client and fetched with Resume or GetJob. Requests stay opaque: of a sealed one the ciphertext is kept.
Source: docs/design/streams.md §2, §7; docs/design/seams.md ("Requeue").
"""

import time
from dataclasses import dataclass

import structlog

from tether import _native
from tether.errors import Reason, TetherError
from tether.job.state import State
from tether.placement.ticket import header_of
from tether.store.jobs import (
    DeadLetter,
    Deposit,
    Driver,
    Existing,
    JobRow,
    JobStore,
    LetterGroup,
    LetterQuery,
    Refused,
    Requeue,
)
from tether.v1.placement_pb2 import Drive, Header
from tether.v1.policy_pb2 import Retain
from tether_orchestrator.choice import Choice, Chooser, Want
from tether_orchestrator.dead_letter_sink import Forwarder
from tether_orchestrator.engine import Engines
from tether_orchestrator.metrics import DEPOSITS
from tether_orchestrator.quota import Quotas
from tether_orchestrator.session import Sessions

FRAME_BYTES_MAX = 4_096  # as placement.proto says
_MESSAGE_BYTES_MAX = 1_024  # the same
_TIMEOUT_MS = 600_000  # of a requeued job that had no timeout of its own
_log = structlog.get_logger("tether.orchestrator")


@dataclass(frozen=True, slots=True)
class Handed:
    """What a gateway hands over.

    Attributes:
        gateway: node id of the caller.
        job: id, 16 bytes, or empty.
        request: serialized Infer.Request, or empty.
        frame: first bytes of a frame, or empty.
        error: reason, a colon and a message.
        peer: node id of whoever sent the frame.
    """

    gateway: str
    job: bytes = b""
    request: bytes = b""
    frame: bytes = b""
    error: str = ""
    peer: str = ""


class DeadLetters:
    """Keeps, shows, takes back and forgets dead letters.

    Args:
        store: the job store.
        chooser: says what policy keeps, and finds workers for those taken back.
        sessions: gateways that can drive them.
        engines: what workers run.
        quotas: what tenants may spend.
        forwarder: tells elsewhere.
    """

    def __init__(
        self,
        store: JobStore,
        chooser: Chooser,
        sessions: Sessions,
        engines: Engines,
        quotas: Quotas,
        forwarder: Forwarder,
    ) -> None:
        self._store = store
        self._chooser = chooser
        self._sessions = sessions
        self._engines = engines
        self._quotas = quotas
        self._forwarder = forwarder

    async def deposit(self, handed: Handed) -> bool:
        """Keep what is handed over.

        Returns:
            Whether it is kept: not where policy or limits say otherwise.

        Raises:
            TetherError: INVALID_FIELD, JOB_UNKNOWN, or ROLE_FORBIDDEN for anyone but the job's driver.
        """
        kept = await (self._request(handed) if handed.request else self._frame(handed))
        DEPOSITS.labels("kept" if kept else "left").inc()
        return kept

    async def _request(self, handed: Handed) -> bool:
        row = await self._store.get(handed.job)
        if row is None:
            raise TetherError(Reason.JOB_UNKNOWN, "There is no such job")
        if row.driver.node != handed.gateway:
            raise TetherError(Reason.ROLE_FORBIDDEN, "Only its driver deposits the request of a job")
        check_hash(handed.request, row)
        header = self._chooser.resolve(header_of(row), again=True)
        if row.state is not State.DEAD or header.decision.retain != Retain.RETAIN_REQUEST:
            return False
        kept = await self._store.deposit(Deposit(job=handed.job, request=handed.request))
        if kept:
            await self.forward(handed.job.hex())
        return kept

    async def _frame(self, handed: Handed) -> bool:
        if not handed.frame:
            raise TetherError(Reason.INVALID_FIELD, "A deposit has a request or a frame", field="frame")
        return await self.frame(handed.frame, handed.error, handed.peer)

    async def frame(self, frame: bytes, error: str, peer: str) -> bool:
        """Keep a frame that broke the protocol.

        Args:
            frame: its first bytes.
            error: reason, a colon and a message.
            peer: node id of whoever sent it.
        """
        named, _, words = error.partition(":")
        reason = named if named in Reason.__members__ else Reason.LINK_PROTOCOL.name
        message = (words if reason == named else error).strip().encode()[:_MESSAGE_BYTES_MAX].decode(errors="ignore")
        deposit = Deposit(frame=frame[:FRAME_BYTES_MAX], reason=reason, message=message, peer=peer)
        return await self._store.deposit(deposit)

    async def forward(self, name: str) -> None:
        """Tell of a dead letter elsewhere, where that is wanted."""
        if not self._forwarder.on:
            return
        letter = await self._store.dead_letter(name)
        if letter is not None:
            self._forwarder.put(letter)

    async def page(self, query: LetterQuery) -> list[DeadLetter]:
        """Dead letters without request, frame and attempts, newest first."""
        return list(await self._store.dead_letters(query))

    async def get(self, name: str) -> DeadLetter:
        """One with all that is kept; TetherError JOB_UNKNOWN."""
        letter = await self._store.dead_letter(name)
        if letter is None:
            raise _no_letter(name)
        return letter

    async def analyze(self, by: str, within_s: float | None) -> list[LetterGroup]:
        """Groups of dead letters, largest first within each kind."""
        since_ms = 0 if within_s is None else _wall_ms() - int(within_s * 1_000)
        return list(await self._store.analyze(by, max(0, since_ms)))

    async def drop(self, name: str) -> None:
        """Forget one; TetherError JOB_UNKNOWN."""
        if not await self._store.drop(name):
            raise _no_letter(name)

    async def requeue(self, name: str, given: bytes) -> JobRow:
        """Run a dead job again under its own identity.

        Args:
            name: of its dead letter.
            given: the request as it was first sent, where the dead letter does not keep it; or empty.

        Returns:
            The job as it runs.

        Raises:
            TetherError: JOB_UNKNOWN, UNSUPPORTED for a frame, JOB_CONFLICT where it runs again already, INVALID_FIELD
                without a request of its hash, UNREACHABLE without a gateway, or what choosing a worker raises.
        """
        letter = await self.get(name)
        row, request = requeueable(letter, given)
        driver = self._sessions.anyone(row.subject.job)
        if driver is None:
            raise TetherError(Reason.UNREACHABLE, "No gateway stands here that could drive it", retry_after_s=1.0)
        header = header_of(row)
        choice = await self._chooser.choose(self._chooser.resolve(header, again=True), Want(again=True))
        taken = await self._take_back(row, driver, choice)
        header.timeout.FromMilliseconds(_timeout_ms(header))
        drive = Drive(job_id=row.subject.job, header=header, request=request, after_epoch=taken.after_epoch)
        self._sessions.drive(driver.session, drive)
        _log.info("dead_letter_requeued", job=name, epoch=taken.epoch, requeues=taken.requeues)
        return taken

    async def _take_back(self, row: JobRow, driver: Driver, choice: Choice) -> JobRow:
        asked = Requeue(
            job=row.subject.job,
            driver=driver,
            worker=choice.worker,
            deadline_ms=_wall_ms() + _timeout_ms(header_of(row)),
            limits=self._quotas.limits(row.subject.tenant),
            fingerprint=self._engines.of(choice.worker.node, row.subject.digest).fingerprint,
        )
        try:
            [result] = await self._store.requeue([asked])
        except BaseException:
            self._chooser.give_back(choice.worker)
            raise
        if isinstance(result, Refused | Existing):
            self._chooser.give_back(choice.worker)
            raise result.error if isinstance(result, Refused) else _runs_again()
        taken = await self._store.get(row.subject.job)
        if taken is None:
            raise _no_letter(row.subject.job.hex())
        return taken


def requeueable(letter: DeadLetter, given: bytes) -> tuple[JobRow, bytes]:
    """The job and request of a dead letter that can run again.

    Raises:
        TetherError: UNSUPPORTED, JOB_CONFLICT or INVALID_FIELD.
    """
    row, request = letter.row, letter.request or given
    if row is None:
        raise TetherError(Reason.UNSUPPORTED, "A frame cannot be requeued, or its job is forgotten")
    if row.state is not State.DEAD:
        raise _runs_again()
    if not request:
        words = "The dead letter keeps no request: give it as it was first sent"
        raise TetherError(Reason.INVALID_FIELD, words, field="request")
    check_hash(request, row)
    return row, request


def check_hash(request: bytes, row: JobRow) -> None:
    """Refuse another request than the job's; TetherError INVALID_FIELD."""
    try:
        found = _native.request_hash(request, row.subject.tenant)
    except ValueError as error:
        raise TetherError(Reason.INVALID_FIELD, "The request is malformed", field="request") from error
    if found != row.subject.request_hash:
        raise TetherError(Reason.INVALID_FIELD, "The request is not the one of this job", field="request")


def _timeout_ms(header: Header) -> int:
    return header.timeout.ToMilliseconds() if header.HasField("timeout") else _TIMEOUT_MS


def _runs_again() -> TetherError:
    return TetherError(Reason.JOB_CONFLICT, "The job is not dead any more")


def _no_letter(name: str) -> TetherError:
    return TetherError(Reason.JOB_UNKNOWN, f"There is no dead letter {name[:64]}")


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000
