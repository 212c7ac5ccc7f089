"""Why no worker was found, as an error that says what to do next."""

from collections.abc import Mapping

from tether._native import Census
from tether.errors import Reason, TetherError

_FULL_RETRY_S = 0.25  # a slot frees about this often on a busy worker; a guess, bench/scheduling.py replaces it
_OUT_RETRY_S = 1.0  # a suspect worker is heard again or gone within a second, and a small model is loaded
BREAKER = "breaker"  # metadata: workers are there, and a breaker holds them back
LOADING = "loading"  # metadata: workers on which the model is on its way


def no_candidate(
    model: str, version: str, census: Census, breakers: Mapping[str, float], loading: int = 0, *, full: bool = False
) -> TetherError:
    """The error for a request that no worker can take now.

    Args:
        model: name of the model.
        version: its version.
        census: workers that serve it.
        breakers: health of regions whose breaker is not closed.
        loading: workers that fetch or load it.
        full: whether a worker that is fit for the request is only full.

    Returns:
        OVERLOADED where all that serve it are full, else NO_WORKER with the reason.
    """
    name = f"{model}:{version}"
    if census.full and not census.ready:
        return TetherError(
            Reason.OVERLOADED, f"All {census.full} workers of {name} are full", retry_after_s=_FULL_RETRY_S
        )
    if full:
        words = f"All workers of {name} that may run this request are full"
        return TetherError(Reason.OVERLOADED, words, retry_after_s=_FULL_RETRY_S)
    if census.ready and 0.0 in breakers.values():
        words = f"Too much of {name} failed lately"
        return TetherError(Reason.NO_WORKER, words, retry_after_s=_OUT_RETRY_S, metadata={BREAKER: "open"})
    if census.ready:
        return TetherError(Reason.NO_WORKER, f"No worker of {name} is allowed and fit for this request")
    on_its_way = {LOADING: str(loading)} if loading else None
    return TetherError(Reason.NO_WORKER, _none(name, census, loading), retry_after_s=_OUT_RETRY_S, metadata=on_its_way)


def may_wait(refusal: TetherError) -> bool:
    """Whether a refusal may be over by itself soon: workers are full, or the model is on its way to one."""
    return refusal.reason is Reason.OVERLOADED or LOADING in refusal.metadata


def _none(name: str, census: Census, loading: int) -> str:
    """Why nobody serves it now, in words."""
    if loading:
        return f"{loading} {'worker is' if loading == 1 else 'workers are'} loading {name}; none has it ready"
    if census.out:
        return f"The workers of {name} are silent or draining"
    return f"No worker serves {name}"
