"""Tensors of the contract to arrays and back, and a request's tensors against a model's signature. Pure."""

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from tether.errors import Reason, TetherError
from tether.v1 import infer_pb2
from tether_worker.engine.format import corrupt
from tether_worker.engine.tensor_format import TYPES, TensorConfig, TensorSpec

Array = NDArray[np.generic]
Arrays = Mapping[str, Array]
Infer = infer_pb2.Infer
FIELD = "input.tensors"
PAYLOAD_BYTES_MAX = 16_000_000  # a body on a link may have 16 MiB


def read_inputs(tensors: bytes, config: TensorConfig) -> dict[str, Array]:
    """The arrays of a serialized `Infer.Tensors`, by name; views of its bytes.

    Raises:
        TetherError: INVALID_FIELD below `input.tensors` where they are not what the model takes.
    """
    try:
        given = {one.name: one for one in Infer.Tensors.FromString(tensors).tensors}
    except DecodeError as error:
        raise _refusal(FIELD, "are malformed") from error
    if given.keys() != {spec.name for spec in config.inputs}:
        raise _refusal(FIELD, f"must be {', '.join(spec.name for spec in config.inputs)}")
    arrays = {spec.name: _array(given[spec.name], spec) for spec in config.inputs}
    if config.batched and len({len(array) for array in arrays.values()}) > 1:
        raise _refusal(FIELD, "differ in their first dimension, which counts rows")
    return arrays


def _array(tensor: infer_pb2.Infer.Tensor, spec: TensorSpec) -> Array:
    path, shape = f"{FIELD}.{spec.name}", tuple(tensor.shape)
    if tensor.data_type != Infer.DataType.Value(f"DATA_TYPE_{spec.data_type}"):
        raise _refusal(path, f"must be {spec.data_type}")
    fits = len(shape) == len(spec.shape) and all(
        want in (-1, extent) and extent >= 0 for want, extent in zip(spec.shape, shape, strict=True)
    )
    if not fits:
        raise _refusal(path, f"has the shape {list(shape)}; the model takes {list(spec.shape)}")
    kind = np.dtype(TYPES[spec.data_type])
    if len(tensor.data) != math.prod(shape) * kind.itemsize:
        raise _refusal(path, f"has {len(tensor.data)} bytes, which is not its shape's size")
    return np.frombuffer(tensor.data, kind).reshape(shape)


def _refusal(path: str, why: str) -> TetherError:
    return TetherError(Reason.INVALID_FIELD, f"{path} {why}.", field=path)


def to_payload(arrays: Arrays, config: TensorConfig) -> bytes:
    """A serialized `Infer.Payload` of some outputs, in the signature's order; equal arrays make equal bytes.

    Raises:
        TetherError: TOO_LARGE for what no link takes.
    """
    kinds = {spec.name: spec.data_type for spec in config.outputs}
    tensors = [
        Infer.Tensor(
            name=name,
            data_type=Infer.DataType.Value(f"DATA_TYPE_{kinds[name]}"),
            shape=array.shape,
            data=np.ascontiguousarray(array, TYPES[kinds[name]]).tobytes(),
        )
        for name, array in arrays.items()
    ]
    payload = Infer.Payload(tensors=Infer.Tensors(tensors=tensors)).SerializeToString(deterministic=True)
    if len(payload) > PAYLOAD_BYTES_MAX:
        raise TetherError(
            Reason.TOO_LARGE, f"A piece of the answer has {len(payload)} bytes; {PAYLOAD_BYTES_MAX} may be."
        )
    return payload


def check_outputs(arrays: Arrays, config: TensorConfig) -> None:
    """Pass where outputs are of the types that the signature says, and of a batched model's rows.

    Raises:
        TetherError: ARTIFACT_CORRUPT.
    """
    for spec in config.outputs:
        array = arrays[spec.name]
        rows = not config.batched or array.shape[:1] == (config.piece_rows,)
        if array.dtype != np.dtype(TYPES[spec.data_type]) or array.ndim != len(spec.shape) or not rows:
            raise corrupt(f"the output {spec.name} is not as config.json says")


def in_pieces(arrays: Arrays, config: TensorConfig) -> Iterator[bytes]:
    """Payloads of outputs one after the other, each cut along its first dimension at fixed places."""
    for name, array in arrays.items():
        rows = _rows_of(array, config.piece_bytes)
        cuts = range(0, max(1, len(array)), rows) if array.ndim else [0]
        for cut in cuts:
            yield to_payload({name: array[cut : cut + rows] if array.ndim else array}, config)


def _rows_of(array: Array, piece_bytes: int) -> int:
    row_bytes = array.nbytes // len(array) if array.ndim and len(array) else 0
    return max(1, piece_bytes // row_bytes) if row_bytes else max(1, len(array) if array.ndim else 1)


def sample(specs: Sequence[TensorSpec], rows: int, seed: int) -> dict[str, Array]:
    """Made-up inputs for a probe: numbers around 0 for floats, zeros for the rest.

    Args:
        specs: the signature.
        rows: extent of first dimensions that are free; others that are free get 2.
        seed: of the numbers.
    """
    chance, made = np.random.default_rng(seed), {}
    for spec in specs:
        shape = [(rows if place == 0 else 2) if extent < 0 else extent for place, extent in enumerate(spec.shape)]
        kind = np.dtype(TYPES[spec.data_type])
        made[spec.name] = chance.standard_normal(shape).astype(kind) if kind.kind == "f" else np.zeros(shape, kind)
    return made
