"""Makes a tiny model of tensors: `values` = tanh(x W + b) and `best`, its largest column; a few hundred bytes.

The real format and engine, loaded in milliseconds. With a delay per run and few rows per piece an answer of many rows
takes as long as a test wants, and is cut at the same places whenever it is run again.
"""

import json
import random
import struct
from collections.abc import Sequence
from pathlib import Path

from tether.testing.decoder_graph import FLOAT, INT64, field, node, tensor_type

WIDTH_IN = 8


def weights(name: str, dims: Sequence[int], values: Sequence[float]) -> bytes:
    """Encodes a float TensorProto that holds its data."""
    sizes = b"".join(field(1, dim) for dim in dims)
    return sizes + field(2, FLOAT) + field(8, name) + field(9, struct.pack(f"<{len(values)}f", *values))


def tensor_graph(width: int, seed: int) -> bytes:
    """Writes the graph.

    Args:
        width: columns of `values`.
        seed: of the weights.

    Returns:
        The bytes of `model.onnx`: input `x` [rows, 8] f32, outputs `values` [rows, width] f32 and `best` [rows] int64.
    """
    chance = random.Random(seed)  # noqa: S311  (no secret)
    drawn = [chance.uniform(-0.5, 0.5) for _ in range(WIDTH_IN * width + width)]
    nodes = [
        node("Gemm", ["x", "w", "b"], ["mixed"]),
        node("Tanh", ["mixed"], ["values"]),
        node("ArgMax", ["values"], ["best"], axis=1, keepdims=0),
    ]
    held = [weights("w", [WIDTH_IN, width], drawn[width:]), weights("b", [width], drawn[:width])]
    graph = b"".join(field(1, one) for one in nodes) + field(2, "tensors") + b"".join(field(5, one) for one in held)
    graph += field(11, tensor_type("x", FLOAT, ["rows", WIDTH_IN]))
    graph += field(12, tensor_type("values", FLOAT, ["rows", width])) + field(12, tensor_type("best", INT64, ["rows"]))
    return field(1, 8) + field(2, "tether") + field(7, graph) + field(8, field(1, "") + field(2, 18))


def write_tiny_tensors(  # noqa: PLR0913  (each test sets one or two)
    folder: Path,
    *,
    seed: int = 1,
    width: int = 16,
    batched: bool = True,
    piece_rows: int = 4,
    rows_max: int = 16,
    piece_bytes: int = 1 << 18,
    wait_ms: float = 1,
    step_delay_ms: float = 0,
) -> Path:
    """Writes a folder that `tether models push` takes; equal arguments write equal bytes.

    Args:
        folder: made if missing; files in it are overwritten.
        seed: of the weights.
        width: columns of `values`.
        batched: whether rows of several requests may share a run.
        piece_rows: rows of one piece of an answer.
        rows_max: rows of one run.
        piece_bytes: of a model that is not batched, bytes of one piece.
        wait_ms: how long a request waits for others to share its run.
        step_delay_ms: pause before every run; a cancel waits as long, so keep it under 50.

    Returns:
        The folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "format": "onnx",
        "format_version": 1,
        "graph": "model.onnx",
        "inputs": [{"name": "x", "data_type": "FP32", "shape": [-1, WIDTH_IN]}],
        "outputs": [
            {"name": "values", "data_type": "FP32", "shape": [-1, width]},
            {"name": "best", "data_type": "INT64", "shape": [-1]},
        ],
        "batched": batched,
        "piece_rows": piece_rows,
        "rows_max": rows_max,
        "piece_bytes": piece_bytes,
        "wait_ms": wait_ms,
        "step_delay_ms": step_delay_ms,
    }
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    (folder / "model.onnx").write_bytes(tensor_graph(width, seed))
    return folder
