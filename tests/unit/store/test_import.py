"""Imports of files that are no export, or one that somebody changed: refused with words, and nothing is written."""

import hashlib
import json
from pathlib import Path

import pytest

from tether.errors import Reason, TetherError
from tether.store import open_jobs
from tether.store.jobs import Driver, Reservation, Subject, Worker
from tether.store.manage import check_jobs, export_jobs, import_jobs, init_jobs
from tether.store.registry_manage import check_registry, import_registry, init_registry

SAID = {Reason.STORE_CORRUPT, Reason.STORE_UNUSABLE}


async def export(folder: Path) -> list[str]:
    """Lines of the export of a store with two jobs."""
    store = await open_jobs(folder / "jobs.db")
    for name in "ab":
        subject = Subject(store.job_id("t", name, ""), "t", name, "", True, b"h" * 32, "m", "1.0", b"d" * 32, b"", 100)
        await store.reserve([Reservation(subject, Driver(b"s" * 16, "g"), Worker("w", 1, "h:1"), 1, 2**41)])
    await store.close()
    await export_jobs(folder / "jobs.db", folder / "one.jsonl")
    return (folder / "one.jsonl").read_text().splitlines(keepends=True)


def summed(lines: list[str]) -> list[str]:
    """The same lines with checksums that hold: what somebody made by hand."""
    done, table = [], hashlib.sha256()
    for line in lines[:-1]:
        value = json.loads(line)
        whole = packed(value | {"sha256": table.hexdigest()}) if "sha256" in value else line
        table = hashlib.sha256() if isinstance(value, dict) else table
        if isinstance(value, list):
            table.update(line.encode())
        done.append(whole)
    return [*done, json.dumps({"whole": True, "sha256": hashlib.sha256("".join(done).encode()).hexdigest()}) + "\n"]


def packed(value: object) -> str:
    """A line as `export` writes it."""
    return json.dumps(value, separators=(",", ":")) + "\n"


async def test_export_is_for_its_owner_alone(tmp_path: Path) -> None:
    await export(tmp_path)
    assert (tmp_path / "one.jsonl").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("damage", ["cut", "row", "short", "names"])
async def test_export_that_is_damaged_is_refused_and_nothing_is_written(tmp_path: Path, damage: str) -> None:
    lines = await export(tmp_path)
    assert summed(lines) == lines
    wrong = {
        "cut": lines[:-1],
        "row": [line for line in lines if not line.startswith("[")],
        "short": summed([packed(json.loads(line)[:-1]) if line[0] == "[" else line for line in lines]),
        "names": summed([line.replace('"version"', '"version; DROP TABLE jobs"') for line in lines]),
    }[damage]
    (tmp_path / "bad.jsonl").write_text("".join(wrong))
    with pytest.raises(TetherError) as caught:
        await import_jobs(tmp_path / "new.db", tmp_path / "bad.jsonl")
    assert caught.value.reason in SAID
    assert (await check_jobs(tmp_path / "new.db")).jobs == 0
    assert (await import_jobs(tmp_path / "new.db", tmp_path / "one.jsonl")).rows["jobs"] == 2


@pytest.mark.parametrize("content", [b"", bytes(range(128, 256)), b"[" * 200_000, b"{}\n", b"null\n" * 3])
async def test_file_that_is_no_export_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.jsonl").write_bytes(content)
    await init_jobs(tmp_path / "jobs.db")
    await init_registry(tmp_path / "registry.db")
    for refused in (
        import_jobs(tmp_path / "jobs.db", tmp_path / "bad.jsonl"),
        import_registry(tmp_path / "registry.db", tmp_path / "bad.jsonl"),
    ):
        with pytest.raises(TetherError) as caught:
            await refused
        assert caught.value.reason in SAID
    assert not (await check_jobs(tmp_path / "jobs.db")).violations
    assert not await check_registry(tmp_path / "registry.db")


async def test_line_without_an_end_is_not_read_to_its_end(tmp_path: Path) -> None:
    for refused in (
        import_jobs(tmp_path / "jobs.db", Path("/dev/zero")),
        import_registry(tmp_path / "registry.db", Path("/dev/zero")),
    ):
        with pytest.raises(TetherError) as caught:
            await refused
        assert caught.value.reason in SAID
