"""What a folder of a model of tensors says of itself, and why it could not be served."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tether.artifact.manifest import Facts
from tether.errors import Reason, TetherError
from tether.registry.decoder import CONFIG, invalid_folder, part_file, to_message
from tether.v1 import registry_pb2 as pb
from tether.v1.infer_pb2 import Infer

FORMAT, FORMAT_VERSION = "onnx", 1
CAPABILITIES = ("tensors",)
TENSORS_MAX = 64  # as infer.proto says


def tensor_facts(folder: Path, config: Mapping[str, Any], model_id: str, version: str) -> Facts:
    """Return what a manifest says of a folder besides its files.

    Args:
        folder: with `config.json` and the graph that it names.
        config: its parsed `config.json`.
        model_id: name to publish it by.
        version: MAJOR.MINOR.

    Raises:
        TetherError: UNSUPPORTED for another version of the format, INVALID_FIELD for a folder that lacks something.
    """
    if config.get("format_version") != FORMAT_VERSION:
        text = f"The folder's format is {FORMAT} of another version; workers run version {FORMAT_VERSION}."
        raise TetherError(Reason.UNSUPPORTED, text, field="format")
    part_file(folder, config, "graph")
    for side in ("inputs", "outputs"):
        _check_signature(side, config.get(side))
    return Facts(
        model_id,
        version,
        FORMAT,
        requirements=to_message(pb.Requirements(), config, "requirements"),
        capabilities=CAPABILITIES,
        licence=str(config.get("license", config.get("licence", ""))),
    )


def _check_signature(side: str, specs: object) -> None:
    """Pass where inputs or outputs have names, types and shapes."""
    if not isinstance(specs, list) or not 1 <= len(specs) <= TENSORS_MAX:
        raise invalid_folder(f"{CONFIG} must list 1 to {TENSORS_MAX} {side}")
    for spec in specs:
        whole = isinstance(spec, dict) and isinstance(spec.get("name"), str) and isinstance(spec.get("shape"), list)
        if not whole or f"DATA_TYPE_{spec.get('data_type')}" not in Infer.DataType.keys():  # noqa: SIM118 - no mapping
            raise invalid_folder(f"{CONFIG}: each of its {side} must have a name, a data_type and a shape")
