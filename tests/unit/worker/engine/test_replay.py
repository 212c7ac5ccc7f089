"""A handed prefix has the text, the places and the end that it had when it was made."""

import pytest

from tether.errors import Reason, TetherError
from tether_worker.engine.replay import replay
from tether_worker.engine.runtime import Finish, GenerationJob, Sampling, TokenPrompt

TABLE = (b"ab", b"\xc3", b"\xa4", b"sto", b"p!", b"")
END = 5


def job(*prefix: int, **sampling: object) -> GenerationJob:
    return GenerationJob(
        key="k", prompt=TokenPrompt((0,)), prefix=prefix, sampling=Sampling(**{"max_tokens": 10, **sampling})
    )


def lengths(*prefix: int, **sampling: object) -> tuple[tuple[int, ...], bytes, Finish | None]:
    found = replay(job(*prefix, **sampling), 1, TABLE, {END}, 20)
    return found.text_lengths, found.text, found.finish


def test_prefix_has_the_text_that_each_token_made_final() -> None:
    assert lengths(0, 1, 2) == ((2, 0, 2), "abä".encode(), None)
    assert lengths() == ((), b"", None)


def test_prefix_that_is_whole_says_how_it_ended() -> None:
    assert lengths(0, END) == ((2, 0), b"ab", Finish.STOP)
    assert lengths(0, 0, max_tokens=2) == ((2, 2), b"abab", Finish.LENGTH)
    assert lengths(0, 3, 4, stop=("stop",)) == ((2, 0, 0), b"ab", Finish.STOP)
    assert lengths(0, 3, max_tokens=2, stop=("stop",)) == ((2, 3), b"absto", Finish.LENGTH)  # held text is let go


def test_prefix_that_is_none_of_this_model_is_refused() -> None:
    for prefix in ((6,), (END, 0)):
        with pytest.raises(TetherError) as caught:
            lengths(*prefix)
        assert caught.value.reason is Reason.INVALID_FIELD
    with pytest.raises(TetherError) as caught:
        replay(job(0, 0, 0), 18, TABLE, {END}, 20)
    assert caught.value.reason is Reason.CONTEXT_EXCEEDED


def test_prefix_that_fills_the_context_has_ended() -> None:
    assert replay(job(0, 0), 18, TABLE, {END}, 20).finish is Finish.LENGTH
