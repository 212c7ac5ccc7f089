"""What follows an attempt that ended: cause, wait, continuity."""

import pytest

from tether.errors import Reason, TetherError
from tether.v1 import placement_pb2 as placement
from tether.v1.infer_pb2 import Infer
from tether.v1.link_pb2 import Link
from tether_gateway.attempt import PLACE_WAIT_MAX_S, Lost, cause_of, continuity, wait_s

A, B = b"a" * 32, b"b" * 32
EXACT, COHERENT, RERUN = Infer.CONTINUITY_EXACT, Infer.CONTINUITY_COHERENT, Infer.CONTINUITY_RERUN


@pytest.mark.parametrize(
    ("failure", "accepted", "cause"),
    [
        (Link.Failure(reason="DRAINING", elsewhere=True, handed_over=True), (5, 9), placement.PLACE_CAUSE_HANDED_OVER),
        (Link.Failure(reason="OVERLOADED", elsewhere=True), (0, 0), placement.PLACE_CAUSE_REFUSED),
        (Link.Failure(reason="ENGINE_FAILED", elsewhere=True), (0, 0), placement.PLACE_CAUSE_FAILED),
        (Link.Failure(reason="ENGINE_FAILED"), (3, 3), placement.PLACE_CAUSE_FAILED),
        (Link.Failure(reason="OVERLOADED", elsewhere=True), (3, 3), placement.PLACE_CAUSE_FAILED),
        (Link.Failure(reason="CONTEXT_EXCEEDED"), (0, 0), None),
        (Link.Failure(reason="of another version"), (0, 0), None),
    ],
)
def test_failed_attempt_has_a_cause_or_ends_its_job(
    failure: Link.Failure, accepted: tuple[int, int], cause: int | None
) -> None:
    assert cause_of(failure, accepted) == cause


def test_place_that_finds_nobody_is_asked_again_with_growing_jitter() -> None:
    error = TetherError(Reason.NO_WORKER, "none")
    waits = [wait_s(error, failures, 0.999, left_s=60.0) for failures in range(10)]
    assert waits == sorted(waits)  # type: ignore[type-var]
    assert waits[0] is not None
    assert waits[0] < 0.05
    assert waits[-1] == pytest.approx(PLACE_WAIT_MAX_S, rel=0.01)
    assert wait_s(error, 9, 0.0, left_s=60.0) == 0.0


def test_place_is_not_asked_again_past_the_deadline_or_for_an_answer() -> None:
    assert wait_s(TetherError(Reason.NO_WORKER, "none"), 9, 0.9, left_s=0.5) is None
    for reason in (Reason.QUOTA_EXCEEDED, Reason.JOB_CONFLICT, Reason.POLICY_FORBIDS, Reason.DEADLINE):
        assert wait_s(TetherError(reason, "no"), 0, 0.0, left_s=60.0) is None


@pytest.mark.parametrize(
    ("accepted", "before", "fingerprint", "promised", "expected"),
    [
        ((0, 0), b"", A, EXACT, Infer.CONTINUITY_UNSPECIFIED),
        ((4, 9), A, A, EXACT, EXACT),
        ((4, 9), A, B, EXACT, COHERENT),
        ((4, 9), b"", b"", EXACT, COHERENT),
        ((4, 9), A, A, COHERENT, COHERENT),
        ((4, 9), A, A, RERUN, RERUN),
        ((0, 9), A, A, EXACT, RERUN),
        ((4, 9), A, b"", Infer.CONTINUITY_UNSPECIFIED, COHERENT),
    ],
)
def test_continuity_is_what_both_engines_can_promise(
    accepted: tuple[int, int], before: bytes, fingerprint: bytes, promised: int, expected: int
) -> None:
    placed = placement.Placed(fingerprint=fingerprint, continuity=Infer.Continuity.ValueType(promised))
    assert continuity(accepted, before, placed) == expected


def test_lost_tells_reason_and_message_within_bounds() -> None:
    lost = Lost(placement.PLACE_CAUSE_FAILED, TetherError(Reason.ENGINE_FAILED, "x" * 5_000))
    assert lost.text.startswith("ENGINE_FAILED: x")
    assert (len(lost.text), lost.label) == (1_024, "failed")
