import os
import subprocess
import sys
from pathlib import Path

import pytest

from tether.errors import Reason, TetherError
from tether.node.lock import FolderLock


def test_lock_names_its_holder_to_a_second_one(tmp_path):
    with FolderLock(tmp_path), pytest.raises(TetherError) as error:
        FolderLock(tmp_path)
    assert error.value.reason is Reason.STATE_UNUSABLE
    assert f"process {os.getpid()}" in error.value.message


def test_lock_of_another_process_names_that_process_and_ends_with_it(tmp_path):
    code = (
        "import sys, pathlib; from tether.node.lock import FolderLock\n"
        "lock = FolderLock(pathlib.Path(sys.argv[1])); print('held', flush=True); sys.stdin.read()"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(TetherError, match=f"process {other.pid}"):
            FolderLock(tmp_path)
        other.kill()
    FolderLock(tmp_path).close()


def test_lock_is_free_again_after_close(tmp_path):
    lock = FolderLock(tmp_path)
    lock.close()
    lock.close()
    FolderLock(tmp_path).close()


def test_lock_in_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(TetherError) as error:
        FolderLock(tmp_path / "missing")
    assert error.value.reason is Reason.STATE_UNUSABLE


@pytest.mark.skipif(sys.platform != "linux", reason="needs a folder that takes no file from anyone")
def test_lock_in_a_folder_that_takes_no_file_is_refused():
    with pytest.raises(TetherError) as error:
        FolderLock(Path("/proc/self"))
    assert error.value.reason is Reason.STATE_UNUSABLE
    assert "can't be used" in error.value.message
