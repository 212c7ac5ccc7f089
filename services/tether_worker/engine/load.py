"""Loads a decoder folder into an onnxruntime session.

Weights are int8 on disk and f32 in memory: multiplied by their scales once, at load. Kernels that compute in int8
quantise activations over the whole batch, so that one tenant's neighbours change its text; f32 rows do not see each
other. The weights are handed over as constant initializers, because only those are packed ahead, and packed
weights use the same kernels for one row as for many.
Source: measurements on onnxruntime 1.31, CPU provider.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tether.errors import Reason, TetherError
from tether_worker.engine.format import (
    GRAPH_BYTES_MAX,
    WEIGHTS_BYTES_MAX,
    DecoderConfig,
    TensorEntry,
    corrupt,
    read_limited,
)
from tether_worker.engine.ort import ort

SUPPRESS_BELOW_ERROR = 3  # onnxruntime's log level: errors come back as exceptions anyway


def _cut(raw: bytes, offset: int, shape: tuple[int, ...], kind: str) -> NDArray[Any]:
    """A view of one array in the weights file."""
    count = int(np.prod(shape))
    dtype = np.dtype(kind)
    if offset < 0 or offset + count * dtype.itemsize > len(raw):
        raise corrupt("a weight lies outside the weights file")
    return np.frombuffer(raw, dtype, count, offset).reshape(shape)


def dequantised(raw: bytes, entry: TensorEntry) -> NDArray[np.float32]:
    """Rebuilds one weight as f32.

    Raises:
        TetherError: ARTIFACT_CORRUPT.
    """
    if entry.kind == "f32":
        return np.array(_cut(raw, entry.offset, entry.shape, "<f4"), np.float32)
    if entry.kind != "int8" or entry.axis not in range(len(entry.shape)):
        raise corrupt(f"weight {entry.name} has an unknown kind")
    scales = _cut(raw, entry.scale_offset, (entry.shape[entry.axis],), "<f4")
    along = tuple(-1 if axis == entry.axis else 1 for axis in range(len(entry.shape)))
    values: NDArray[np.float32] = _cut(raw, entry.offset, entry.shape, "i1").astype(np.float32)
    values *= scales.reshape(along)
    return values


def load_weights(folder: Path, config: DecoderConfig) -> dict[str, NDArray[np.float32]]:
    """Rebuilds all weights as f32, by name.

    Raises:
        TetherError: ARTIFACT_CORRUPT.
    """
    raw = read_limited(folder, config.weights, WEIGHTS_BYTES_MAX)
    return {entry.name: dequantised(raw, entry) for entry in config.tensors}


def session_options(threads: int) -> Any:  # noqa: ANN401  (onnxruntime has no types)
    """Options under which rows are bit-equal: sequential, a fixed number of threads; no spinning."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = SUPPRESS_BELOW_ERROR
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def check_provider(asked: str, given: list[str]) -> None:
    """Refuses a session that runs elsewhere than asked: onnxruntime falls back to the CPU without a word.

    Raises:
        TetherError: ENGINE_FAILED.
    """
    if not given or given[0] != asked:
        raise TetherError(Reason.ENGINE_FAILED, f"onnxruntime gave {given[:1]} where {asked} was asked")


def build_session(folder: Path, config: DecoderConfig, provider: str, threads: int) -> Any:  # noqa: ANN401
    """Builds the session.

    Args:
        folder: the decoder folder.
        config: its config.
        provider: execution provider, such as `CPUExecutionProvider`.
        threads: threads inside one operator.

    Raises:
        TetherError: ARTIFACT_CORRUPT, or ENGINE_FAILED when the provider is not to be had.
    """
    weights = load_weights(folder, config)
    options = session_options(threads)
    options.add_external_initializers(
        list(weights), [ort.OrtValue.ortvalue_from_numpy(value) for value in weights.values()]
    )
    graph = read_limited(folder, config.graph, GRAPH_BYTES_MAX)
    if provider not in ort.get_available_providers():
        raise TetherError(Reason.ENGINE_FAILED, f"this onnxruntime has no {provider}")
    try:
        session = ort.InferenceSession(graph, options, providers=[provider])
    except Exception as error:  # onnxruntime's errors share no narrower class
        raise corrupt("onnxruntime refuses the graph") from error
    check_provider(provider, session.get_providers())
    return session
