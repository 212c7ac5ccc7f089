"""Folders of models of tensors: what a manifest says of them, and what cannot be published."""

import json

import pytest

from tether.errors import Reason, TetherError
from tether.registry.folder import read_facts
from tether.testing.tiny_tensor import write_tiny_tensors


def test_folder_of_tensors_is_described(tmp_path):
    facts = read_facts(write_tiny_tensors(tmp_path), "embedder", "1.0")
    assert (facts.model_id, facts.format, facts.capabilities) == ("embedder", "onnx", ("tensors",))
    assert facts.context_tokens == 0


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"format_version": 2}, Reason.UNSUPPORTED), ({"format": "onyx"}, Reason.UNSUPPORTED),
        ({"graph": "missing.onnx"}, Reason.INVALID_FIELD), ({"graph": "../model.onnx"}, Reason.INVALID_FIELD),
        ({"inputs": []}, Reason.INVALID_FIELD), ({"outputs": None}, Reason.INVALID_FIELD),
        ({"inputs": [{"name": "x", "shape": [1]}]}, Reason.INVALID_FIELD),
        ({"inputs": [{"name": "x", "data_type": "FP31", "shape": [1]}]}, Reason.INVALID_FIELD),
    ],
)  # fmt: skip
def test_folder_that_lacks_something_is_refused(tmp_path, change, reason):
    folder = write_tiny_tensors(tmp_path)
    config = json.loads((folder / "config.json").read_text()) | change
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(TetherError) as refused:
        read_facts(folder, "embedder", "1.0")
    assert refused.value.reason is reason
