"""Gumbel-max sampling: what seeds, parameters and rows decide."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tether_worker.engine.row import Row, mix64, noise_key
from tether_worker.engine.runtime import Sampling
from tether_worker.engine.sampling import choose, gumbel, logprob, penalised, restricted

VOCAB = 64


def logits(*rows: int) -> np.ndarray:
    return np.stack([np.random.default_rng(row).standard_normal(VOCAB).astype(np.float32) * 3 for row in rows])


def row(**sampling) -> Row:
    return Row(Sampling(**sampling))


def test_greedy_takes_the_largest_and_of_equals_the_first():
    flat = np.zeros((1, VOCAB), np.float32)
    assert choose(flat, [row()]) == [0]
    assert choose(logits(1), [row()]) == [int(np.argmax(logits(1)))]


def test_noise_is_the_same_everywhere():
    noise = gumbel([noise_key(1, 0, 0), noise_key(2, 3, 4)], 4)
    assert noise.tolist() == [
        [0.5820522308349609, 0.9161825180053711, -0.2724647521972656, 0.24806594848632812],
        [0.650390625, 0.18633365631103516, 1.6893310546875, 0.2797069549560547],
    ]


def test_mixer_is_splitmix64():
    assert mix64(0x9E3779B97F4A7C15) == 0xE220A8397B1DCDAF  # its first output for seed 0


def test_noise_is_gumbel_distributed():
    noise = gumbel([noise_key(7, 0, position) for position in range(200)], 500)
    assert abs(noise.mean() - 0.5772) < 0.02
    assert abs(noise.var() - np.pi**2 / 6) < 0.03
    assert abs(np.corrcoef(noise[:-1].ravel(), noise[1:].ravel())[0, 1]) < 0.02


def test_frequencies_follow_the_probabilities():
    scores = np.tile(np.log(np.array([[0.5, 0.3, 0.15, 0.05]], np.float32)), (4000, 1))
    rows = [Row(Sampling(temperature=1.0, seed=5), position=position) for position in range(4000)]
    counts = np.bincount(choose(scores, rows), minlength=4) / 4000
    assert np.abs(counts - [0.5, 0.3, 0.15, 0.05]).max() < 0.025


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**64 - 1), st.integers(0, 7), st.integers(0, 10_000))
def test_choice_does_not_depend_on_the_other_rows(seed, choice, position):
    mine = Row(Sampling(temperature=0.9, seed=seed, choice=choice), position=position)
    alone = choose(logits(1), [mine])
    other = row(temperature=1.3, seed=8)
    assert choose(logits(2, 1, 3), [row(), mine, other])[1:2] == alone


def test_small_change_of_logits_keeps_nearly_all_choices():
    rows = [Row(Sampling(temperature=1.0, seed=3), position=position) for position in range(2000)]
    scores = np.tile(logits(4), (2000, 1))
    nudged = scores + np.random.default_rng(0).uniform(-1e-5, 1e-5, scores.shape).astype(np.float32)
    same = np.equal(choose(scores, rows), choose(nudged, rows))
    assert same.mean() > 0.999


def test_top_k_keeps_k_and_of_equals_the_first():
    kept = restricted(np.array([1.0, 3.0, 3.0, 3.0, 0.0]), 2, 1.0)
    assert np.isfinite(kept).tolist() == [False, True, True, False, False]


def test_top_p_keeps_the_least_that_reach_it():
    scores = np.log(np.array([0.1, 0.5, 0.3, 0.1]))
    assert np.isfinite(restricted(scores, 0, 0.5)).tolist() == [False, True, False, False]
    assert np.isfinite(restricted(scores, 0, 0.7)).tolist() == [False, True, True, False]


def test_tiny_top_p_is_greedy():
    assert choose(logits(9), [row(temperature=2.0, top_p=1e-9, seed=1)]) == choose(logits(9), [row()])


def test_penalties_lower_what_stands_in_the_answer():
    mine = row(frequency_penalty=0.5, presence_penalty=0.25)
    for token in (3, 3, 4):
        mine.took(token)
    lowered = penalised(np.zeros(6, np.float32), mine)
    assert lowered.tolist() == [0, 0, 0, -1.25, -0.75, 0]
    assert mine.position == 3


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_logits_that_are_no_numbers_give_no_token(bad):
    scores = logits(1, 2)
    scores[0, 5] = bad
    assert choose(scores, [row(), row()]) == [-1, int(np.argmax(scores[1]))]


def test_logprobs_sum_to_one_and_come_best_first():
    table = tuple(bytes([index]) for index in range(VOCAB))
    found = logprob(logits(1)[0], 5, VOCAB, table)
    probabilities = [np.exp(value) for _, _, value in found.alternatives]
    assert abs(sum(probabilities) - 1) < 1e-9
    assert probabilities == sorted(probabilities, reverse=True)
    assert found.token == b"\x05"
