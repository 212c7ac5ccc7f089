"""What is missing is said before anything is installed, with the command that installs it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "tools" / "prerequisites.sh"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A PATH that holds only what the script itself needs."""
    for tool in ("sh", "sed"):
        (tmp_path / tool).symlink_to(shutil.which(tool) or "")
    return tmp_path


def run(path: Path | None, python: str = sys.executable) -> subprocess.CompletedProcess[str]:
    environ = os.environ | ({"PATH": str(path)} if path else {})
    command = [shutil.which("sh") or "sh", str(SCRIPT), python]
    return subprocess.run(command, env=environ, capture_output=True, text=True, check=False)


def fake(path: Path, name: str, says: str) -> None:
    (path / name).write_text(f"#!/bin/sh\necho '{says}'\n")
    (path / name).chmod(0o755)


def test_nothing_is_said_where_all_is_there() -> None:
    done = run(None)
    assert (done.returncode, done.stderr) == (0, "")


def test_all_that_is_missing_is_named_at_once_with_its_command(path: Path) -> None:
    done = run(path, "")
    assert done.returncode == 1
    for line, what in zip(
        done.stderr.splitlines(), ("Python 3.11", "Rust (cargo)", "make", "a C compiler"), strict=True
    ):
        assert line.startswith(f"tether: {what}")
        assert "install" in line or "curl" in line


def test_package_manager_of_the_system_is_named(path: Path) -> None:
    fake(path, "dnf", "")
    assert "sudo dnf install gcc" in run(path).stderr


@pytest.mark.parametrize(
    ("version", "enough"), [("1.88.9", False), ("1.89.0", True), ("1.100.0", True), ("2.0.0", True)]
)
def test_cargo_must_be_new_enough(path: Path, version: str, enough: bool) -> None:
    for tool in ("make", "cc"):
        fake(path, tool, "")
    fake(path, "cargo", f"cargo {version} (abc 2026-01-01)")
    done = run(path)
    assert (done.returncode == 0) == enough
    assert enough or "rustup update" in done.stderr


def test_old_python_is_refused(path: Path) -> None:
    old = path / "python3.9"
    old.write_text('#!/bin/sh\n[ "$1" = -V ] && echo "Python 3.9.1" && exit 0\nexit 1\n')
    old.chmod(0o755)
    assert "is Python 3.9.1" in run(path, str(old)).stderr


def test_python_without_venv_is_refused(path: Path) -> None:
    bare = path / "python3.12"
    bare.write_text('#!/bin/sh\ncase "$2" in *ensurepip*) exit 1;; esac\nexit 0\n')
    bare.chmod(0o755)
    assert "Python's venv module" in run(path, str(bare)).stderr
