"""The demo model's network in JAX: a LLaMA-style decoder, written for one CPU core.

RMSNorm, rotary positions (half-split), grouped-query attention, SwiGLU, tied embeddings. Activations are flattened to
[B*T, d] before every product with a weight and the loss picks its targets by a one-hot product: on XLA's CPU backend
the first makes the gradient about 4.5 times faster and the second 2.8 times.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

Array = jax.Array
Params = dict[str, Array]


@dataclass(frozen=True)
class Shape:
    """Sizes of the network."""

    vocab: int = 2560
    width: int = 192
    layers: int = 6
    heads: int = 6
    kv_heads: int = 2
    head: int = 32
    hidden: int = 512
    rope_base: float = 10_000.0
    norm_epsilon: float = 1e-5


def init(shape: Shape, seed: int) -> Params:
    """Draws initial weights; layer weights are stacked along axis 0 as [layers, in, out]."""
    kv = shape.kv_heads * shape.head
    sizes = {
        "q": (shape.width, shape.heads * shape.head),
        "k": (shape.width, kv),
        "v": (shape.width, kv),
        "o": (shape.heads * shape.head, shape.width),
        "gate": (shape.width, shape.hidden),
        "up": (shape.width, shape.hidden),
        "down": (shape.hidden, shape.width),
    }
    keys = jax.random.split(jax.random.key(seed), len(sizes) + 1)
    params = {
        name: jax.random.normal(key, (shape.layers, *size)) * (size[0] ** -0.5)
        for key, (name, size) in zip(keys, sizes.items(), strict=False)
    }
    scale = {"o": 0.0, "down": 0.0}  # every block begins as the identity
    params = {name: value * scale.get(name, 1.0) for name, value in params.items()}
    norms = {name: jnp.ones((shape.layers, shape.width)) for name in ("norm_attention", "norm_hidden")}
    embed = jax.random.normal(keys[-1], (shape.vocab, shape.width)) * 0.05
    return params | norms | {"embed": embed, "norm_out": jnp.ones((shape.width,))}


def normed(x: Array, weight: Array, epsilon: float) -> Array:
    """RMSNorm over the last axis."""
    return x * jax.lax.rsqrt(jnp.mean(x * x, axis=-1, keepdims=True) + epsilon) * weight


def rotated(x: Array, cos: Array, sin: Array) -> Array:
    """Rotary positions on [B, T, H, D]; the two halves of D form the pairs."""
    first, second = jnp.split(x, 2, axis=-1)
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)


def angles(shape: Shape, length: int) -> tuple[Array, Array]:
    """Cosines and sines of positions 0..length-1, each [length, head/2]."""
    rates = shape.rope_base ** (-jnp.arange(0, shape.head, 2) / shape.head)
    turns = jnp.arange(length)[:, None] * rates[None, :]
    return jnp.cos(turns), jnp.sin(turns)


def attention(shape: Shape, layer: Params, x: Array, mask: Array, turns: tuple[Array, Array]) -> Array:
    """Grouped-query attention of flattened x [B*T, d] under mask [B, T, T]."""
    batch, length = mask.shape[:2]
    cos, sin = (turn[None, :, None, :] for turn in turns)
    query = rotated((x @ layer["q"]).reshape(batch, length, shape.heads, shape.head), cos, sin)
    key = rotated((x @ layer["k"]).reshape(batch, length, shape.kv_heads, shape.head), cos, sin)
    value = (x @ layer["v"]).reshape(batch, length, shape.kv_heads, shape.head)
    groups = query.reshape(batch, length, shape.kv_heads, -1, shape.head)
    scores = jnp.einsum("btkgd,bskd->bkgts", groups, key) * shape.head**-0.5
    weights = jax.nn.softmax(jnp.where(mask[:, None, None], scores, -1e9), axis=-1)
    mixed = jnp.einsum("bkgts,bskd->btkgd", weights, value)
    return mixed.reshape(batch * length, -1) @ layer["o"]


def logits(shape: Shape, params: Params, tokens: Array, segments: Array) -> Array:
    """Runs the network.

    Args:
        shape: sizes.
        params: weights.
        tokens: [B, T] token ids.
        segments: [B, T] number of the document in its row; documents do not see each other.

    Returns:
        [B*T, vocab] logits.
    """
    length = tokens.shape[1]
    mask = (segments[:, :, None] == segments[:, None, :]) & jnp.tril(jnp.ones((length, length), bool))
    turns = angles(shape, length)
    x = params["embed"][tokens.reshape(-1)]
    for index in range(shape.layers):
        layer = {name: value[index] for name, value in params.items() if value.ndim > 1 and name != "embed"}
        x = x + attention(shape, layer, normed(x, layer["norm_attention"], shape.norm_epsilon), mask, turns)
        y = normed(x, layer["norm_hidden"], shape.norm_epsilon)
        x = x + (jax.nn.silu(y @ layer["gate"]) * (y @ layer["up"])) @ layer["down"]
    return normed(x, params["norm_out"], shape.norm_epsilon) @ params["embed"].T


def loss(shape: Shape, params: Params, batch: dict[str, Array]) -> Array:
    """Weighted cross-entropy in nats per token; weights [B, T] are 0 for padding and small on prompts."""
    scores = logits(shape, params, batch["tokens"], batch["segments"])
    picked = jnp.sum(scores * jax.nn.one_hot(batch["targets"].reshape(-1), shape.vocab), axis=-1)
    costs = jax.nn.logsumexp(scores, axis=-1) - picked
    weights = batch["weights"].reshape(-1)
    return jnp.sum(costs * weights) / jnp.sum(weights)
