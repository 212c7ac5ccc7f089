"""Which paths and files an artifact may hold, decided before any file is touched.

A path that leaves its folder, names a device, or means another file on another machine (letter case) is refused; so is
a file that runs code when it is loaded.
Source: CWE-22 (path traversal); CWE-502 and Python's `pickle` documentation ("never unpickle data from others").
"""

import re
from collections.abc import Collection, Iterable, Mapping

from tether.errors import Reason, TetherError

PATH_BYTES_MAX = 255  # as the manifest says; the limit of a file name everywhere
DEPTH_MAX = 8  # folders in folders; no model format needs more than two

_SEGMENT = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")
_DEVICES = frozenset({"con", "prn", "aux", "nul", *(f"{kind}{n}" for kind in ("com", "lpt") for n in range(10))})
_WORDS = frozenset({".json", ".txt", ".md", ".jinja"})

FORMATS: Mapping[str, frozenset[str]] = {
    "onnx-decoder": _WORDS | {".onnx", ".bin"},
    "onnx": _WORDS | {".onnx", ".data", ".onnx_data"},
    "safetensors": _WORDS | {".safetensors"},
    "tensorrt-plan": _WORDS | {".plan", ".engine"},
    "adapter": _WORDS | {".safetensors", ".onnx_adapter"},
}
_NO_SUFFIX = frozenset({"LICENSE", "LICENCE", "NOTICE", "README"})
_PICKLES = frozenset({".pkl", ".pickle", ".pt", ".pth", ".ckpt", ".joblib", ".dill", ".npy", ".npz", ".h5", ".keras"})


def check_path(path: str) -> str:
    """Return `path` if it is a relative path of plain segments.

    Raises:
        TetherError: INVALID_FIELD, for anything else: absolute, `..`, hidden, NUL, backslash, device names.
    """
    segments = path.split("/")
    plain = all(_SEGMENT.fullmatch(one) and not one.endswith(".") for one in segments)
    if len(path) > PATH_BYTES_MAX or len(segments) > DEPTH_MAX or not plain:
        raise _refusal(path, "must be relative: letters, digits, dots, underscores and hyphens between slashes")
    if any(one.partition(".")[0].lower() in _DEVICES for one in segments):
        raise _refusal(path, "names a device on some systems")
    return path


def check_paths(paths: Iterable[str]) -> None:
    """Pass where each path is plain and no two are one file on a system that ignores case.

    Raises:
        TetherError: INVALID_FIELD, naming the path.
    """
    seen: set[str] = set()
    folders: set[str] = set()
    for path in paths:
        folded = check_path(path).lower()
        parents = _parents(folded)
        if folded in seen or folded in folders or seen & parents:
            raise _refusal(path, "is the same as another path where case does not count, or lies in a file")
        seen.add(folded)
        folders |= parents


def check_kind(format_name: str, path: str) -> None:
    """Pass where a format may hold a file of this name.

    Raises:
        TetherError: UNSUPPORTED, for an unknown format, a pickle, or a file that the format has no use for.
    """
    allowed = FORMATS.get(format_name)
    if allowed is None:
        known = ", ".join(sorted(FORMATS))
        raise TetherError(Reason.UNSUPPORTED, f"Format {format_name[:40]!a} is unknown; known are {known}.")
    file = path.rpartition("/")[2]
    suffix = "." + file.rpartition(".")[2].lower() if "." in file else ""
    if suffix in _PICKLES or (suffix == ".bin" and suffix not in allowed):
        raise _pickle(path)
    if suffix not in allowed and file not in _NO_SUFFIX:
        raise TetherError(Reason.UNSUPPORTED, f"A model of format {format_name} holds no file like {path}.")


def check_content(path: str, head: bytes, tail: bytes) -> None:
    """Pass where a file is no pickle, whatever its name says.

    Args:
        path: the file, for the message.
        head: its first bytes, at least 4 of them where it has so many.
        tail: its last byte.

    Raises:
        TetherError: UNSUPPORTED.
    """
    framed = head[:1] == b"\x80" and head[1:2] in _PROTOCOLS and tail == b"."
    zipped = head[:4] == b"PK\x03\x04"  # what torch.save writes: a zip around a pickle
    if framed or zipped:
        raise _pickle(path)


_PROTOCOLS: Collection[bytes] = frozenset(bytes([number]) for number in range(2, 6))


def _parents(path: str) -> set[str]:
    """Return the folders that a path lies in."""
    segments = path.split("/")
    return {"/".join(segments[:depth]) for depth in range(1, len(segments))}


def _pickle(path: str) -> TetherError:
    text = f"{path} is a pickle, which runs code when it is loaded; convert it to safetensors or ONNX."
    return TetherError(Reason.UNSUPPORTED, text, field="files")


def _refusal(path: str, rule: str) -> TetherError:
    return TetherError(Reason.INVALID_FIELD, f"Path {path[:80]!a} {rule}.", field="files")
