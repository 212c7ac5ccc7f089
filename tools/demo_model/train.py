"""Trains the demo model on one CPU core: Muon for the matrices, Adam for the rest, everything from one seed.

The learning rate is constant for 60 % of the steps and falls linearly to zero in the rest.
Checkpoints hold the whole state and the data of a step depends on seed and step alone, so a run that was stopped goes
on as if it had not been.
Run it by `python -m tools.demo_model`, which sets the environment in which XLA's CPU backend is twice as fast.
Muon: K. Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks".
"""

import argparse
import csv
import pickle
import time
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tools.demo_model import bpe, corpus
from tools.demo_model.network import Params, Shape, init, loss

State = dict[str, Any]

SEED = 20261121
ROWS, ROW_TOKENS = 8, 256  # the Zen of Python must fit a row
PROMPT_WEIGHT = 0.1
MUON_RATE, ADAM_RATE = 5e-3, 5e-3
DECAY_FROM = 0.6
MATRICES = ("q", "k", "v", "o", "gate", "up", "down")
TOKENIZER_PAIRS = 30_000
LOG_STEPS = 25
POOL_PAIRS = 60_000  # drawn, encoded and packed at once; a new pool follows


def pack(sequences: list[tuple[list[int], int]]) -> dict[str, np.ndarray]:
    """Packs sequences into rows of ROW_TOKENS, whole ones only.

    Returns:
        tokens, targets, segments (int32) and weights (float32), each [rows, ROW_TOKENS].
    """
    fields = ("tokens", "targets", "segments", "weights")
    rows: list[dict[str, list[float]]] = [{name: [] for name in fields}]
    for ids, prompt in sequences:
        if len(ids) - 1 > ROW_TOKENS:
            continue
        if len(rows[-1]["tokens"]) + len(ids) - 1 > ROW_TOKENS:
            rows.append({name: [] for name in fields})
        row, segment = rows[-1], 1 + max(rows[-1]["segments"], default=0)
        row["tokens"] += ids[:-1]
        row["targets"] += ids[1:]
        row["segments"] += [segment] * (len(ids) - 1)
        row["weights"] += [PROMPT_WEIGHT] * (prompt - 1) + [1.0] * (len(ids) - prompt)
    padded = {name: [row[name] + [0] * (ROW_TOKENS - len(row[name])) for row in rows] for name in fields}
    return {name: np.array(value, np.float32 if name == "weights" else np.int32) for name, value in padded.items()}


class Batches:
    """Gives the batch of a step; pools are drawn in order, each from its own seed."""

    def __init__(self, tokenizer: bpe.Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.pool = -1
        self.starts = [0]
        self.rows: dict[str, np.ndarray] = {}

    def of(self, step: int) -> dict[str, np.ndarray]:
        """The batch of a step; steps must not go backwards over a pool's start."""
        while step >= self.starts[-1]:
            self._draw()
        first = (step - self.starts[self.pool]) * ROWS
        return {name: value[first : first + ROWS] for name, value in self.rows.items()}

    def _draw(self) -> None:
        self.pool += 1
        self.rows = pack(bpe.encode(self.tokenizer, corpus.pairs(SEED + self.pool, POOL_PAIRS)))
        self.starts.append(self.starts[-1] + len(self.rows["tokens"]) // ROWS)


def orthogonal(matrix: jax.Array) -> jax.Array:
    """Newton-Schulz iteration of Muon: the nearest half-orthogonal matrix, roughly, of each [layer]."""
    tall = matrix.shape[-2] > matrix.shape[-1]
    x = jnp.swapaxes(matrix, -1, -2) if tall else matrix
    x = x / (jnp.linalg.norm(x, axis=(-2, -1), keepdims=True) + 1e-7)
    for _ in range(5):
        square = x @ jnp.swapaxes(x, -1, -2)
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return jnp.swapaxes(x, -1, -2) if tall else x


def muon(weight: jax.Array, gradient: jax.Array, state: jax.Array, rate: jax.Array) -> tuple[jax.Array, jax.Array]:
    """One Muon step with Nesterov momentum on stacked matrices."""
    momentum = 0.95 * state + 0.05 * gradient
    update = orthogonal(0.95 * momentum + 0.05 * gradient)
    scale = max(1.0, weight.shape[-1] / weight.shape[-2]) ** 0.5
    return weight * (1 - 0.02 * rate) - rate * MUON_SCALE * scale * update, momentum


MUON_SCALE = 3.0  # Muon's rate relative to Adam's: an orthogonal update has a root mean square of 1/sqrt(width)


def adam(
    weight: jax.Array, gradient: jax.Array, state: tuple[jax.Array, jax.Array], rate: jax.Array, step: jax.Array
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    """One Adam step."""
    first, second = 0.9 * state[0] + 0.1 * gradient, 0.98 * state[1] + 0.02 * gradient**2
    corrected = (first / (1 - 0.9 ** (step + 1))) / (jnp.sqrt(second / (1 - 0.98 ** (step + 1))) + 1e-8)
    return weight - rate * corrected, (first, second)


@partial(jax.jit, static_argnums=0, donate_argnums=(1, 2))
def update(
    shape: Shape,
    params: Params,
    state: State,
    batch: dict[str, jax.Array],
    step: jax.Array,
    rate: jax.Array,
) -> tuple[Params, State, jax.Array]:
    """One step of training; returns weights, optimiser state and the loss before the step."""
    cost, gradients = jax.value_and_grad(lambda p: loss(shape, p, batch))(params)
    norm = jnp.sqrt(sum(jnp.sum(g**2) for g in gradients.values()))
    gradients = {name: g / jnp.maximum(1.0, norm) for name, g in gradients.items()}
    new, kept = {}, {}
    for name, weight in params.items():
        if name in MATRICES:
            new[name], kept[name] = muon(weight, gradients[name], state[name], rate * MUON_RATE)
        else:
            new[name], kept[name] = adam(weight, gradients[name], state[name], rate * ADAM_RATE, step)
    return new, kept, cost


def optimiser(params: Params) -> State:
    """The optimiser's state before the first step."""
    zeros = {name: jnp.zeros_like(weight) for name, weight in params.items()}
    return {name: z if name in MATRICES else (z, jnp.zeros_like(z)) for name, z in zeros.items()}


def rate_of(step: int, steps: int) -> float:
    """The learning rate of a step as a share of the highest: short warm-up, constant, linear fall."""
    return min(1.0, (step + 1) / 30, (steps - step) / (steps * (1 - DECAY_FROM)))


def save(folder: Path, step: int, params: Params, state: State) -> None:
    """Writes the whole state; the last one replaces the one before."""
    target = folder / "state.pickle"
    temporary = target.with_suffix(".part")
    temporary.write_bytes(pickle.dumps((step, *jax.device_get((params, state)))))
    temporary.replace(target)


def start(folder: Path) -> tuple[Batches, Shape, int, Params, State]:
    """Makes what a run needs, or takes it from the folder: tokenizer, first step, weights and optimiser."""
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary, known = folder / "tokenizer.json", folder / "state.pickle"
    if not vocabulary.exists():
        bpe.build(corpus.pairs(SEED, TOKENIZER_PAIRS)).save(str(vocabulary))
    batches = Batches(bpe.Tokenizer.from_file(str(vocabulary)))
    shape = Shape(vocab=batches.tokenizer.get_vocab_size())
    if known.exists():
        return batches, shape, *pickle.loads(known.read_bytes())  # noqa: S301  (written by this script)
    params = init(shape, SEED)
    return batches, shape, 0, params, optimiser(params)


class Log:
    """Writes mean loss and rate of every 25 steps to `loss.csv`, and says how fast it goes."""

    def __init__(self, folder: Path) -> None:
        self._file = (folder / "loss.csv").open("a", newline="")
        self._costs: list[float] = []
        self._since = time.perf_counter()

    def add(self, step: int, cost: float, rate: float) -> None:
        """Notes the loss of the step before `step`."""
        self._costs.append(cost)
        if step % LOG_STEPS:
            return
        mean, self._costs = sum(self._costs) / len(self._costs), []
        speed, self._since = LOG_STEPS * ROWS * ROW_TOKENS / (time.perf_counter() - self._since), time.perf_counter()
        csv.writer(self._file).writerow([step, round(mean, 4), round(rate, 4)])
        self._file.flush()
        print(f"step {step} loss {mean:.4f} {speed:.0f} tokens/s", flush=True)


def run(folder: Path, steps: int, save_every: int) -> None:
    """Trains to `steps`, going on from the folder's state if there is one."""
    batches, shape, begin, params, state = start(folder)
    for step in range(begin):
        batches.of(step)
    log = Log(folder)
    for step in range(begin, steps):
        rate = rate_of(step, steps)
        params, state, cost = update(shape, params, state, batches.of(step), jnp.float32(step), jnp.float32(rate))
        log.add(step + 1, float(cost), rate)
        if (step + 1) % save_every == 0 or step + 1 == steps:
            save(folder, step + 1, params, state)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("build/demo-model"))
    parser.add_argument("--steps", type=int, default=4600)
    parser.add_argument("--save-every", type=int, default=100)
    options = parser.parse_args()
    run(options.folder, options.steps, options.save_every)
