"""Opens models by the format of their manifest: fetched and verified by the loader, run by onnxruntime.

Imported only where such models are served, so that a worker without onnxruntime still starts.
"""

import asyncio
from dataclasses import replace
from pathlib import Path

import structlog

from tether.errors import Reason, TetherError
from tether.v1 import registry_pb2
from tether_worker.config import Config
from tether_worker.engine.format import FORMAT as DECODER
from tether_worker.engine.format import format_of
from tether_worker.engine.onnx_decoder import OnnxDecoder
from tether_worker.engine.onnx_tensor import OnnxTensors
from tether_worker.engine.runtime import ModelRuntime
from tether_worker.engine.tensor_format import FORMAT as TENSORS
from tether_worker.loader.loader import ModelLoader

EXPANSION = {DECODER: 4, TENSORS: 1}  # int8 on disk is f32 in memory
_log = structlog.get_logger("tether.worker")


class OnnxOpener:
    """Opens decoders and models of tensors.

    Args:
        config: settings.
        loader: brings verified folders.
    """

    def __init__(self, config: Config, loader: ModelLoader) -> None:
        self._config = config
        self._loader = loader
        self._opened = False

    async def open(self, model: registry_pb2.Model) -> tuple[ModelRuntime, int]:
        """The runtime of a version, and the bytes of memory that it takes.

        Raises:
            TetherError: what kept the loader or the engine.
        """
        if model.format not in EXPANSION:
            raise TetherError(Reason.UNSUPPORTED, f"This worker does not run the format {model.format}.")
        if not self._opened:
            await self._loader.open()
            self._opened = True
        folder = await self._loader.load(model)
        try:
            runtime = await asyncio.to_thread(open_folder, folder, self._config)
        except BaseException:
            self._loader.release(model.digest)
            raise
        return runtime, model.total_bytes * EXPANSION[model.format]

    async def close(self) -> None:
        """End what is being fetched."""
        await self._loader.close()


def open_folder(folder: Path, config: Config) -> ModelRuntime:
    """The runtime of a folder, by the format that it names; blocks while it loads and probes.

    Raises:
        TetherError: ARTIFACT_CORRUPT, ENGINE_FAILED.
    """
    if format_of(folder) == TENSORS:
        return OnnxTensors(folder, slots=config.slots, threads=config.threads)
    decoder = OnnxDecoder(folder, slots=config.slots, threads=config.threads, chunk_tokens=config.prefill_chunk)
    if config.step_delay_ms:
        decoder.config = replace(decoder.config, step_delay_ms=config.step_delay_ms)
    return decoder
