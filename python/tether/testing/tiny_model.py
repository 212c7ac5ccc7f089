"""Makes a tiny decoder with random weights: the real format and engine, loaded in milliseconds.

It babbles printable text and never ends by itself, so an answer has exactly `max_tokens` tokens: what tests of streams,
failover and limits want. With `end_bias` it ends now and then; with `alphabet` it can emit broken UTF-8.
"""

import json
import math
import random
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tether.testing.decoder_graph import DecoderShape, decoder_graph

BEGIN, SYSTEM, USER, ASSISTANT, END = "<|begin|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"
MARKERS = (BEGIN, SYSTEM, USER, ASSISTANT, END)
VOCAB_TOKENS = 272  # five markers, 256 bytes, padded to a multiple of 16
NEVER = -1e4  # a bias that no logit outweighs
LOUDNESS = 4.0  # with faint embeddings: the blocks, not the last token, decide the next one
PRINTABLE = b"abcdefghijklmnopqrstuvwxyz    ,."
SHAPE = DecoderShape(
    vocab=VOCAB_TOKENS, width=32, layers=2, heads=4, kv_heads=2, head=16, hidden=64, context_tokens_max=512
)


def byte_characters() -> list[str]:
    """The byte-level alphabet: one printable character per byte."""
    plain = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    rest = [byte for byte in range(256) if byte not in plain]
    return [chr(byte) if byte in plain else chr(256 + rest.index(byte)) for byte in range(256)]


def byte_tokenizer() -> dict[str, Any]:
    """The contents of `tokenizer.json` for a vocabulary of markers and single bytes."""
    vocab = {text: index for index, text in enumerate((*MARKERS, *byte_characters()))}
    added = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": index, "content": text} | added for index, text in enumerate(MARKERS)],
        "normalizer": None,
        "pre_tokenizer": level,
        "post_processor": None,
        "decoder": level,
        "model": {
            "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
            "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
            "vocab": vocab, "merges": [],
        },
    }  # fmt: skip


def decoder_config(shape: DecoderShape, tensors: list[dict[str, Any]], **facts: object) -> dict[str, Any]:
    """The contents of `config.json`.

    Args:
        shape: sizes.
        tensors: where each weight lies.
        facts: name, version and whatever else differs from the usual.
    """
    return {
        "format": "onnx-decoder",
        "format_version": 1,
        "precision": "f32 from int8 weights",
        "vocab_tokens": shape.vocab,
        "layers": shape.layers,
        "width": shape.width,
        "heads": shape.heads,
        "kv_heads": shape.kv_heads,
        "head": shape.head,
        "hidden": shape.hidden,
        "context_tokens_max": shape.context_tokens_max,
        "prefill_chunk_tokens": 32,
        "end_tokens": [MARKERS.index(END)],
        "chat": {
            "begin": BEGIN,
            "roles": {"system": [SYSTEM, END], "user": [USER, END], "assistant": [ASSISTANT, END]},
            "answer": ASSISTANT,
            "roles_ignored": [],
            "turns_kept_max": 0,
        },
        "text_is_turn": False,
        "step_delay_ms": 0,
        "graph": "model.onnx",
        "weights": "weights.int8.bin",
        "tokenizer": "tokenizer.json",
        "tensors": tensors,
    } | facts


def rope_turns(shape: DecoderShape) -> tuple[list[float], list[float]]:
    """Cosines and sines of all positions, row-major [context, head/2]."""
    rates = [shape.rope_base ** (-2 * index / shape.head) for index in range(shape.head // 2)]
    turns = [place * rate for place in range(shape.context_tokens_max) for rate in rates]
    return [math.cos(turn) for turn in turns], [math.sin(turn) for turn in turns]


def _head_bias(alphabet: bytes, end_bias: float | None) -> list[float]:
    bias = [NEVER] * VOCAB_TOKENS
    for byte in alphabet:
        bias[len(MARKERS) + byte] = 0.0
    bias[MARKERS.index(END)] = NEVER if end_bias is None else end_bias
    return bias


def _weights(
    shape: DecoderShape, rng: random.Random, fixed: Mapping[str, list[float]]
) -> tuple[bytes, list[dict[str, Any]]]:
    """Draws int8 weights; returns the file and its table."""
    blob, table = bytearray(), []
    for name, dims in shape.tensors().items():
        entry: dict[str, Any] = {"name": name, "shape": list(dims), "offset": len(blob)}
        if name in fixed or len(dims) == 1:
            values = fixed.get(name, [LOUDNESS if name == "norm_out" else 1.0] * dims[0])
            blob += struct.pack(f"<{len(values)}f", *values)
            table.append(entry | {"kind": "f32"})
            continue
        axis = 0 if name == "embed" else 1
        blob += rng.randbytes(dims[0] * dims[1])
        blob += bytes(-len(blob) % 4)
        spread = 0.002 if name == "embed" else 1 / (74 * math.sqrt(dims[0]))  # random bytes have a deviation of 74
        table.append(entry | {"kind": "int8", "axis": axis, "scale_offset": len(blob)})
        blob += struct.pack("<f", spread) * dims[axis]
    return bytes(blob), table


def write_tiny_decoder(  # noqa: PLR0913  (each test sets one or two)
    folder: Path,
    *,
    seed: int = 1,
    step_delay_ms: float = 0,
    alphabet: bytes = PRINTABLE,
    end_bias: float | None = None,
    name: str = "tiny",
    version: str = "1.0",
) -> Path:
    """Writes a decoder folder of less than 200 KB; equal arguments write equal bytes.

    Args:
        folder: made if missing; files in it are overwritten.
        seed: of the weights.
        step_delay_ms: time that every step of the engine waits, to make answers last; a cancel waits as long, so
            keep it under 50.
        alphabet: bytes that it may emit.
        end_bias: logit of the end token; None means that it never ends by itself. Around 8 it ends soon.
        name: model's name.
        version: model's version.

    Returns:
        The folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    cosines, sines = rope_turns(SHAPE)
    fixed = {"cos": cosines, "sin": sines, "head_bias": _head_bias(alphabet, end_bias)}
    blob, table = _weights(SHAPE, random.Random(seed), fixed)  # noqa: S311  (no secret)
    config = decoder_config(SHAPE, table, name=name, version=version, step_delay_ms=step_delay_ms)
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    (folder / "tokenizer.json").write_text(json.dumps(byte_tokenizer(), ensure_ascii=False, indent=1) + "\n")
    (folder / "model.onnx").write_bytes(decoder_graph(SHAPE))
    (folder / "weights.int8.bin").write_bytes(blob)
    return folder
