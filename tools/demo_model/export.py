"""Writes the trained network as a decoder folder: int8 weights with one f32 scale per output channel, graph, tokenizer.

python -m tools.demo_model.export --run build/demo-model --folder services/tether_worker/demo
"""

import argparse
import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tether.testing.decoder_graph import DecoderShape, decoder_graph
from tether.testing.tiny_model import decoder_config, rope_turns

NAME, VERSION = "tether-demo", "1.0"
CONTEXT_TOKENS = 512  # rows of training had 256: beyond, answers get worse
Floats = NDArray[np.float32]


def shape_of(params: dict[str, Floats]) -> DecoderShape:
    """The sizes of trained weights; the head's size and the shares of heads are the recipe's."""
    head = 32
    return DecoderShape(
        vocab=params["embed"].shape[0],
        width=params["embed"].shape[1],
        layers=params["q"].shape[0],
        heads=params["q"].shape[2] // head,
        kv_heads=params["k"].shape[2] // head,
        head=head,
        hidden=params["gate"].shape[2],
        context_tokens_max=CONTEXT_TOKENS,
    )


def named_weights(shape: DecoderShape, params: dict[str, Floats]) -> dict[str, Floats]:
    """The weights under the graph's names, with products that share their input fused."""
    weights = {"embed": params["embed"], "head_bias": np.zeros(shape.vocab, np.float32), "norm_out": params["norm_out"]}
    for layer in range(shape.layers):
        part = {name: value[layer] for name, value in params.items() if name not in weights}
        weights |= {
            f"norm_attention.{layer}": part["norm_attention"],
            f"qkv.{layer}": np.concatenate([part["q"], part["k"], part["v"]], axis=1),
            f"out.{layer}": part["o"],
            f"norm_hidden.{layer}": part["norm_hidden"],
            f"gate_up.{layer}": np.concatenate([part["gate"], part["up"]], axis=1),
            f"down.{layer}": part["down"],
        }
    cosines, sines = rope_turns(shape)
    turns = (shape.context_tokens_max, shape.head // 2)
    weights |= {name: np.array(value, np.float32).reshape(turns) for name, value in (("cos", cosines), ("sin", sines))}
    return {name: weights[name] for name in shape.tensors()}


def quantised(weight: Floats, axis: int) -> tuple[NDArray[np.int8], Floats]:
    """Rounds a matrix to int8 with one scale per index of `axis`."""
    largest = np.abs(weight).max(axis=1 - axis, keepdims=True)
    scales = np.maximum(largest / 127, 1e-12).astype(np.float32)
    return np.rint(weight / scales).astype(np.int8), scales.reshape(-1)


def pack(weights: dict[str, Floats]) -> tuple[bytes, list[dict[str, Any]]]:
    """Lays all weights into one file; returns it and its table. Values of f32 lie on multiples of 4 bytes."""
    blob, table = bytearray(), []
    for name, weight in weights.items():
        entry: dict[str, Any] = {"name": name, "shape": list(weight.shape), "offset": len(blob)}
        if weight.ndim == 1 or name in {"cos", "sin"}:
            blob += weight.astype("<f4").tobytes()
            table.append(entry | {"kind": "f32"})
            continue
        axis = 0 if name == "embed" else 1
        values, scales = quantised(weight, axis)
        blob += values.tobytes() + bytes(-values.size % 4)
        table.append(entry | {"kind": "int8", "axis": axis, "scale_offset": len(blob)})
        blob += scales.astype("<f4").tobytes()
    return bytes(blob), table


def chat_marks() -> dict[str, Any]:
    """The chat template: the newest turn of the user alone, because the model was trained on nothing else."""
    base = decoder_config(DecoderShape(16, 16, 1, 1, 1, 16, 16, 16), [])["chat"]
    roles = {"user": base["roles"]["user"]}
    return base | {"roles": roles, "roles_ignored": ["assistant", "system"], "turns_kept_max": 1}


def export(run: Path, folder: Path) -> None:
    """Writes the decoder folder of a training run.

    Args:
        run: folder of `state.pickle` and `tokenizer.json`.
        folder: where to; made if missing.
    """
    _, params, _ = pickle.loads((run / "state.pickle").read_bytes())  # noqa: S301  (written by train.py)
    shape = shape_of(params)
    blob, table = pack(named_weights(shape, params))
    config = decoder_config(
        shape, table, name=NAME, version=VERSION, chat=chat_marks(), text_is_turn=True, license="Apache-2.0 AND PSF-2.0"
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    (folder / "model.onnx").write_bytes(decoder_graph(shape))
    (folder / "weights.int8.bin").write_bytes(blob)
    shutil.copyfile(run / "tokenizer.json", folder / "tokenizer.json")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, default=Path("build/demo-model"))
    parser.add_argument("--folder", type=Path, default=Path("services/tether_worker/demo"))
    options = parser.parse_args()
    export(options.run, options.folder)
