"""What every `ModelRuntime` must keep, and what those that say EXACT must keep bit by bit.

A new engine joins by adding itself to `RUNTIMES`. The logits of the onnx engine are compared as bytes; the others
are compared by tokens, text and log probabilities.
"""

import json
import math
import random
import re
from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tether_worker
from tether.errors import Reason, TetherError
from tether.testing.tiny_model import write_tiny_decoder
from tether_worker.engine.form import Form, FormKind
from tether_worker.engine.onnx_decoder import OnnxDecoder
from tether_worker.engine.runtime import (
    ChatPrompt,
    Continuity,
    Emitted,
    Finish,
    GenerationJob,
    ModelRuntime,
    Phase,
    Position,
    Sampling,
    TextPrompt,
    TokenPrompt,
    Turn,
)
from tether_worker.engine.simulated import SimulatedRuntime

DEMO = Path(tether_worker.__file__).parent / "demo"
SLOTS = 8
SCHEMA = {
    "type": "object",
    "properties": {
        "who": {"enum": ["Alice", "Bob"]},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
        "tags": {"type": "array", "items": {"type": "string", "maxLength": 5}, "maxItems": 2},
    },
    "required": ["who", "age", "tags"],
    "additionalProperties": False,
}
PERSON = Form(FormKind.JSON_SCHEMA, json.dumps(SCHEMA))
CODE = Form(FormKind.REGEX, "[a-z]{3}-[0-9]{2,4}ü?")
FORMS = (None, PERSON, None, CODE, Form(FormKind.JSON_OBJECT))


def satisfies(form: Form, answer: bytes) -> bool:
    if form is CODE:
        return re.fullmatch(form.text, answer.decode()) is not None
    value = json.loads(answer)
    if form is not PERSON:
        return isinstance(value, dict)
    fits = value["who"] in ("Alice", "Bob") and 0 <= value["age"] <= 120 and len(value["tags"]) <= 2
    return fits and value.keys() == {"who", "age", "tags"} and all(len(tag) <= 5 for tag in value["tags"])


class SpiedDecoder(OnnxDecoder):
    """The onnx engine, remembering the bits of all logits by job."""

    def __init__(self, folder: Path) -> None:
        self.seen: dict[Hashable, list[bytes]] = {}
        super().__init__(folder, slots=SLOTS)

    def _choose(self, logits, rows):
        for index, row in enumerate(rows):
            self.seen.setdefault(row.job.key, []).append(logits[index].tobytes())
        return super()._choose(logits, rows)


class VirtualTime:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def pause(self, seconds: float) -> None:
        self.now_s += seconds


def simulated() -> SimulatedRuntime:
    time = VirtualTime()
    return SimulatedRuntime(slots=SLOTS, context_tokens_max=512, clock=lambda: time.now_s, pause=time.pause)


RUNTIMES: dict[str, Callable[[Path], ModelRuntime]] = {
    "demo": lambda _: SpiedDecoder(DEMO),
    "tiny": lambda folder: SpiedDecoder(write_tiny_decoder(folder, seed=3)),
    "tiny-ends": lambda folder: SpiedDecoder(write_tiny_decoder(folder, seed=4, end_bias=1.0)),
    "tiny-broken-utf8": lambda folder: SpiedDecoder(write_tiny_decoder(folder, seed=5, alphabet=bytes(range(256)))),
    "simulated": lambda _: simulated(),
}


@pytest.fixture(scope="module", params=RUNTIMES)
def runtime(request, tmp_path_factory) -> ModelRuntime:
    made = RUNTIMES[request.param](tmp_path_factory.mktemp(request.param))
    yield made
    made.close()


@pytest.fixture(autouse=True)
def all_slots_free_again(runtime):
    yield
    assert runtime.slots_free == runtime.slots_max == SLOTS


def job(key: Hashable, text: str = "Remind Bob to call Alice on Monday.", **sampling) -> GenerationJob:
    return GenerationJob(key=key, prompt=TextPrompt(text), sampling=Sampling(**{"max_tokens": 24} | sampling))


def run(
    runtime: ModelRuntime, jobs: Sequence[GenerationJob], joins: Sequence[int] = ()
) -> dict[Hashable, list[Emitted]]:
    """Runs jobs together; `joins` says before which step each asks to join (when a slot is free)."""
    waiting = sorted(zip(joins or [0] * len(jobs), range(len(jobs)), strict=True))
    pieces: dict[Hashable, list[Emitted]] = {one.key: [] for one in jobs}
    step = 0
    while waiting or runtime.slots_free < runtime.slots_max:
        while waiting and waiting[0][0] <= step and runtime.slots_free:
            runtime.open(jobs[waiting.pop(0)[1]])
        for piece in runtime.step():
            pieces[piece.key].append(piece)
        step += 1
    return pieces


def tokens(pieces: Sequence[Emitted]) -> tuple[int, ...]:
    return tuple(token for piece in pieces for token in piece.token_ids)


def text(pieces: Sequence[Emitted]) -> bytes:
    return b"".join(piece.text for piece in pieces)


def comparable(pieces: Sequence[Emitted]) -> list[Emitted]:
    return [replace(piece, slot=0) for piece in pieces]


def mixed_jobs(count: int) -> list[GenerationJob]:
    """Jobs of many prompt lengths around the prefill chunk, greedy and seeded, with forms and without."""
    lengths = (1, 2, 31, 32, 33, 63, 64, 65, 100, 7)
    return [
        GenerationJob(
            key=f"job-{index}",
            prompt=TokenPrompt(tuple((index * 31 + place * 7) % 256 + 5 for place in range(lengths[index % 10]))),
            sampling=Sampling(
                max_tokens=12 + index,
                temperature=(0.0, 0.8, 1.5)[index % 3],
                top_k=(0, 0, 5, 40)[index % 4],
                top_p=(1.0, 0.9)[index % 2],
                presence_penalty=(0.0, 0.5)[index // 2 % 2],
                seed=index * 1_000_003,
                logprobs=3,
            ),
            form=FORMS[index % 5],
        )
        for index in range(count)
    ]


def logits_of(runtime: ModelRuntime, key: Hashable) -> list[bytes]:
    return runtime.seen.pop(key) if isinstance(runtime, SpiedDecoder) else []


def alone(runtime: ModelRuntime, one: GenerationJob) -> tuple[list[Emitted], list[bytes]]:
    pieces = run(runtime, [one])[one.key]
    return comparable(pieces), logits_of(runtime, one.key)


def test_promise_is_exact_and_the_fingerprint_a_sha256(runtime):
    assert runtime.continuity is Continuity.EXACT
    assert len(runtime.fingerprint) == 32
    assert runtime.fingerprint == runtime.fingerprint


@pytest.mark.parametrize("schedule", range(3))
def test_logits_are_bit_equal_for_any_batch_mates_slot_and_moment_of_joining(runtime, schedule):
    rng = random.Random(schedule)
    jobs = mixed_jobs(14)
    expected = {one.key: alone(runtime, one) for one in jobs}
    rng.shuffle(jobs)
    together = run(runtime, jobs, sorted(rng.randrange(30) for _ in jobs))
    for one in jobs:
        pieces, logits = expected[one.key]
        assert comparable(together[one.key]) == pieces
        assert logits_of(runtime, one.key) == logits


@settings(max_examples=8, deadline=None)
@given(cut=st.integers(1, 23), which=st.integers(0, 13), mates=st.integers(0, 6), leave=st.integers(0, 20))
def test_logits_are_bit_equal_after_a_resume_among_others_that_leave(runtime, cut, which, mates, leave):
    jobs = mixed_jobs(14)
    one = jobs[which]
    pieces, logits = alone(runtime, one)
    made = tokens(pieces)
    cut = min(cut, len(made) - 1)
    if cut == 0:
        return
    opened = [runtime.open(job(("mate", index), temperature=1.0, seed=index)) for index in range(mates)]
    resumed = runtime.open(replace(one, prefix=made[:cut]))
    assert resumed.start == pieces[cut].start
    rest: list[Emitted] = []
    for step in range(200):
        if step == leave:
            for mate in opened[::2]:
                runtime.cancel(mate.slot)
        rest += [piece for piece in runtime.step() if piece.key == one.key]
        if rest and rest[-1].finish:
            break
    for mate in opened:
        runtime.cancel(mate.slot)
    assert comparable(rest) == pieces[cut:]
    assert logits_of(runtime, one.key) == logits[cut:]


def test_resume_at_every_place_gives_the_same_bytes(runtime):
    whole = run(runtime, [job("whole", temperature=1.0, seed=9, stop=("zz", "e, "))])["whole"]
    made = tokens(whole)
    for cut in range(1, len(made)):
        part = run(runtime, [replace(job("whole", temperature=1.0, seed=9, stop=("zz", "e, ")), prefix=made[:cut])])
        assert comparable(part["whole"]) == comparable(whole[cut:])


@pytest.mark.parametrize("form", FORMS[1::2])
@pytest.mark.parametrize("warmth", [0.0, 1.3])
def test_form_holds_when_an_answer_is_cut_anywhere_and_goes_on(runtime, form, warmth):
    asked = replace(job("whole", temperature=warmth, seed=11, max_tokens=120, logprobs=2), form=form)
    whole = run(runtime, [asked])["whole"]
    made = tokens(whole)
    assert whole[-1].finish is Finish.STOP
    assert satisfies(form, text(whole))
    for cut in range(1, len(made)):
        part = run(runtime, [replace(asked, prefix=made[:cut]), job("mate", seed=cut)])["whole"]
        assert comparable(part) == comparable(whole[cut:])


def test_form_is_cut_by_max_tokens_and_by_stop_texts(runtime):
    assert run(runtime, [replace(job("a", max_tokens=3), form=PERSON)])["a"][-1].finish is Finish.LENGTH
    stopped = run(runtime, [replace(job("a", max_tokens=60, stop=('"age',)), form=PERSON)])["a"]
    assert stopped[-1].finish is Finish.STOP
    assert text(stopped).startswith(b'{"who"')
    assert b"age" not in text(stopped)


def test_logprobs_under_a_form_are_of_what_could_come(runtime):
    for piece in run(runtime, [replace(job("a", max_tokens=80, temperature=1.0, logprobs=5), form=CODE)])["a"]:
        for one in piece.logprobs:
            assert all(-math.inf < each <= 1e-9 for each in (one.logprob, *(rival[2] for rival in one.alternatives)))


def test_form_that_is_none_is_refused_and_frees_the_slot(runtime):
    with pytest.raises(TetherError) as refused:
        runtime.open(replace(job("a"), form=Form(FormKind.REGEX, "(")))
    assert refused.value.reason is Reason.SCHEMA_INVALID


def test_prefix_that_breaks_its_form_is_refused(runtime):
    made = tokens(run(runtime, [job("a", max_tokens=4)])["a"])
    with pytest.raises(TetherError):
        runtime.open(replace(job("a"), prefix=made, form=PERSON))


def test_positions_follow_each_other_without_hole(runtime):
    place = Position()
    for piece in run(runtime, [job("a", temperature=1.2, seed=4)])["a"]:
        assert piece.start == place
        assert sum(piece.text_lengths) == len(piece.text)
        assert len(piece.text_lengths) == len(piece.token_ids)
        place = Position(place.tokens + len(piece.token_ids), place.text_bytes + len(piece.text))


def test_text_is_whole_characters_at_every_place(runtime):
    for piece in run(runtime, [job("a", temperature=2.0, seed=1, max_tokens=60)])["a"]:
        piece.text.decode()


def test_seed_and_choice_decide_the_answer(runtime):
    made = run(
        runtime,
        [
            job("a", temperature=2.0, seed=1, max_tokens=40),
            job("b", temperature=2.0, seed=1, max_tokens=40),
            job("c", temperature=2.0, seed=2, max_tokens=40),
            job("d", temperature=2.0, seed=1, choice=1, max_tokens=40),
        ],
    )
    assert tokens(made["a"]) == tokens(made["b"])
    assert len({tokens(made[key]) for key in "acd"}) == 3


def test_max_tokens_is_kept(runtime):
    made = run(runtime, [job("a", max_tokens=1), job("b", max_tokens=3)])
    assert len(tokens(made["a"])) == 1
    assert len(tokens(made["b"])) <= 3
    assert made["a"][-1].finish in {Finish.LENGTH, Finish.STOP}


def test_stop_text_ends_the_answer_and_is_not_part_of_it(runtime):
    free = text(run(runtime, [job("a", max_tokens=60)])["a"])
    stop = next(free[at : at + 3] for at in range(4, len(free) - 3) if free[at : at + 3].isascii()).decode()
    made = run(runtime, [job("b", max_tokens=60, stop=(stop, "never to be seen"))])["b"]
    assert text(made) == free[: free.index(stop.encode())]
    assert made[-1].finish is Finish.STOP


def test_text_held_for_a_stop_that_never_comes_is_given_at_the_end(runtime):
    free = text(run(runtime, [job("a", max_tokens=20)])["a"])
    tail = free.decode()[-1] + "\x00never"
    assert text(run(runtime, [job("b", max_tokens=20, stop=(tail,))])["b"]) == free


def test_cancel_frees_the_slot_before_the_next_step(runtime):
    opened = [runtime.open(job(index, max_tokens=50)) for index in range(SLOTS)]
    with pytest.raises(TetherError) as refused:
        runtime.open(job("late"))
    assert refused.value.reason is Reason.OVERLOADED
    for _ in range(3):
        runtime.step()
    runtime.cancel(opened[2].slot)
    runtime.cancel(opened[2].slot)
    assert runtime.slots_free == 1
    again = runtime.open(job("late"))
    assert again.slot == opened[2].slot
    assert all(piece.key != 2 for piece in runtime.step())
    for one in opened:
        runtime.cancel(one.slot)


def test_context_overflow_is_a_typed_error(runtime):
    with pytest.raises(TetherError) as refused:
        runtime.open(GenerationJob(key="a", prompt=TokenPrompt((7,) * runtime.context_tokens_max)))
    assert refused.value.reason is Reason.CONTEXT_EXCEEDED


def test_context_ends_an_answer_that_fills_it(runtime):
    room = 5
    prompt = TokenPrompt((9,) * (runtime.context_tokens_max - room))
    made = run(runtime, [GenerationJob(key="a", prompt=prompt, sampling=Sampling(max_tokens=100))])["a"]
    assert len(tokens(made)) <= room
    assert made[-1].finish in {Finish.LENGTH, Finish.STOP}


def test_empty_text_is_a_prompt(runtime):
    opened = runtime.open(job("a", text=""))
    assert opened.prompt_tokens >= 1
    runtime.cancel(opened.slot)


def test_chat_is_a_prompt(runtime):
    turns = (Turn("system", "Be brief."), Turn("user", "Hi"), Turn("assistant", "Hello"), Turn("user", "What is len?"))
    made = run(runtime, [GenerationJob(key="a", prompt=ChatPrompt(turns), sampling=Sampling(max_tokens=5))])
    assert tokens(made["a"])


def test_progress_reads_the_prompt_and_then_counts_tokens(runtime):
    opened = runtime.open(GenerationJob(key="a", prompt=TokenPrompt((9,) * 200), sampling=Sampling(max_tokens=9)))
    before = runtime.progress(opened.slot)
    assert (before.phase, before.n, before.of) == (Phase.PREFILL, 0, 200)
    seen: list[Emitted] = []
    while not seen:
        seen += runtime.step()
    if seen[-1].finish is None:
        after = runtime.progress(opened.slot)
        assert (after.phase, after.n, after.of) == (Phase.RUNNING, 1, 9)
    runtime.cancel(opened.slot)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", 2.5), ("temperature", float("nan")), ("top_p", 0.0), ("top_p", 1.1), ("top_k", -1),
        ("max_tokens", 0), ("frequency_penalty", 3.0), ("presence_penalty", -2.1), ("stop", ("",)), ("logprobs", 21),
        ("stop", ("x",) * 9), ("seed", -1),
    ],
)  # fmt: skip
def test_parameter_out_of_range_is_refused(runtime, field, value):
    with pytest.raises(TetherError) as refused:
        runtime.open(job("a", **{field: value}))
    assert refused.value.reason is Reason.INVALID_FIELD
    assert refused.value.field == f"parameters.{field}"


def test_prefix_that_ended_or_is_too_long_is_refused(runtime):
    made = tokens(run(runtime, [job("a", max_tokens=6)])["a"])
    with pytest.raises(TetherError):
        runtime.open(replace(job("a", max_tokens=len(made)), prefix=made))


def test_step_without_sequences_gives_nothing(runtime):
    assert runtime.step() == []
