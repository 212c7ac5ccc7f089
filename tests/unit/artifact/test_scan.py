"""Scanning a folder: every file once, nothing followed, nothing that runs."""

import hashlib
import os
import pickle

import pytest

from tether.artifact import scan
from tether.artifact.manifest import Limits
from tether.errors import Reason, TetherError

MIB = 1 << 20


def refusal(folder, limits=None):
    with pytest.raises(TetherError) as caught:
        scan.scan(folder, "onnx-decoder", limits or Limits())
    return caught.value


def test_scan_lists_every_file_with_digests(model):
    told = []
    files = scan.scan(model, "onnx-decoder", Limits(), lambda *args: told.append(args))
    assert [one.path for one in files] == ["config.json", "extra/card.md", "weights.int8.bin"]
    data = (model / "weights.int8.bin").read_bytes()
    weights = files[2]
    assert (weights.size_bytes, weights.sha256) == (len(data), hashlib.sha256(data).digest())
    assert weights.piece_sha256 == hashlib.sha256(data[:MIB]).digest() + hashlib.sha256(data[MIB:]).digest()
    assert told[-1] == ("weights.int8.bin", len(data), len(data))


def test_scan_link_is_refused(model):
    (model / "link.json").symlink_to("/etc/passwd")
    assert refusal(model).reason is Reason.INVALID_FIELD


def test_scan_link_to_a_folder_is_refused(model):
    (model / "linked").symlink_to("/etc")
    assert refusal(model).reason is Reason.INVALID_FIELD


def test_scan_pipe_is_refused_without_waiting(model):
    os.mkfifo(model / "pipe.json")
    assert refusal(model).reason is Reason.INVALID_FIELD


def test_scan_hidden_file_is_refused(model):
    (model / ".env").write_text("secret")
    assert refusal(model).reason is Reason.INVALID_FIELD


def test_scan_pickle_by_name_is_refused(model):
    (model / "weights.pt").write_bytes(b"x")
    assert "pickle" in refusal(model).message


def test_scan_pickle_by_content_is_refused(model):
    (model / "weights.int8.bin").write_bytes(pickle.dumps({"w": 1}))
    error = refusal(model)
    assert error.reason is Reason.UNSUPPORTED
    assert "weights.int8.bin is a pickle" in error.message


def test_scan_file_over_the_limit_is_refused(model):
    assert refusal(model, Limits(blob_bytes_max=MIB)).reason is Reason.TOO_LARGE


def test_scan_empty_folder_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    assert refusal(tmp_path / "empty").reason is Reason.INVALID_FIELD


def test_scan_missing_folder_says_so(tmp_path):
    assert refusal(tmp_path / "gone").reason is Reason.STATE_UNUSABLE


def test_open_file_refuses_what_became_a_link(model):
    (model / "card.md").symlink_to(model / "config.json")
    with pytest.raises(TetherError):
        scan.open_file(model / "card.md")
