"""Refusals say what is wrong with the fleet."""

from types import SimpleNamespace

import pytest

from tether.errors import Reason
from tether.placement.refusal import no_candidate


@pytest.mark.parametrize(
    ("ready", "full", "out", "loading", "breakers", "reason", "words"),
    [
        (0, 3, 1, 0, {}, Reason.OVERLOADED, "All 3 workers"),
        (0, 3, 1, 2, {}, Reason.OVERLOADED, "All 3 workers"),
        (2, 0, 0, 1, {"local": 0.0}, Reason.NO_WORKER, "failed lately"),
        (2, 0, 0, 1, {}, Reason.NO_WORKER, "allowed and fit"),
        (0, 0, 2, 0, {}, Reason.NO_WORKER, "silent or draining"),
        (0, 0, 2, 1, {}, Reason.NO_WORKER, "1 worker is loading demo:1.0"),
        (0, 0, 0, 2, {}, Reason.NO_WORKER, "2 workers are loading demo:1.0"),
        (0, 0, 0, 0, {}, Reason.NO_WORKER, "No worker serves demo:1.0"),
    ],
)
def test_refusal_names_the_cause(
    ready: int, full: int, out: int, loading: int, breakers: dict[str, float], reason: Reason, words: str
) -> None:
    error = no_candidate("demo", "1.0", SimpleNamespace(ready=ready, full=full, out=out), breakers, loading)
    assert error.reason is reason
    assert words in error.message
    assert error.row.again
