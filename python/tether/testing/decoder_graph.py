"""Writes the ONNX graph of a LLaMA-style decoder, without the `onnx` package.

An ONNX file is one protobuf message; the dozen fields that a decoder needs are written here by hand, so that a test or
a tool can make a model with nothing but the standard library. Weights are not in the graph: each initializer points
to external data, which the engine supplies from memory.

Attention is `GroupQueryAttention` with `seqlens_k` and no left padding, the only form seen to give bit-equal rows for
any batch mates. Source: onnx.proto (field numbers), onnxruntime's ContribOperators.md.
"""

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

FLOAT, INT32, INT64 = 1, 6, 7
ORT_DOMAIN = "com.microsoft"


@dataclass(frozen=True, slots=True)
class DecoderShape:
    """Sizes of a decoder; all in elements.

    `hidden` and `width` should be multiples of 16, so that no row ends in a partial vector.
    """

    vocab: int
    width: int
    layers: int
    heads: int
    kv_heads: int
    head: int
    hidden: int
    context_tokens_max: int
    norm_epsilon: float = 1e-5
    rope_base: float = 10_000.0

    def tensors(self) -> dict[str, tuple[int, ...]]:
        """Names and shapes of all weights, in file order."""
        qkv = (self.heads + 2 * self.kv_heads) * self.head
        named: dict[str, tuple[int, ...]] = {"embed": (self.vocab, self.width), "head_bias": (self.vocab,)}
        for layer in range(self.layers):
            named |= {
                f"norm_attention.{layer}": (self.width,),
                f"qkv.{layer}": (self.width, qkv),
                f"out.{layer}": (self.heads * self.head, self.width),
                f"norm_hidden.{layer}": (self.width,),
                f"gate_up.{layer}": (self.width, 2 * self.hidden),
                f"down.{layer}": (self.hidden, self.width),
            }
        turns = (self.context_tokens_max, self.head // 2)
        return named | {"norm_out": (self.width,), "cos": turns, "sin": turns}


def varint(value: int) -> bytes:
    """Encodes an integer as protobuf's varint; negative ones take ten bytes."""
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def field(number: int, value: float | str | bytes) -> bytes:
    """Encodes one field: integers as varint, floats as fixed32, text and bytes with their length."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    if isinstance(value, float):
        return varint(number << 3 | 5) + struct.pack("<f", value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def attribute(name: str, value: float | str | Sequence[int]) -> bytes:
    """Encodes an AttributeProto."""
    if isinstance(value, int):
        body, kind = field(3, value), 2
    elif isinstance(value, float):
        body, kind = field(2, value), 1
    elif isinstance(value, str):
        body, kind = field(4, value), 3
    else:
        body, kind = b"".join(field(8, item) for item in value), 7
    return field(1, name) + body + field(20, kind)


def node(
    kind: str,
    inputs: Iterable[str],
    outputs: Iterable[str],
    domain: str = "",
    **attributes: float | str | Sequence[int],
) -> bytes:
    """Encodes a NodeProto, named after its first output."""
    results = list(outputs)
    body = b"".join(field(1, name) for name in inputs) + b"".join(field(2, name) for name in results)
    body += field(3, results[0]) + field(4, kind)
    body += b"".join(field(5, attribute(name, value)) for name, value in attributes.items())
    return body + field(7, domain)


def tensor_type(name: str, kind: int, dims: Sequence[int | str]) -> bytes:
    """Encodes a ValueInfoProto; a text dimension is a symbol."""
    shape = b"".join(field(1, field(1, dim) if isinstance(dim, int) else field(2, dim)) for dim in dims)
    return field(1, name) + field(2, field(1, field(1, kind) + field(2, shape)))


def external(name: str, dims: Sequence[int], length_bytes: int) -> bytes:
    """Encodes a float TensorProto whose data the engine supplies under its own name."""
    entries = {"location": name, "offset": "0", "length": str(length_bytes)}
    body = b"".join(field(1, dim) for dim in dims) + field(2, FLOAT) + field(8, name)
    body += b"".join(field(13, field(1, key) + field(2, value)) for key, value in entries.items())
    return body + field(14, 1)


def constant(name: str, values: Sequence[int]) -> bytes:
    """Encodes an int64 TensorProto held in the graph itself; one value makes a scalar."""
    dims = b"" if len(values) == 1 else field(1, len(values))
    return dims + field(2, INT64) + field(8, name) + field(9, struct.pack(f"<{len(values)}q", *values))


def _layer(shape: DecoderShape, index: int) -> list[bytes]:
    """The nodes of one layer, from `residual.{index}` and `normed.{index}` to those of the next."""
    i, after, eps = index, index + 1, {"epsilon": shape.norm_epsilon}
    gain = f"norm_attention.{after}" if after < shape.layers else "norm_out"
    cache = [f"past_key.{i}", f"past_value.{i}"]
    return [
        node("MatMul", [f"normed.{i}", f"qkv.{i}"], [f"mixed_in.{i}"]),
        node(
            "GroupQueryAttention",
            [f"mixed_in.{i}", "", "", *cache, "seqlens_k", "total_tokens", "cos", "sin"],
            [f"mixed.{i}", f"present_key.{i}", f"present_value.{i}"],
            ORT_DOMAIN,
            num_heads=shape.heads,
            kv_num_heads=shape.kv_heads,
            do_rotary=1,
            rotary_interleaved=0,
        ),
        node("MatMul", [f"mixed.{i}", f"out.{i}"], [f"attended.{i}"]),
        node(
            "SkipSimplifiedLayerNormalization",
            [f"residual.{i}", f"attended.{i}", f"norm_hidden.{i}"],
            [f"hidden_in.{i}", "", "", f"middle.{i}"],
            ORT_DOMAIN,
            **eps,
        ),
        node("MatMul", [f"hidden_in.{i}", f"gate_up.{i}"], [f"gate_up_out.{i}"]),
        node("Split", [f"gate_up_out.{i}"], [f"gate.{i}", f"up.{i}"], axis=-1, num_outputs=2),
        node("Sigmoid", [f"gate.{i}"], [f"open.{i}"]),
        node("Mul", [f"gate.{i}", f"open.{i}"], [f"gated.{i}"]),
        node("Mul", [f"gated.{i}", f"up.{i}"], [f"hidden.{i}"]),
        node("MatMul", [f"hidden.{i}", f"down.{i}"], [f"lowered.{i}"]),
        node(
            "SkipSimplifiedLayerNormalization",
            [f"middle.{i}", f"lowered.{i}", gain],
            [f"normed.{after}", "", "", f"residual.{after}"],
            ORT_DOMAIN,
            **eps,
        ),
    ]


def _values(shape: DecoderShape) -> bytes:
    """The graph's inputs and outputs."""
    cache: list[int | str] = ["batch", shape.kv_heads, shape.context_tokens_max, shape.head]
    inputs = [
        tensor_type("tokens", INT64, ["batch", "length"]),
        tensor_type("seqlens_k", INT32, ["batch"]),
        tensor_type("total_tokens", INT32, []),
    ]
    outputs = [tensor_type("logits", FLOAT, ["batch", shape.vocab])]
    for layer in range(shape.layers):
        inputs += [tensor_type(f"past_{part}.{layer}", FLOAT, cache) for part in ("key", "value")]
        outputs += [tensor_type(f"present_{part}.{layer}", FLOAT, cache) for part in ("key", "value")]
    return b"".join(field(11, item) for item in inputs) + b"".join(field(12, item) for item in outputs)


def decoder_graph(shape: DecoderShape) -> bytes:
    """Writes the graph of a decoder with a shared key-value buffer.

    Inputs are `tokens` [batch, length] int64, `seqlens_k` [batch] int32 (tokens seen after this call, less one),
    `total_tokens` int32 scalar (the largest of them, plus one) and per layer `past_key.N`, `past_value.N`
    [batch, kv_heads, context, head] f32; outputs are `logits` [batch, vocab] of the last position and the `present_*`
    caches, to be bound to the same memory as the past ones.

    Args:
        shape: sizes.

    Returns:
        The bytes of `model.onnx`.
    """
    nodes = [
        node("Gather", ["embed", "tokens"], ["residual.0"], axis=0),
        node(
            "SimplifiedLayerNormalization",
            ["residual.0", "norm_attention.0"],
            ["normed.0"],
            axis=-1,
            epsilon=shape.norm_epsilon,
            stash_type=1,
        ),
    ]
    for layer in range(shape.layers):
        nodes += _layer(shape, layer)
    nodes += [
        node("Gather", [f"normed.{shape.layers}", "last"], ["final"], axis=1),
        node("Gemm", ["final", "embed", "head_bias"], ["logits"], transB=1),
    ]
    weights = [external(name, dims, 4 * _product(dims)) for name, dims in shape.tensors().items()]
    initializers = [*weights, constant("last", [-1])]
    graph = b"".join(field(1, item) for item in nodes) + field(2, "decoder")
    graph += b"".join(field(5, item) for item in initializers) + _values(shape)
    opsets = field(8, field(1, "") + field(2, 18)) + field(8, field(1, ORT_DOMAIN) + field(2, 1))
    return field(1, 8) + field(2, "tether") + field(7, graph) + opsets


def _product(dims: Sequence[int]) -> int:
    total = 1
    for dim in dims:
        total *= dim
    return total
