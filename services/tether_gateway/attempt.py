"""What follows an attempt that ended without an answer: which cause is told, when to ask again, how the next goes on.

Pure rules. Continuations draw on no retry budget: they are work that was admitted already, bounded by the deadline and
by the attempts of a job. An attempt after an engine failed with nothing made is a retry like a client's own.
Source: docs/design/streams.md §4, §7; docs/design/seams.md ("Attempts").
"""

from dataclasses import dataclass

from tether.errors import Reason, TetherError
from tether.placement.budget import backoff_s
from tether.v1 import infer_pb2, link_pb2, placement_pb2

ATTEMPTS_MAX = 16  # of one job, as streams.md says
REFUSALS_WAIT_S = 0.05  # span before a full worker is followed by the next; doubles
PLACE_WAIT_S = 0.025  # span before the first repeat of a Place that found no worker; doubles
PLACE_WAIT_MAX_S = 1.0
POSITION_NONE = (0, 0)

# Nobody could place the job now; somebody may, later. All else is an answer.
AGAIN = frozenset(
    {
        Reason.NO_WORKER,
        Reason.OVERLOADED,
        Reason.UNREACHABLE,
        Reason.STORE_UNAVAILABLE,
        Reason.NO_ORCHESTRATOR,
        Reason.DRAINING,
    }
)
# The worker, not the request, is at fault.
MOVES = frozenset({Reason.ENGINE_FAILED, Reason.WORKER_LOST, Reason.DRAINING, Reason.ARTIFACT_CORRUPT})

Cause = placement_pb2.PlaceCause
Continuity = infer_pb2.Infer.Continuity


@dataclass(frozen=True, slots=True)
class Lost:
    """An attempt that is over without an answer.

    Attributes:
        cause: told to the orchestrator.
        error: how it ended.
        reattach: whether only its link is known to have broken, so that its worker is worth another dial.
        reached: whether its worker heard of it; one that could not be dialled refused nothing, and killed nobody.
    """

    cause: Cause.ValueType
    error: TetherError
    reattach: bool = False
    reached: bool = True

    @property
    def label(self) -> str:
        """Cause, for the metrics."""
        return placement_pb2.PlaceCause.Name(self.cause).removeprefix("PLACE_CAUSE_").lower()

    @property
    def text(self) -> str:
        """Reason and message, for the dead letters."""
        return f"{self.error.reason.name}: {self.error.message}"[:1_024]


def cause_of(failure: link_pb2.Link.Failure, accepted: tuple[int, int]) -> Cause.ValueType | None:
    """Why a failed attempt is followed by another; None where it is not.

    Args:
        failure: what the worker said.
        accepted: tokens and bytes accepted of the job.
    """
    if failure.handed_over:
        return placement_pb2.PLACE_CAUSE_HANDED_OVER
    reason = Reason.__members__.get(failure.reason, Reason.INTERNAL)
    if not failure.elsewhere and reason not in MOVES:
        return None
    refused = accepted == POSITION_NONE and reason is not Reason.ENGINE_FAILED
    return placement_pb2.PLACE_CAUSE_REFUSED if refused else placement_pb2.PLACE_CAUSE_FAILED


def is_retry(lost: Lost, accepted: tuple[int, int]) -> bool:
    """Whether an attempt after this one does all of its work again, after a failure of its engine."""
    return lost.cause == placement_pb2.PLACE_CAUSE_FAILED and accepted == POSITION_NONE


def unretried(lost: Lost, retry_after_s: float) -> TetherError:
    """How a job ends whose tenant has no retry left: as its attempt did, with a time to come back after."""
    error = lost.error
    return TetherError(error.reason, error.message, retry_after_s=error.retry_after_s or retry_after_s)


def wait_s(error: TetherError, failures: int, chance: float, left_s: float) -> float | None:
    """How long to wait before a Place is asked for again, or None where its error is the job's.

    Args:
        error: what the last one came to.
        failures: those before it, from 0.
        chance: uniform in [0, 1).
        left_s: until the deadline.
    """
    if error.reason not in AGAIN:
        return None
    wait = backoff_s(failures, chance, base_s=PLACE_WAIT_S, cap_s=PLACE_WAIT_MAX_S)
    return wait if wait < left_s else None


def continuity(accepted: tuple[int, int], before: bytes, placed: placement_pb2.Placed) -> Continuity.ValueType:
    """How the next attempt goes on from what was accepted.

    Args:
        accepted: tokens and bytes accepted of the job.
        before: fingerprint of the engine that made them; empty where it is not known, or where engines differ.
        placed: the next attempt.

    Returns:
        UNSPECIFIED where it begins from nothing; EXACT between equal fingerprints whose engine promises it; RERUN where
        the answer has no tokens, or the engine takes none over; else COHERENT.
    """
    if accepted == POSITION_NONE:
        return infer_pb2.Infer.CONTINUITY_UNSPECIFIED
    if accepted[0] == 0 or placed.continuity == infer_pb2.Infer.CONTINUITY_RERUN:
        return infer_pb2.Infer.CONTINUITY_RERUN
    promised = placed.continuity == infer_pb2.Infer.CONTINUITY_EXACT
    if promised and before and before == placed.fingerprint:
        return infer_pb2.Infer.CONTINUITY_EXACT
    return infer_pb2.Infer.CONTINUITY_COHERENT
