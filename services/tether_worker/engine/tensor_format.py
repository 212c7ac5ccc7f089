"""The folder of a model without tokens: tensors in, tensors out, one run of an ONNX graph.

`config.json` tells the signature and how runs may be cut; `model.onnx` is the graph with its weights. Where the model
is `batched`, the first dimension of every input and output counts rows that do not see each other: a request is run in
pieces of `piece_rows`, always cut at the same places, and pieces of several requests share a run.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tether_worker.engine.format import corrupt, read_json

FORMAT = "onnx"
FORMAT_VERSION = 1
GRAPH_BYTES_MAX = (2 << 30) - 1  # what one protobuf message can be
WAIT_MS_MAX = 10.0  # a request that comes alone must not feel it
TYPES: Mapping[str, str] = {  # the contract's names, little-endian as numpy names them
    "BOOL": "|b1", "INT8": "|i1", "INT16": "<i2", "INT32": "<i4", "INT64": "<i8",
    "UINT8": "|u1", "UINT16": "<u2", "UINT32": "<u4", "UINT64": "<u8",
    "FP16": "<f2", "FP32": "<f4", "FP64": "<f8",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output.

    Attributes:
        name: the graph's.
        data_type: the contract's name of its type, such as `FP32`.
        shape: extents; -1 for any.
    """

    name: str
    data_type: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TensorConfig:
    """What `config.json` says.

    Attributes:
        graph: the graph's file.
        inputs: what a request must give.
        outputs: what an answer holds.
        batched: whether first dimensions count rows that do not see each other.
        piece_rows: rows of one piece of a batched model's answer.
        rows_max: rows of one run; a multiple of `piece_rows` makes sense.
        wait_ms: how long a first piece waits for others to share its run.
        piece_bytes: of an output of a model that is not batched, bytes of one piece.
        step_delay_ms: pause before every run; makes answers last in tests.
    """

    graph: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    batched: bool
    piece_rows: int
    rows_max: int
    wait_ms: float
    piece_bytes: int
    step_delay_ms: float

    @property
    def files(self) -> tuple[str, ...]:
        """The files that decide what is computed."""
        return ("config.json", self.graph)


def parse_config(raw: Mapping[str, Any]) -> TensorConfig:
    """Turns the parsed JSON into a config.

    Raises:
        TetherError: ARTIFACT_CORRUPT for another format, or a field that is missing or of no use.
    """
    if raw.get("format") != FORMAT or raw.get("format_version") != FORMAT_VERSION:
        raise corrupt(f"it is not {FORMAT} version {FORMAT_VERSION}")
    try:
        config = TensorConfig(
            graph=raw["graph"],
            inputs=tuple(_spec(one) for one in raw["inputs"]),
            outputs=tuple(_spec(one) for one in raw["outputs"]),
            batched=bool(raw["batched"]),
            piece_rows=int(raw.get("piece_rows", 64)),
            rows_max=int(raw.get("rows_max", 256)),
            wait_ms=float(raw.get("wait_ms", 1)),
            piece_bytes=int(raw.get("piece_bytes", 1 << 18)),
            step_delay_ms=float(raw.get("step_delay_ms", 0)),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise corrupt("config.json lacks a field or has one of the wrong type") from error
    _check(config)
    return config


def _spec(raw: Mapping[str, Any]) -> TensorSpec:
    spec = TensorSpec(str(raw["name"]), str(raw["data_type"]), tuple(int(extent) for extent in raw["shape"]))
    if spec.data_type not in TYPES or any(extent < -1 for extent in spec.shape):
        raise ValueError(spec.name)
    return spec


def _check(config: TensorConfig) -> None:
    counts = 1 <= config.piece_rows <= config.rows_max and config.piece_bytes >= 1 and config.step_delay_ms >= 0
    if not counts or not 0 <= config.wait_ms <= WAIT_MS_MAX or not config.inputs or not config.outputs:
        raise corrupt("config.json has a number that is of no use, or no inputs or outputs")
    if config.batched and any(spec.shape[:1] != (-1,) for spec in (*config.inputs, *config.outputs)):
        raise corrupt("a batched model's first dimensions must be -1")


def read_config(folder: Path) -> TensorConfig:
    """Reads `config.json`.

    Raises:
        TetherError: ARTIFACT_CORRUPT.
    """
    return parse_config(read_json(folder))
