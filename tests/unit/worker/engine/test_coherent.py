"""Engines of one model with unequal fingerprints go on with each other's answers: sensibly, not bit by bit."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

import tether_worker
from tether_worker.engine.form import Form, FormKind
from tether_worker.engine.onnx_decoder import OnnxDecoder
from tether_worker.engine.runtime import GenerationJob, Sampling, TextPrompt

DEMO = Path(tether_worker.__file__).parent / "demo"
PROMPT = "Remind Bob to call Alice on Monday."
SETTINGS = [{"chunk_tokens": 7}, {"threads": 2}]


@pytest.fixture(scope="module")
def first() -> OnnxDecoder:
    return OnnxDecoder(DEMO, slots=2)


@pytest.fixture(scope="module", params=SETTINGS, ids=str)
def second(request) -> OnnxDecoder:
    return OnnxDecoder(DEMO, slots=2, **request.param)


def answer(engine: OnnxDecoder, job: GenerationJob) -> tuple[tuple[int, ...], bytes]:
    engine.open(job)
    pieces = []
    while engine.slots_free < engine.slots_max:
        pieces += engine.step()
    return sum((piece.token_ids for piece in pieces), ()), b"".join(piece.text for piece in pieces)


def test_settings_that_change_kernels_or_cuts_change_the_fingerprint(first, second):
    assert first.fingerprint != second.fingerprint
    assert first.facts.model == second.facts.model


@pytest.mark.parametrize("form", [None, Form(FormKind.JSON_OBJECT)])
@pytest.mark.parametrize("warmth", [0.0, 0.7])
def test_answer_that_another_engine_began_is_gone_on_with(first, second, form, warmth):
    job = GenerationJob(key="a", prompt=TextPrompt(PROMPT), sampling=Sampling(temperature=warmth, seed=3), form=form)
    made, whole = answer(first, job)
    for cut in range(1, len(made)):
        replayed = second.replay(replace(job, prefix=made[:cut]))
        _, rest = answer(second, replace(job, prefix=made[:cut]))
        assert whole.startswith(replayed.text)
        assert json.loads(replayed.text + rest).keys() == json.loads(whole).keys()  # the same members
