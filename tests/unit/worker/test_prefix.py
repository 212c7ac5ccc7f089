"""A prefix that is handed over: what agrees is taken up, what does not is refused by name."""

from typing import Any

import pytest

from tether import _native
from tether.errors import Reason, TetherError
from tether.v1 import infer_pb2, link_pb2
from tether_worker.engine.runtime import Continuity, Finish, GenerationJob, Position, Sampling, TokenPrompt
from tether_worker.engine.simulated import WORDS, SimulatedRuntime
from tether_worker.prefix import COHERENT, EXACT, FIRST, MAKERS_MAX, RERUN, begin, continuity_of, read_handed

RUNTIME = SimulatedRuntime()
DRIVER = "driver"
PREFIX = [3, 7, 9, 11]


def chain(tokens: list[int]) -> _native.Chain:
    made = _native.Chain()
    made.feed_tokens(tokens)
    return made


def at(tokens: list[int]) -> infer_pb2.Infer.Position:
    return infer_pb2.Infer.Position(tokens=len(tokens), bytes=5 * len(tokens))


def start(tokens: list[int] = PREFIX, **fields: Any) -> link_pb2.Link.Start:
    good = {"prefix": tokens, "position": at(tokens), "chain_state": chain(tokens).state(), "continuity": EXACT}
    return link_pb2.Link.Start(**{**good, **fields})


def jobs(choices: int = 1, **sampling: Any) -> list[GenerationJob]:
    return [
        GenerationJob(key=("j", choice), prompt=TokenPrompt((1, 2)), sampling=Sampling(choice=choice, **sampling))
        for choice in range(choices)
    ]


def part(start_at: list[int], end_at: list[int], epoch: int = 1, **fields: Any) -> infer_pb2.Infer.HandedPrefix:
    return infer_pb2.Infer.HandedPrefix(epoch=epoch, start=at(start_at), end=at(end_at), **fields)


def refusal(body: link_pb2.Link.Start, choices: int = 1, **sampling: Any) -> Reason:
    with pytest.raises(TetherError) as caught:
        begin(jobs(choices, **sampling), read_handed(body, 5, DRIVER), RUNTIME)
    return caught.value.reason


def test_first_attempt_is_handed_nothing() -> None:
    handed = read_handed(link_pb2.Link.Start(), 1, DRIVER)
    begun = begin(jobs(), handed, RUNTIME)
    assert (begun.at, begun.makers, begun.continuity, begun.finishes) == (Position(), (), FIRST, {})


def test_prefix_goes_to_the_engine_and_into_the_log() -> None:
    begun = begin(jobs(), read_handed(start(), 2, DRIVER), RUNTIME)
    assert [job.prefix for job in begun.jobs] == [tuple(PREFIX)]
    [(output, tokens, lengths, text)] = begun.pieces
    assert (output, tokens, lengths) == (0, tuple(PREFIX), (5, 5, 5, 5))
    assert text == b"".join(WORDS[token] for token in PREFIX)
    assert (begun.at, begun.continuity, begun.prompt_tokens) == (Position(4, 20), EXACT, 2)


def test_prefix_of_two_choices_is_taken_apart_in_the_order_of_the_log() -> None:
    body = start([3, 7, 9, 11, 5], prefix_outputs=[0, 1, 1, 0, 1])
    begun = begin(jobs(2, max_tokens=3), read_handed(body, 2, DRIVER), RUNTIME)
    assert [(job.sampling.choice, job.prefix) for job in begun.jobs] == [(0, (3, 11))]
    assert begun.finishes == {1: Finish.LENGTH}
    assert [(piece[0], piece[1]) for piece in begun.pieces] == [(0, (3,)), (1, (7, 9)), (0, (11,)), (1, (5,))]
    assert b"".join(piece[3] for piece in begun.pieces) == b"".join(WORDS[token] for token in [3, 7, 9, 11, 5])


def test_whole_prefix_leaves_nothing_to_generate() -> None:
    begun = begin(jobs(max_tokens=4), read_handed(start(), 2, DRIVER), RUNTIME)
    assert (begun.jobs, begun.finishes) == ((), {0: Finish.LENGTH})


def test_makers_are_listed_with_the_chain_that_was_found_and_the_driver_that_handed_over() -> None:
    asked = [part([], PREFIX[:1], worker_id="w1", driver_id="lie"), part(PREFIX[:1], PREFIX, 2, worker_id="w2")]
    makers = read_handed(start(handed=asked), 3, DRIVER).makers
    assert [(one.epoch, one.worker_id, one.driver_id) for one in makers] == [(1, "w1", DRIVER), (2, "w2", DRIVER)]
    assert [one.chain for one in makers] == [chain(PREFIX[:1]).digest(), chain(PREFIX).digest()]
    [unnamed] = read_handed(start(), 3, DRIVER).makers
    assert (unnamed.end.tokens, unnamed.chain) == (4, chain(PREFIX).digest())


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (start(chain_state=chain([3, 7, 9, 12]).state()), Reason.STREAM_DIVERGED),
        (start(chain_state=b""), Reason.STREAM_DIVERGED),
        (start(position=at(PREFIX[:3])), Reason.STREAM_DIVERGED),
        (start(position={"tokens": 4, "bytes": 19}), Reason.STREAM_DIVERGED),
        (start([], position={"bytes": 5}), Reason.STREAM_DIVERGED),
        (start(handed=[part([], PREFIX, chain=b"x" * 32)]), Reason.STREAM_DIVERGED),
        (start(handed=[part([], PREFIX[:2])]), Reason.STREAM_DIVERGED),
        (start(handed=[part(PREFIX[:1], PREFIX)]), Reason.INVALID_FIELD),
        (start(handed=[part([], PREFIX, epoch=5)]), Reason.INVALID_FIELD),
        (start(handed=[part([], [*PREFIX, 1])]), Reason.INVALID_FIELD),
        (start(handed=[part([], [])] * (MAKERS_MAX + 1)), Reason.TOO_LARGE),
        (start(prefix_outputs=[0]), Reason.INVALID_FIELD),
        (start(prefix_outputs=[0, 0, 0, 1]), Reason.INVALID_FIELD),
        (start(continuity=RERUN), Reason.INVALID_FIELD),
        (start([3, 999], position={"tokens": 2, "bytes": 10}), Reason.INVALID_FIELD),
    ],
)
def test_prefix_that_disagrees_is_refused(body: link_pb2.Link.Start, reason: Reason) -> None:
    assert refusal(body) is reason


def test_prefix_beyond_the_answer_is_refused() -> None:
    assert refusal(start(), max_tokens=3) is Reason.INVALID_FIELD


def test_run_again_begins_at_zero_and_says_so() -> None:
    handed = read_handed(link_pb2.Link.Start(continuity=RERUN), 2, DRIVER)
    assert begin(jobs(), handed, RUNTIME).continuity == RERUN


@pytest.mark.parametrize(
    ("asked", "maker", "engine", "told"),
    [
        (EXACT, b"f", Continuity.EXACT, EXACT),
        (EXACT, b"", Continuity.EXACT, EXACT),
        (EXACT, b"other", Continuity.EXACT, COHERENT),
        (EXACT, b"f", Continuity.COHERENT, COHERENT),
        (COHERENT, b"f", Continuity.EXACT, COHERENT),
    ],
)
def test_engine_claims_no_more_than_it_can(asked: Any, maker: bytes, engine: Continuity, told: int) -> None:
    body = start(handed=[part([], PREFIX, fingerprint=maker)], continuity=asked)
    assert continuity_of(read_handed(body, 2, DRIVER), b"f", engine) == told
