"""Paths and kinds of files that an artifact may hold."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tether.artifact.path import check_content, check_kind, check_path, check_paths
from tether.errors import Reason, TetherError

GOOD = ["config.json", "model.onnx", "a/b/c.json", "weights-00001-of-00002.safetensors", "_x", "-x", "A.b.c"]
BAD = [
    *["", "/", "/etc/passwd", "..", "../x", "a/../b", "a/..", "./a", "a/./b", "a//b", "a/", ".hidden", "a/.git/x"],
    *["a\0b", "a\nb", "a\rb", "a b", "a\\b", "C:/x", "c:x", "http://x/y", "~/x", "$HOME", "ä.json", "a.", "a./b"],
    *["con", "NUL.json", "aux.onnx", "x/com1.json", "a" * 256, "/".join("a" * 9), "a\u2044b", "a%2fb", "\u202eb"],
]


@pytest.mark.parametrize("path", GOOD)
def test_path_of_plain_segments_passes(path):
    assert check_path(path) == path


@pytest.mark.parametrize("path", BAD)
def test_path_of_anything_else_is_refused(path):
    with pytest.raises(TetherError) as caught:
        check_path(path)
    assert caught.value.reason is Reason.INVALID_FIELD


@given(st.text(max_size=40))
def test_path_that_passes_stays_in_its_folder(path):
    try:
        check_path(path)
    except TetherError:
        return
    assert path.isascii()
    assert not path.startswith(("/", "."))
    assert ".." not in path.split("/")


@pytest.mark.parametrize(
    "paths", [["a.json", "A.json"], ["x/a.json", "X/A.JSON"], ["a", "a/b"], ["a/b", "A"], ["a", "a"]]
)
def test_paths_that_are_one_file_somewhere_are_refused(paths):
    with pytest.raises(TetherError):
        check_paths(paths)
    with pytest.raises(TetherError):
        check_paths(reversed(paths))


def test_paths_in_folders_of_like_names_pass():
    check_paths(["a/b.json", "ab/b.json", "a-b.json", "a/c/d.json"])


@pytest.mark.parametrize(
    "path",
    ["w.pkl", "w.pt", "w.pth", "w.PKL", "w.ckpt", "w.npz", "pytorch_model.bin", "x.py", "run.sh", "noext", "a.so"],
)
def test_kind_that_runs_code_or_is_unknown_is_refused(path):
    with pytest.raises(TetherError) as caught:
        check_kind("safetensors", path)
    assert caught.value.reason is Reason.UNSUPPORTED


def test_kind_of_a_decoder_folder_passes():
    for path in ("config.json", "model.onnx", "weights.int8.bin", "tokenizer.json", "README.md", "LICENSE"):
        check_kind("onnx-decoder", path)


def test_kind_of_unknown_format_names_the_known():
    with pytest.raises(TetherError, match="onnx-decoder") as caught:
        check_kind("gguf", "a.json")
    assert caught.value.reason is Reason.UNSUPPORTED


def test_content_of_a_pickle_is_refused_whatever_its_name():
    import pickle

    for protocol in (2, 3, 4, 5):
        data = pickle.dumps({"a": [1, 2]}, protocol)
        with pytest.raises(TetherError, match="pickle"):
            check_content("weights.int8.bin", data[:4], data[-1:])


def test_content_of_a_zip_is_refused():
    with pytest.raises(TetherError, match="pickle"):
        check_content("weights.int8.bin", b"PK\x03\x04", b"\0")


@pytest.mark.parametrize(
    ("head", "tail"), [(b"", b""), (b"{", b"}"), (b"\x08\x0a\x12\x00", b"\x0d"), (b"\x80\x04ab", b"x")]
)
def test_content_of_other_files_passes(head, tail):
    check_content("model.onnx", head, tail)
