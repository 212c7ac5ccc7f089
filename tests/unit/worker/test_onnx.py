"""Folders are opened by the format that they name."""

import pytest

from tether.errors import Reason, TetherError
from tether.testing.tiny_model import write_tiny_decoder
from tether.testing.tiny_tensor import write_tiny_tensors
from tether_worker.config import Config
from tether_worker.engine.onnx_decoder import OnnxDecoder
from tether_worker.engine.onnx_tensor import OnnxTensors
from tether_worker.onnx import open_folder


def config(tmp_path, **settings) -> Config:
    return Config(state=tmp_path, slots=2, **settings)


def test_decoder_is_opened_and_its_cuts_are_part_of_its_fingerprint(tmp_path):
    folder = write_tiny_decoder(tmp_path / "decoder")
    plain = open_folder(folder, config(tmp_path))
    assert isinstance(plain, OnnxDecoder)
    assert plain.fingerprint == open_folder(folder, config(tmp_path, prefill_chunk=32)).fingerprint  # the folder's own
    assert plain.fingerprint != open_folder(folder, config(tmp_path, prefill_chunk=8)).fingerprint


def test_tensors_are_opened(tmp_path):
    assert isinstance(open_folder(write_tiny_tensors(tmp_path / "tensors"), config(tmp_path)), OnnxTensors)


@pytest.mark.parametrize("text", ["", "[]", '{"format":"onyx"}', '{"a":' * 5_000])
def test_folder_of_no_known_format_is_refused(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(TetherError) as refused:
        open_folder(tmp_path, config(tmp_path))
    assert refused.value.reason is Reason.ARTIFACT_CORRUPT
