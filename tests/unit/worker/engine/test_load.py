"""Folders that are whole load; others are refused with a typed error."""

import json
import subprocess
import sys

import numpy as np
import pytest

from tether.errors import Reason, TetherError
from tether.testing.tiny_model import write_tiny_decoder
from tether_worker.engine.format import TensorEntry, model_digest, read_config, read_limited
from tether_worker.engine.load import check_provider, dequantised
from tether_worker.engine.onnx_decoder import OnnxDecoder


@pytest.fixture
def folder(tmp_path):
    return write_tiny_decoder(tmp_path)


def edit(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def refused(folder) -> Reason:
    with pytest.raises(TetherError) as error:
        OnnxDecoder(folder)
    return error.value.reason


def test_tiny_decoder_is_small_and_the_same_every_time(folder, tmp_path):
    other = write_tiny_decoder(tmp_path / "other")
    assert sum(path.stat().st_size for path in other.iterdir()) < 200_000
    assert all((folder / path.name).read_bytes() == path.read_bytes() for path in other.iterdir())


def test_digest_changes_with_any_file(folder):
    before = model_digest(folder, read_config(folder).files)
    with (folder / "weights.int8.bin").open("r+b") as file:
        file.write(b"\x01")
    assert model_digest(folder, read_config(folder).files) != before


@pytest.mark.parametrize("name", ["config.json", "model.onnx", "weights.int8.bin", "tokenizer.json"])
def test_missing_file_is_refused(folder, name):
    (folder / name).unlink()
    assert refused(folder) is Reason.ARTIFACT_CORRUPT


@pytest.mark.parametrize("name", ["config.json", "model.onnx", "weights.int8.bin", "tokenizer.json"])
def test_cut_off_file_is_refused(folder, name):
    data = (folder / name).read_bytes()
    (folder / name).write_bytes(data[: len(data) // 2])
    assert refused(folder) is Reason.ARTIFACT_CORRUPT


@pytest.mark.parametrize(
    "changes",
    [
        {"format": "pickle"}, {"format_version": 2}, {"tensors": [{}]}, {"chat": None}, {"vocab_tokens": 10},
        {"weights": "../weights.int8.bin"}, {"graph": "/etc/passwd"},
    ],
)  # fmt: skip
def test_config_that_is_wrong_is_refused(folder, changes):
    edit(folder, **changes)
    assert refused(folder) is Reason.ARTIFACT_CORRUPT


def test_config_that_is_no_object_is_refused(folder):
    (folder / "config.json").write_text("[]")
    assert refused(folder) is Reason.ARTIFACT_CORRUPT


def test_file_over_the_limit_is_refused(folder):
    with pytest.raises(TetherError):
        read_limited(folder, "tokenizer.json", 10)


def test_dequantised_multiplies_by_the_scale_of_its_channel():
    raw = np.array([1, -2, 3, 4], np.int8).tobytes() + np.array([0.5, 2], "<f4").tobytes()
    by_column = TensorEntry("w", (2, 2), "int8", 1, 0, 4)
    by_row = TensorEntry("w", (2, 2), "int8", 0, 0, 4)
    assert dequantised(raw, by_column).tolist() == [[0.5, -4], [1.5, 8]]
    assert dequantised(raw, by_row).tolist() == [[0.5, -1], [6, 8]]


def test_provider_that_is_not_there_is_refused(folder):
    with pytest.raises(TetherError) as error:
        OnnxDecoder(folder, provider="CUDAExecutionProvider")
    assert error.value.reason is Reason.ENGINE_FAILED


def test_session_that_fell_back_to_another_provider_is_refused():
    check_provider("CUDAExecutionProvider", ["CUDAExecutionProvider", "CPUExecutionProvider"])
    with pytest.raises(TetherError):
        check_provider("CUDAExecutionProvider", ["CPUExecutionProvider"])


def test_telemetry_is_off_before_onnxruntime_is_imported():
    script = """
import os, sys
class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == "onnxruntime":
            seen.append(os.environ.get("ORT_DISABLE_TELEMETRY"))
seen = []
sys.meta_path.insert(0, Watch())
import tether_worker.engine.onnx_decoder
sys.exit(0 if seen == ["1"] else 1)
"""
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
