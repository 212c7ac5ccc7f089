"""Choosing tokens: Gumbel-max with counter noise, so that a seed decides an answer on any worker.

The token is the argmax of logit / temperature + noise, where the noise is a pure function of (seed, choice, position,
token id): nothing is drawn in sequence, so a resumed answer goes on where it was. Inverse-CDF sampling flips a choice
whenever a rounding error moves a cumulative sum past the draw; here two tokens must be within that error of each other.
The noise is rounded to 2**-20, far coarser than any difference between two logarithm implementations.
Source: Maddison et al. 2014, "A* sampling"; the 32-bit mixer is C. Wellons' lowbias32.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from tether_worker.engine.row import Row, noise_key
from tether_worker.engine.runtime import TokenLogprob

Floats = NDArray[np.float64]
Logits = NDArray[np.float32]
Words = NDArray[np.uint32]

GRID = float(2**20)


def _mix32(words: Words) -> Words:
    """The lowbias32 mixer, in place."""
    words ^= words >> np.uint32(16)
    words *= np.uint32(0x7FEB352D)
    words ^= words >> np.uint32(15)
    words *= np.uint32(0x846CA68B)
    words ^= words >> np.uint32(16)
    return words


@lru_cache(maxsize=8)
def _token_words(vocab_tokens: int) -> Words:
    """One mixed word per token id."""
    return _mix32(np.arange(vocab_tokens, dtype=np.uint32) * np.uint32(0x9E3779B9) + np.uint32(1))


def gumbel(keys: Sequence[int], vocab_tokens: int) -> Floats:
    """Gumbel noise for several positions at once.

    Args:
        keys: one 64-bit key per row.
        vocab_tokens: columns.

    Returns:
        [rows, vocab_tokens], a pure function of key and column.
    """
    low = np.array([key & 0xFFFFFFFF for key in keys], np.uint32)[:, None]
    high = np.array([key >> 32 for key in keys], np.uint32)[:, None]
    words = _mix32(_mix32(_token_words(vocab_tokens) ^ low) + high)
    uniform = (words + 0.5) * 2.0**-32
    return np.asarray(np.rint(-np.log(-np.log(uniform)) * GRID) / GRID)


def penalised(logits: Logits, row: Row) -> Floats:
    """Lowers tokens that stand in the answer so far; logits is [vocab]."""
    scores = logits.astype(np.float64)
    if row.counts:
        ids = np.fromiter(row.counts, np.int64)
        counts = np.fromiter(row.counts.values(), np.float64)
        scores[ids] -= row.sampling.frequency_penalty * counts + row.sampling.presence_penalty
    return scores


def restricted(scores: Floats, top_k: int, top_p: float) -> Floats:
    """Sets all but the k likeliest and the nucleus to minus infinity; of equal scores the lower id is kept.

    Args:
        scores: [vocab], already divided by the temperature.
        top_k: 0 keeps all.
        top_p: 1 keeps all.
    """
    if (not top_k or top_k >= len(scores)) and top_p >= 1:
        return scores
    order = np.argsort(-scores, kind="stable")[: top_k or len(scores)]
    if top_p < 1:
        weights = np.exp(scores[order] - scores[order[0]])
        before = np.cumsum(weights) - weights
        order = order[before < top_p * weights.sum()]
    kept = np.full_like(scores, -np.inf)
    kept[order] = scores[order]
    return kept


def unpacked(mask: bytes, vocab_tokens: int) -> NDArray[np.bool_]:
    """A constraint's mask as [vocab] booleans."""
    return np.unpackbits(np.frombuffer(mask, np.uint8), count=vocab_tokens, bitorder="little").view(np.bool_)


def _scores(logits: Logits, row: Row) -> Floats:
    scores = penalised(logits, row)
    if row.constraint is not None:  # before top_k and top_p, which choose among what may come
        scores[~unpacked(row.allowed, len(scores))] = -np.inf
    if row.sampling.temperature == 0:
        return scores
    return restricted(scores / row.sampling.temperature, row.sampling.top_k, row.sampling.top_p)


def _chosen(logits: Logits, row: Row, noise: Floats | float) -> int:
    """The token of a row that is not greedy; -1 where its constraint lets none follow."""
    if row.constraint is not None:
        row.allowed = row.constraint.mask()
        if not any(row.allowed):
            return -1
        if row.sampling.temperature == 0 and not row.penal:
            return int(np.argmax(np.where(unpacked(row.allowed, len(logits)), logits, -np.inf)))
    return int(np.argmax(_scores(logits, row) + noise))


def choose(logits: Logits, rows: Sequence[Row]) -> list[int]:
    """Chooses one token per row; a row's choice does not depend on the others.

    Args:
        logits: [rows, vocab].
        rows: what to know about each.

    Returns:
        One token id per row; -1 where the logits are not finite numbers, or where a constraint lets none follow.
    """
    likeliest = np.argmax(logits, axis=1)
    finite = np.isfinite(logits[np.arange(len(rows)), likeliest])
    noise = _noise(rows, logits.shape[1])
    chosen = [int(token) if fine else -1 for token, fine in zip(likeliest, finite, strict=True)]
    for index, row in enumerate(rows):
        if not row.greedy and chosen[index] >= 0:
            chosen[index] = _chosen(logits[index], row, noise.get(index, 0.0))
    return chosen


def _noise(rows: Sequence[Row], vocab_tokens: int) -> dict[int, Floats]:
    """Noise of the rows that have a temperature, by row."""
    warm = [index for index, row in enumerate(rows) if row.sampling.temperature > 0]
    keys = [noise_key(rows[index].sampling.seed, rows[index].sampling.choice, rows[index].position) for index in warm]
    return dict(zip(warm, gumbel(keys, vocab_tokens), strict=True)) if warm else {}


def logprob(
    logits: Logits, token: int, alternatives: int, table: Sequence[bytes], allowed: bytes = b""
) -> TokenLogprob:
    """Log probability of a token under the model, before temperature and penalties, and its likeliest rivals.

    With a constraint it is the probability among the tokens that could come: a forced token has 1, no rival has 0.

    Args:
        logits: [vocab].
        token: the chosen token.
        alternatives: how many rivals to report, the token itself among them where it is likely enough.
        table: bytes of every token.
        allowed: a constraint's mask, or nothing.
    """
    scores = logits.astype(np.float64)
    if allowed:
        fits = unpacked(allowed, len(scores))
        scores[~fits] = -np.inf
        alternatives = min(alternatives, int(fits.sum()))
    scores -= scores.max()
    scores -= np.log(np.exp(scores).sum())
    best = np.argsort(-scores, kind="stable")[:alternatives]
    rivals = tuple((int(index), table[index], float(scores[index])) for index in best)
    return TokenLogprob(token, table[token], float(scores[token]), rivals)
