"""One decoder session with its key-value cache: feeds tokens to rows and gives logits back.

The cache is one block of memory in which row r of every layer belongs to one sequence; past and present are the same
memory, so a step writes one position and copies nothing. Rows that decode together must lie side by side from row 0,
so a sequence may move to another row: its bytes are copied, and no bit of its future changes.
Bindings are made once per shape, on fixed buffers.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tether_worker.engine.format import DecoderConfig
from tether_worker.engine.load import build_session

Logits = NDArray[np.float32]
BINDINGS_MAX = 256  # (rows + chunk sizes) of ordinary settings stay far below


@dataclass(slots=True)
class Buffers:
    """Fixed memory that a binding points to."""

    tokens: NDArray[np.int64]
    seqlens: NDArray[np.int32]
    total: NDArray[np.int32]
    logits: Logits


class DecoderSession:
    """Runs a decoder on rows of a shared cache.

    Args:
        folder: the decoder folder.
        config: its config.
        rows: rows of the cache.
        provider: execution provider.
        threads: threads inside one operator.
    """

    def __init__(self, folder: Path, config: DecoderConfig, rows: int, provider: str, threads: int) -> None:
        self._config = config
        self._session: Any = build_session(folder, config, provider, threads)
        shape = (2 * config.layers, rows, config.kv_heads, config.context_tokens_max, config.head)
        self._cache = np.zeros(shape, np.float32)
        self._decode: dict[int, tuple[Any, Buffers]] = {}
        self._feed: dict[tuple[int, int], tuple[Any, Buffers]] = {}

    @property
    def cache_bytes(self) -> int:
        """Memory of the key-value cache."""
        return int(self._cache.nbytes)

    def decode(self, tokens: list[int], lengths: list[int]) -> Logits:
        """Feeds one token to each of the rows 0, 1, 2 and so on.

        Args:
            tokens: one token per row.
            lengths: tokens that each row holds already.

        Returns:
            [rows, vocab] logits; valid until the next call.
        """
        count = len(tokens)
        if count not in self._decode:
            self._decode[count] = self._bind(0, count, 1)
        binding, buffers = self._decode[count]
        buffers.tokens[:, 0] = tokens
        buffers.seqlens[:] = lengths
        buffers.total[...] = max(lengths) + 1
        self._session.run_with_iobinding(binding)
        return buffers.logits

    def feed(self, row: int, tokens: list[int], length: int) -> Logits:
        """Feeds a piece of a prompt to one row.

        Args:
            row: which.
            tokens: the piece, at least one token.
            length: tokens that the row holds already.

        Returns:
            [1, vocab] logits after the last token; valid until the next call.
        """
        key = (row, len(tokens))
        if key not in self._feed:
            if len(self._feed) >= BINDINGS_MAX:
                self._feed.clear()
            self._feed[key] = self._bind(row, 1, len(tokens))
        binding, buffers = self._feed[key]
        buffers.tokens[0, :] = tokens
        buffers.seqlens[0] = length + len(tokens) - 1
        buffers.total[...] = length + len(tokens)
        self._session.run_with_iobinding(binding)
        return buffers.logits

    def move(self, source: int, target: int, length: int) -> None:
        """Copies a row's first `length` positions to another row."""
        self._cache[:, target, :, :length] = self._cache[:, source, :, :length]

    def swap(self, one: int, other: int, length: int) -> None:
        """Exchanges the first `length` positions of two rows."""
        kept = self._cache[:, one, :, :length].copy()
        self.move(other, one, length)
        self._cache[:, other, :, :length] = kept

    def _bind(self, row: int, count: int, length: int) -> tuple[Any, Buffers]:
        """Binds `count` rows from `row` on for calls of `length` tokens each."""
        config = self._config
        buffers = Buffers(
            np.zeros((count, length), np.int64),
            np.zeros(count, np.int32),
            np.zeros((), np.int32),
            np.zeros((count, config.vocab_tokens), np.float32),
        )
        binding = self._session.io_binding()
        inputs: dict[str, NDArray[Any]] = {
            "tokens": buffers.tokens,
            "seqlens_k": buffers.seqlens,
            "total_tokens": buffers.total,
        }
        for name, array in inputs.items():
            binding.bind_input(name, "cpu", 0, array.dtype.type, list(array.shape), array.ctypes.data)
        shape = [count, config.kv_heads, config.context_tokens_max, config.head]
        for index in range(2 * config.layers):
            name, address = f"{('key', 'value')[index % 2]}.{index // 2}", self._cache[index, row].ctypes.data
            binding.bind_input(f"past_{name}", "cpu", 0, np.float32, shape, address)
            binding.bind_output(f"present_{name}", "cpu", 0, np.float32, shape, address)
        binding.bind_output("logits", "cpu", 0, np.float32, list(buffers.logits.shape), buffers.logits.ctypes.data)
        return binding, buffers
