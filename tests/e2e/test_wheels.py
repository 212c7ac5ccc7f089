"""Both wheels, installed into an empty environment, start a region that streams an answer."""

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = sysconfig.get_path("scripts")
BUILD_S = 600  # the shipped profile links everything at once
RUN_S = 120

pytestmark = pytest.mark.timeout(BUILD_S + 2 * RUN_S)


def run(*command: str | Path, limit_s: float = RUN_S, folder: Path = ROOT) -> str:
    """Run a command without this checkout's environment and return what it printed."""
    environ = {key: value for key, value in os.environ.items() if not key.startswith(("TETHER_", "PYTHON", "VIRTUAL_"))}
    words = [str(word) for word in command]
    environ["PATH"] = os.pathsep.join([SCRIPTS, environ["PATH"]])
    done = subprocess.run(words, cwd=folder, env=environ, capture_output=True, text=True, timeout=limit_s, check=False)
    assert done.returncode == 0, f"{' '.join(words[:4])} …\n{done.stdout[-3_000:]}\n{done.stderr[-3_000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Build both wheels, as `make wheels` does."""
    out = tmp_path_factory.mktemp("dist")
    for source in (ROOT, ROOT / "services"):
        run(
            "uv",
            "build",
            "-q",
            "--wheel",
            "--no-build-isolation",
            "-p",
            sys.executable,
            "-o",
            out,
            source,
            limit_s=BUILD_S,
        )
    return sorted(out.glob("*.whl"))


@pytest.fixture(scope="module")
def venv(wheels: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install them, with what they say they need, into an empty environment."""
    folder = tmp_path_factory.mktemp("empty") / "venv"
    run("uv", "venv", "-q", "-p", sys.executable, folder)
    names = [f"{wheel}[onnx]" if "services" in wheel.name else str(wheel) for wheel in wheels]
    python = folder / "bin" / "python"
    run("uv", "pip", "install", "-q", "-p", python, "-c", ROOT / "constraints.txt", *names, limit_s=BUILD_S)
    return folder


def test_two_wheels_are_built(wheels: list[Path]) -> None:
    assert [wheel.name.partition("-")[0] for wheel in wheels] == ["tether_mesh", "tether_mesh_services"]
    assert "-cp311-abi3-" in wheels[0].name


def test_wheels_hold_what_they_must_and_nothing_of_the_builder(wheels: list[Path]) -> None:
    library, services = (zipfile.ZipFile(wheel) for wheel in wheels)
    with library, services:
        names, more = set(library.namelist()), set(services.namelist())
        assert {"tether/__init__.py", "tether/py.typed", "tether/_native.pyi", "tether/v1/infer_pb2.pyi"} <= names
        assert any(name.startswith("tether/_native.") and name.endswith(".so") for name in names)
        assert "tether_worker/demo/config.json" in more
        assert not any(name.startswith(("tests/", "bench/", "tools/")) for name in names | more)
        for archive in (library, services):
            for name in archive.namelist():
                assert str(ROOT).encode() not in archive.read(name), name


def test_command_says_its_version(venv: Path, tmp_path: Path) -> None:
    assert run(venv / "bin" / "tether", "--version", folder=tmp_path).split()[-1] == "0.1.0"


def test_region_of_the_wheels_streams_an_answer_and_ends(venv: Path, tmp_path: Path) -> None:
    ports = ("--gateway-port", "0", "--bridge-port", "0", "--metrics-port", "0")
    printed = run(venv / "bin" / "tether", "up", "--once", "--state", tmp_path / "state", *ports, folder=tmp_path)
    assert "Tether is up" in printed
    assert "tokens from tether-demo" in printed


def test_uv_is_there() -> None:
    assert shutil.which("uv", path=SCRIPTS)
