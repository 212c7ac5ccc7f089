"""What any folder that can be published says of itself, by the format that it names."""

from pathlib import Path

from tether.artifact.manifest import Facts
from tether.registry import decoder, tensor


def read_facts(folder: Path, model_id: str, version: str) -> Facts:
    """Return what a manifest says of a folder besides its files; blocks on the disk.

    Args:
        folder: of a decoder, or of a model of tensors.
        model_id: name to publish it by.
        version: MAJOR.MINOR.

    Raises:
        TetherError: UNSUPPORTED for another format, INVALID_FIELD for a folder that lacks something.
    """
    config = decoder.read_config(folder)
    if config.get("format") == tensor.FORMAT:
        return tensor.tensor_facts(folder, config, model_id, version)
    return decoder.decoder_facts(folder, config, model_id, version)
