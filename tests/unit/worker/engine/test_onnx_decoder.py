"""The exact engine's own behaviour, beyond what the conformance suite asks of all."""

from dataclasses import replace

import numpy as np
import pytest

from tether.errors import Reason
from tether.testing.tiny_model import write_tiny_decoder
from tether_worker.engine.form import schema_invalid
from tether_worker.engine.onnx_decoder import CHUNKS_PER_STEP, OnnxDecoder
from tether_worker.engine.runtime import Continuity, Finish, GenerationJob, Sampling, TokenPrompt
from tether_worker.engine.session import DecoderSession


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_tiny_decoder(tmp_path_factory.mktemp("tiny"), seed=1)


def job(key, prompt_tokens=4, **sampling):
    return GenerationJob(key=key, prompt=TokenPrompt((9,) * prompt_tokens), sampling=Sampling(**sampling))


def test_long_prompt_does_not_stall_those_that_generate(folder):
    engine = OnnxDecoder(folder, slots=2)
    engine.open(job("short", max_tokens=100))
    engine.step()
    engine.open(job("long", prompt_tokens=32 * CHUNKS_PER_STEP * 4, max_tokens=5))
    steps = [[piece.key for piece in engine.step()] for _ in range(4)]
    assert steps == [["short"], ["short"], ["short"], ["short", "long"]]


def test_prompts_are_read_in_the_order_of_joining(folder):
    engine = OnnxDecoder(folder, slots=3)
    for key in "abc":
        engine.open(job(key, prompt_tokens=64, max_tokens=50))
    firsts = [piece.key for _ in range(6) for piece in engine.step() if piece.start.tokens == 0]
    assert firsts == ["a", "b", "c"]


def test_step_delay_of_the_folder_is_waited(tmp_path):
    waits = []
    engine = OnnxDecoder(write_tiny_decoder(tmp_path, step_delay_ms=25), pause=waits.append)
    engine.open(job("a", max_tokens=3))
    while engine.slots_free < engine.slots_max:
        engine.step()
    assert waits == [0.025] * 3


def test_logits_that_are_no_numbers_end_one_sequence_only(folder, monkeypatch):
    engine = OnnxDecoder(folder, slots=2)
    engine.open(job("good", max_tokens=3))
    engine.open(job("bad", max_tokens=3))
    decode = DecoderSession.decode

    def poisoned(self, tokens, lengths):
        logits = decode(self, tokens, lengths).copy()
        logits[1:] = np.nan
        return logits

    engine.step()
    monkeypatch.setattr(DecoderSession, "decode", poisoned)
    pieces = {piece.key: piece for piece in engine.step()}
    assert pieces["bad"].finish is Finish.FAILED
    assert pieces["bad"].error.reason is Reason.ENGINE_FAILED
    assert pieces["good"].token_ids
    assert engine.slots_free == 1


def test_row_that_changes_with_its_batch_mates_is_not_called_exact(folder, monkeypatch):
    decode = DecoderSession.decode
    monkeypatch.setattr(
        DecoderSession, "decode", lambda self, tokens, lengths: decode(self, tokens, lengths) + np.float32(len(tokens))
    )
    assert OnnxDecoder(folder).continuity is Continuity.COHERENT


def test_memory_is_told(folder):
    assert 100_000 < OnnxDecoder(folder).memory_bytes < 10_000_000


def test_logprobs_come_with_every_token_when_asked(folder):
    engine = OnnxDecoder(folder)
    engine.open(job("a", max_tokens=2, logprobs=2))
    (piece,) = engine.step()
    assert len(piece.logprobs) == 1
    assert piece.logprobs[0].token_id == piece.token_ids[0]
    assert next(index for index, _, _ in piece.logprobs[0].alternatives) == piece.token_ids[0]


class Narrowing:
    """A grammar, and its walk, that lets any token come twice and then none."""

    def __init__(self):
        self.left = 2
        self.fault = None

    def begin(self):
        return self

    def mask(self):
        self.fault = None if self.left else schema_invalid("has no way on")
        return (b"\xff" if self.left else b"\0") * 34

    def take(self, token):
        self.left -= 1
        return True


def test_form_that_finds_no_way_on_ends_one_sequence_only(folder):
    engine = OnnxDecoder(folder, slots=2)
    engine.open(job("good", max_tokens=5))
    engine.open(replace(job("bad", max_tokens=5), grammar=Narrowing()))
    pieces = [piece for _ in range(5) for piece in engine.step()]
    ends = {piece.key: piece for piece in pieces if piece.finish is not None}
    assert (ends["bad"].finish, ends["bad"].error.reason) == (Finish.FAILED, Reason.SCHEMA_INVALID)
    assert ends["bad"].start.tokens == 2
    assert ends["good"].finish is Finish.LENGTH
