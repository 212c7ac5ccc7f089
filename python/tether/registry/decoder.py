"""What a decoder folder says of itself, and why it could not be served.

`config.json` names the graph, the weights and the tokenizer; whatever is wrong is said before anything is sent.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

from google.protobuf import json_format

from tether.artifact.manifest import Facts
from tether.artifact.path import check_path
from tether.artifact.scan import open_file
from tether.errors import Reason, TetherError
from tether.rules.parameters import check_parameters
from tether.v1 import registry_pb2 as pb
from tether.v1.infer_pb2 import Infer

CONFIG = "config.json"
CONFIG_BYTES_MAX = 1 << 20  # a table of some thousand tensors
FORMAT, FORMAT_VERSION = "onnx-decoder", 1
# what the decoder engine does for every folder of this format
CAPABILITIES = ("text", "chat", "choices", "logprobs", "response-format")
PARTS = ("graph", "weights", "tokenizer")

M = TypeVar("M", Infer.Parameters, pb.Requirements)


def decoder_facts(folder: Path, config: Mapping[str, Any], model_id: str, version: str) -> Facts:
    """Return what a manifest says of a folder besides its files.

    Args:
        folder: as `make demo-model` writes it.
        config: its parsed `config.json`.
        model_id: name to publish it by.
        version: MAJOR.MINOR.

    Raises:
        TetherError: UNSUPPORTED for another format, INVALID_FIELD for a folder that lacks something.
    """
    found = (config.get("format"), config.get("format_version"))
    if found != (FORMAT, FORMAT_VERSION):
        text = f"The folder holds {found[0]!r} version {found[1]!r}; workers run {FORMAT} and onnx, version 1."
        raise TetherError(Reason.UNSUPPORTED, text, field="format")
    _check_parts(folder, config)
    context = config.get("context_tokens_max")
    if not isinstance(context, int) or isinstance(context, bool) or not 0 < context < 1 << 31:
        raise invalid_folder("context_tokens_max must be a number of tokens")
    return Facts(
        model_id,
        version,
        FORMAT,
        context_tokens=context,
        defaults=_defaults(config, context),
        requirements=to_message(pb.Requirements(), config, "requirements"),
        capabilities=_capabilities(config),
        licence=str(config.get("license", config.get("licence", ""))),
    )


def read_config(folder: Path) -> Mapping[str, Any]:
    """Return a folder's parsed `config.json`, whatever its format; TetherError INVALID_FIELD where it holds none."""
    if not (folder / CONFIG).exists():
        raise invalid_folder(f"{folder.name} has no {CONFIG}; it must be a folder as `make demo-model` writes it")
    with open_file(folder / CONFIG) as stream:
        raw = stream.read(CONFIG_BYTES_MAX + 1)
    try:
        config = json.loads(raw) if len(raw) <= CONFIG_BYTES_MAX else None
    except (ValueError, RecursionError) as error:
        raise invalid_folder(f"{CONFIG} is no JSON") from error
    if not isinstance(config, dict):
        raise invalid_folder(f"{CONFIG} must hold one object of at most {CONFIG_BYTES_MAX} bytes")
    return config


def _check_parts(folder: Path, config: Mapping[str, Any]) -> None:
    """Pass where the files that the engine loads are there."""
    for part in PARTS:
        part_file(folder, config, part)


def part_file(folder: Path, config: Mapping[str, Any], part: str) -> None:
    """Pass where a file that the engine loads is there; TetherError INVALID_FIELD where it is not."""
    file = config.get(part)
    if not isinstance(file, str) or "/" in file:
        raise invalid_folder(f"{CONFIG} must name the file of its {part}")
    if not (folder / check_path(file)).is_file():
        raise invalid_folder(f"{file}, its {part}, is missing")


def _defaults(config: Mapping[str, Any], context: int) -> Infer.Parameters:
    defaults = to_message(Infer.Parameters(), config, "defaults")
    check_parameters(defaults, context)
    return defaults


def _capabilities(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what it does; a folder may name fewer than its engine does."""
    named = config.get("capabilities", list(CAPABILITIES))
    if not isinstance(named, list) or not named or not set(map(str, named)) <= set(CAPABILITIES):
        raise invalid_folder(f"capabilities must be some of {', '.join(CAPABILITIES)}")
    return tuple(sorted(map(str, named)))


def to_message(empty: M, config: Mapping[str, Any], field: str) -> M:
    """Read a message from its JSON form; unset where the field is not there."""
    value = config.get(field, {})
    try:
        json_format.ParseDict(cast("dict[str, Any]", value), empty)
    except (json_format.ParseError, TypeError, AttributeError) as error:
        raise invalid_folder(f"{field} does not hold what it may: {str(error)[:200]}") from error
    return empty


def invalid_folder(what: str) -> TetherError:
    """An error about a folder that cannot be published."""
    return TetherError(Reason.INVALID_FIELD, f"The folder cannot be served: {what}.", field="folder")
