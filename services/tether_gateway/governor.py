"""The governor: all policy of the edge, once or twice per request and never per token.

It admits, places, commits, abandons, cancels; the splice moves bytes and asks it. A native front door will ask the same
questions. Source: docs/design/design.md §2, docs/design/streams.md §§1, 3, 5.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import structlog

from tether.errors import Reason, TetherError
from tether.identity import Trust
from tether.v1 import control_pb2, infer_pb2, placement_pb2
from tether_gateway import metrics
from tether_gateway.admission import Admission, Admitted, Asked
from tether_gateway.config import Config
from tether_gateway.orchestrators import Orchestrators
from tether_gateway.receipts import Expected, check_receipt

PLACE_SLACK_S = 1.0  # a reservation that is being written at the deadline is heard of, so that it can be given up
_log = structlog.get_logger("tether.gateway")

PlaceCause = placement_pb2.PlaceCause
JobState = infer_pb2.JobState
Name = infer_pb2.GetJobRequest | infer_pb2.CancelRequest | infer_pb2.ResumeRequest


@dataclass(frozen=True, slots=True)
class Again:
    """Why and from where a job is placed another time.

    Attributes:
        after_epoch: attempt that the caller knows of; 0 for a new job.
        cause: why.
        tokens: accepted position.
        text_bytes: accepted position.
        fingerprint: of the engine that made the end of what was accepted, or empty.
        error: how the attempt before ended, or empty.
        race: whether the attempt before goes on beside the new one.
        placed_by: node id of the orchestrator that alone knows the job, where it runs without the store; else empty.
    """

    after_epoch: int = 0
    cause: PlaceCause.ValueType = placement_pb2.PLACE_CAUSE_NEW
    tokens: int = 0
    text_bytes: int = 0
    fingerprint: bytes = b""
    error: str = ""
    race: bool = False
    placed_by: str = ""


NEW = Again()
RESUMED = Again(cause=placement_pb2.PLACE_CAUSE_RESUME)


class Governor:
    """Policy of one gateway.

    Args:
        admission: decides who may ask for what.
        orchestrators: place and settle.
        trust: checks receipts.
        config: waits.
        session_id: 16 bytes, drawn at the gateway's start.
        clock_s: monotonic seconds.
        wall_s: seconds since the Unix epoch.
    """

    def __init__(  # noqa: PLR0913 - two clocks beside the parts
        self,
        admission: Admission,
        orchestrators: Orchestrators,
        trust: Trust,
        config: Config,
        session_id: bytes,
        *,
        clock_s: Callable[[], float] = time.monotonic,
        wall_s: Callable[[], float] = time.time,
    ) -> None:
        self._admission = admission
        self._orchestrators = orchestrators
        self._trust = trust
        self._config = config
        self._session_id = session_id
        self._clock_s = clock_s
        self._wall_s = wall_s
        self.draining = False

    def admit(self, raw: bytes, asked: Asked, known: Callable[[Admitted], bool] | None = None) -> Admitted:
        """Admit a request; TetherError where a rule is broken.

        Args:
            raw: serialized `Infer.Request`.
            asked: what came with the call.
            known: whether it only reads what is there, which is not charged.
        """
        self.refuse_while_draining()
        return self._admission.admit(raw, asked, self._clock_s(), self._wall_s(), known)

    def retry(self, admitted: Admitted) -> float | None:
        """Spend a retry of the tenant; None where it may go out, else seconds until one is earned."""
        return self._admission.retry(admitted.tenant, self._clock_s())

    def refuse_while_draining(self) -> None:
        """Raise DRAINING once the gateway is on its way out."""
        if self.draining:
            raise TetherError(Reason.DRAINING, "The gateway takes no more requests.", retry_after_s=0.0)

    def tenant(self, asked: Asked) -> str:
        """The tenant that calls; TetherError where the key does not hold."""
        return self._admission.authenticate(asked, self._clock_s(), self._wall_s()).name

    def resume(self, tenant: str) -> None:
        """Count a reader that comes back to a job that is not here; TetherError RATE_LIMITED for too many."""
        self._admission.resume(tenant, self._clock_s())

    async def place(
        self, admitted: Admitted, again: Again = NEW, trace: Mapping[str, str] | None = None
    ) -> placement_pb2.PlaceResponse:
        """Place a job, or join or find it; TetherError where no worker can be had in time."""
        left_s = admitted.deadline_s - self._clock_s()
        if left_s <= 0:
            raise TetherError(Reason.DEADLINE, "The deadline passed before the job was placed.")
        request = placement_pb2.PlaceRequest(
            header=admitted.header,
            session_id=self._session_id,
            after_epoch=again.after_epoch,
            cause=again.cause,
            position=infer_pb2.Infer.Position(tokens=again.tokens, bytes=again.text_bytes),
            race=again.race,
            fingerprint=again.fingerprint,
            error=again.error,
        )
        request.header.timeout.FromMilliseconds(max(1, int(left_s * 1_000)))
        key = f"{admitted.tenant}/{admitted.header.model_id}"
        timeout_s = min(left_s, self._config.place_timeout_s) + PLACE_SLACK_S
        with metrics.PLACE_SECONDS.time():
            metadata = tuple((trace or {}).items())
            return await self._orchestrators.place(key, request, timeout_s, metadata, again.placed_by)

    def commit_of(
        self, expected: Expected, last: infer_pb2.Infer.Chunk, answer: bytes | None
    ) -> placement_pb2.CompleteRequest:
        """The commit of an answer by its receipt.

        Args:
            expected: what the receipt must say.
            last: the worker's last chunk.
            answer: serialized `Infer.Payload` of a keyed job, or None where it is not kept.

        Raises:
            TetherError: SETTLEMENT_FAILED where the receipt does not hold.
        """
        body = check_receipt(last.receipt, expected, self._trust, self._wall_s())
        outcome = infer_pb2.JOB_STATE_DONE if body.complete else infer_pb2.JOB_STATE_ABANDONED
        return placement_pb2.CompleteRequest(
            job_id=expected.job,
            epoch=expected.epoch,
            outcome=outcome,
            receipt=last.receipt,
            answer=answer or b"",
            orchestrator_id=expected.placed_by,
        )

    async def complete(self, request: placement_pb2.CompleteRequest) -> placement_pb2.CompleteResponse:
        """Write an outcome; TetherError where nobody acknowledges it in time."""
        with metrics.COMMIT_SECONDS.time():
            return await self._orchestrators.complete(request.job_id.hex(), request, self._config.commit_timeout_s)

    async def deposit(self, request: placement_pb2.DepositRequest) -> None:
        """Hand over what a dead letter keeps; TetherError where nobody takes it."""
        key = request.job_id.hex() or request.peer_id
        response = await self._orchestrators.deposit(key, request, self._config.commit_timeout_s)
        metrics.DEPOSITED.labels("request" if request.request else "frame").inc()
        _log.info("deposited", job=request.job_id.hex(), peer=request.peer_id, kept=response.kept)

    async def find(self, tenant: str, name: Name) -> control_pb2.LookupJobResponse:
        """A job of a tenant, and where it runs; JOB_UNKNOWN for one that is not there or another's."""
        request = control_pb2.LookupJobRequest(
            job_id=name.job_id,
            tenant_id=tenant,
            correlation_id=name.correlation_id,
            retry_token=name.retry_token,
        )
        found = await self._orchestrators.lookup(tenant, request, self._config.commit_timeout_s)
        if found.job.tenant_id != tenant:
            raise TetherError(Reason.JOB_UNKNOWN, "There is no such job.")
        return found

    async def lookup(self, tenant: str, name: Name) -> infer_pb2.Job:
        """A job of a tenant; errors as `find`."""
        return (await self.find(tenant, name)).job

    async def cancel(
        self, tenant: str, found: infer_pb2.Job, at: tuple[int, int], input_tokens: int = 0
    ) -> infer_pb2.Job:
        """Cancel a job for good; returns it as it stands, with the outcome that holds.

        Args:
            tenant: who cancels.
            found: the job.
            at: delivered position, tokens and bytes.
            input_tokens: of its prompt; 0 where that is not known.
        """
        request = placement_pb2.CompleteRequest(
            job_id=bytes.fromhex(found.name),
            outcome=infer_pb2.JOB_STATE_CANCELLED,
            delivered=infer_pb2.Infer.Position(tokens=at[0], bytes=at[1]),
            input_tokens=input_tokens,
        )
        done = await self.complete(request)
        metrics.SETTLED.labels(_state(done.outcome)).inc()
        return done.job


def _state(outcome: JobState.ValueType) -> str:
    return infer_pb2.JobState.Name(outcome).removeprefix("JOB_STATE_").lower()
