"""The decoder folder: the files in which a generating model is stored, pushed and loaded.

`config.json` tells architecture, markers and where each weight lies; `model.onnx` is the graph without weights;
`weights.int8.bin` holds int8 values with one f32 scale per output channel (and small tensors as f32);
`tokenizer.json` is the tokenizer. Other files in the folder (model card, examples) do not change what is computed.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tether.errors import Reason, TetherError

FORMAT = "onnx-decoder"
FORMAT_VERSION = 1
CONFIG_BYTES_MAX = 1 << 20  # a table of some thousand tensors
GRAPH_BYTES_MAX = 64 << 20  # a graph without weights is small
WEIGHTS_BYTES_MAX = 8 << 30  # a guess: what one CPU worker can sensibly hold
TOKENIZER_BYTES_MAX = 64 << 20  # the largest known ones are near 20 MB


@dataclass(frozen=True, slots=True)
class TensorEntry:
    """Where one weight lies in the weights file.

    Attributes:
        name: the graph's initializer.
        shape: extents.
        kind: `int8` or `f32`.
        axis: for int8, the axis that has one scale per index.
        offset: first byte of the values.
        scale_offset: for int8, first byte of the f32 scales.
    """

    name: str
    shape: tuple[int, ...]
    kind: str
    axis: int
    offset: int
    scale_offset: int


@dataclass(frozen=True, slots=True)
class ChatMarks:
    """How a conversation becomes tokens.

    Attributes:
        begin: marker before everything.
        roles: per role the markers before and after a turn.
        answer: marker that asks for an answer.
        roles_ignored: roles that are accepted and left out.
        turns_kept_max: newest turns that are kept; 0 keeps all.
    """

    begin: str
    roles: Mapping[str, tuple[str, str]]
    answer: str
    roles_ignored: frozenset[str]
    turns_kept_max: int


@dataclass(frozen=True, slots=True)
class DecoderConfig:
    """What `config.json` says; sizes in elements, tokens as ids."""

    name: str
    version: str
    precision: str
    vocab_tokens: int
    layers: int
    kv_heads: int
    head: int
    context_tokens_max: int
    prefill_chunk_tokens: int
    end_tokens: frozenset[int]
    chat: ChatMarks
    text_is_turn: bool
    step_delay_ms: float
    tensors: tuple[TensorEntry, ...]
    graph: str
    weights: str
    tokenizer: str

    @property
    def files(self) -> tuple[str, ...]:
        """The files that decide what is computed."""
        return ("config.json", self.graph, self.weights, self.tokenizer)


def corrupt(what: str) -> TetherError:
    """An error about a folder that cannot be used."""
    return TetherError(Reason.ARTIFACT_CORRUPT, f"the model's folder is unusable: {what}")


def read_limited(folder: Path, name: str, bytes_max: int) -> bytes:
    """Reads one file of a folder.

    Raises:
        TetherError: ARTIFACT_CORRUPT when it is missing, too large, or not a plain name.
    """
    if Path(name).name != name:
        raise corrupt(f"{name!r} is not a plain file name")
    try:
        size = (folder / name).stat().st_size
        if size > bytes_max:
            raise corrupt(f"{name} has {size} bytes, more than {bytes_max}")
        return (folder / name).read_bytes()
    except OSError as error:
        raise corrupt(f"{name} cannot be read") from error


def _chat(raw: Mapping[str, Any]) -> ChatMarks:
    return ChatMarks(
        begin=raw["begin"],
        roles={role: (before, after) for role, (before, after) in raw["roles"].items()},
        answer=raw["answer"],
        roles_ignored=frozenset(raw["roles_ignored"]),
        turns_kept_max=raw["turns_kept_max"],
    )


def _tensor(raw: Mapping[str, Any]) -> TensorEntry:
    return TensorEntry(
        raw["name"], tuple(raw["shape"]), raw["kind"], raw.get("axis", 0), raw["offset"], raw.get("scale_offset", 0)
    )


def parse_config(raw: Mapping[str, Any]) -> DecoderConfig:
    """Turns the parsed JSON into a config.

    Raises:
        TetherError: ARTIFACT_CORRUPT for another format or a missing field.
    """
    if raw.get("format") != FORMAT or raw.get("format_version") != FORMAT_VERSION:
        raise corrupt(f"it is not {FORMAT} version {FORMAT_VERSION}")
    try:
        return DecoderConfig(
            name=raw["name"],
            version=raw["version"],
            precision=raw["precision"],
            vocab_tokens=raw["vocab_tokens"],
            layers=raw["layers"],
            kv_heads=raw["kv_heads"],
            head=raw["head"],
            context_tokens_max=raw["context_tokens_max"],
            prefill_chunk_tokens=raw["prefill_chunk_tokens"],
            end_tokens=frozenset(raw["end_tokens"]),
            chat=_chat(raw["chat"]),
            text_is_turn=raw["text_is_turn"],
            step_delay_ms=raw.get("step_delay_ms", 0),
            tensors=tuple(_tensor(entry) for entry in raw["tensors"]),
            graph=raw["graph"],
            weights=raw["weights"],
            tokenizer=raw["tokenizer"],
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise corrupt("config.json lacks a field or has one of the wrong type") from error


def read_json(folder: Path) -> Mapping[str, Any]:
    """Reads `config.json`, whatever its format.

    Raises:
        TetherError: ARTIFACT_CORRUPT.
    """
    try:
        raw = json.loads(read_limited(folder, "config.json", CONFIG_BYTES_MAX))
    except (ValueError, RecursionError) as error:
        raise corrupt("config.json is not JSON") from error
    if not isinstance(raw, dict):
        raise corrupt("config.json is not an object")
    return raw


def format_of(folder: Path) -> str:
    """The format that a folder names; TetherError ARTIFACT_CORRUPT where it cannot be read."""
    return str(read_json(folder).get("format"))


def read_config(folder: Path) -> DecoderConfig:
    """Reads `config.json`.

    Raises:
        TetherError: ARTIFACT_CORRUPT.
    """
    return parse_config(read_json(folder))


def model_digest(folder: Path, files: Sequence[str]) -> str:
    """SHA-256, in hex, over names and contents of the files that decide what is computed."""
    digest = hashlib.sha256()
    for name in files:
        with (folder / name).open("rb") as file:
            inner = hashlib.file_digest(file, "sha256").hexdigest()
        digest.update(f"{name}\n{inner}\n".encode())
    return digest.hexdigest()
