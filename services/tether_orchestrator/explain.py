"""Explains a placement: every candidate with its terms, every rule that had a say, and what would run otherwise."""

from collections.abc import Callable, Iterable

from tether._native import Candidate as NativeCandidate
from tether._native import Removed as NativeRemoved
from tether.errors import TetherError
from tether.placement.resolve import Resolved
from tether.policy import enforce
from tether.v1.infer_pb2 import Infer
from tether.v1.placement_pb2 import Candidate, ExplainResponse, Removed, Term

_UNSERVED = frozenset({"model", "version"})  # rules that a worker misses whose model is on its way
_FORBIDDEN = "policy"  # the rule that a refusal by policy counts as


def forbidden(request: Resolved) -> str:
    """Why policy does not let a request run; empty where it does."""
    try:
        enforce(request.decision, sealed=request.header.sealed)
    except TetherError as error:
        return error.message
    return ""


def response(
    request: Resolved,
    found: Iterable[NativeCandidate],
    removed: Iterable[NativeRemoved],
    degraded: Iterable[Infer.Degraded],
    queued: int,
    loads: Callable[[str], bool] = lambda _: False,
) -> ExplainResponse:
    """What is told of a request.

    Args:
        request: as it would run.
        found: workers that could take it, best first.
        removed: workers that a rule removed.
        degraded: what would run in place of it, if nothing had room.
        queued: requests that wait for its model.
        loads: whether its model is on its way to a worker.

    Returns:
        The response; a request that policy forbids has no candidates.
    """
    why = forbidden(request)
    told = ExplainResponse(
        model_id=request.model.model_id,
        version=request.model.version,
        policy=request.decision.why,
        degraded=degraded,
        path=request.header.path,
        queued=queued,
    )
    if why:
        told.removed.extend(Removed(worker_id=one.worker_id, rule=_FORBIDDEN, detail=why) for one in found)
    else:
        told.candidates.extend(map(_candidate, found))
    told.removed.extend(_removed(one, request, loads) for one in removed)
    return told


def _removed(one: NativeRemoved, request: Resolved, loads: Callable[[str], bool]) -> Removed:
    loading = one.rule in _UNSERVED and loads(one.worker_id)
    name = f"{request.model.model_id}:{request.model.version}"
    return Removed(worker_id=one.worker_id, rule=one.rule, detail=f"is loading {name}" if loading else one.detail)


def _candidate(one: NativeCandidate) -> Candidate:
    return Candidate(
        worker_id=one.worker_id,
        region=one.region,
        score=one.score,
        terms=[Term(name=name, value=value) for name, value in one.terms],
        in_flight=one.in_flight,
        address=one.address,
    )
