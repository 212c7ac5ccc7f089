"""A journal keeps what it said it kept: over a restart, a torn tail, a disk that fails."""

import asyncio
import os
from pathlib import Path

import pytest

from tether.errors import Reason, TetherError
from tether.node import journal as subject
from tether.node.journal import Journal, decode, encode

LIMIT = 1 << 20


async def opened(path: Path, bytes_max: int = LIMIT) -> Journal:
    return await Journal.open(path, bytes_max=bytes_max)


async def test_entries_are_there_after_a_crash(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    first = await opened(path)
    await asyncio.gather(*(first.add(b"%d" % number, b"x" * number) for number in range(50)))
    again = await opened(path)  # without a close: what a killed process leaves
    assert again.entries() == [(b"%d" % number, b"x" * number) for number in range(50)]
    await first.close()
    await again.close()


async def test_done_entries_are_forgotten_over_a_close(tmp_path: Path) -> None:
    journal = await opened(tmp_path / "journal")
    for name in (b"a", b"b", b"c"):
        await journal.add(name, name * 2)
    journal.done(b"b")
    journal.done(b"never was")
    assert journal.entries() == [(b"a", b"aa"), (b"c", b"cc")]
    await journal.close()
    again = await opened(tmp_path / "journal")
    assert again.entries() == [(b"a", b"aa"), (b"c", b"cc")]
    await again.close()


async def test_same_name_replaces_the_body(tmp_path: Path) -> None:
    journal = await opened(tmp_path / "journal", bytes_max=4)
    await journal.add(b"a", b"1234")
    await journal.add(b"a", b"56")
    await journal.close()
    again = await opened(tmp_path / "journal")
    assert again.entries() == [(b"a", b"56")]
    await again.close()


@pytest.mark.parametrize("cut", [1, 10, 45, 47])
async def test_torn_tail_is_cut(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "journal"
    whole = encode(b"a", b"first") + encode(b"b", b"later")
    path.write_bytes(whole[:-cut])
    journal = await opened(path)
    assert journal.entries() == [(b"a", b"first")]
    await journal.add(b"c", b"next")
    await journal.close()
    assert list(decode(path.read_bytes())) == [(b"a", b"first"), (b"c", b"next")]


async def test_damaged_entry_costs_no_other(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    first, second, third = encode(b"a", b"first"), encode(b"b", b"later"), encode(b"c", b"last")
    for at in range(len(second)):
        broken = bytearray(second)
        broken[at] ^= 0xFF
        path.write_bytes(first + bytes(broken) + third)
        journal = await opened(path)
        assert journal.entries() == [(b"a", b"first"), (b"c", b"last")]
        await journal.close()


async def test_full_journal_refuses(tmp_path: Path) -> None:
    journal = await opened(tmp_path / "journal", bytes_max=10)
    await journal.add(b"a", b"12345678")
    with pytest.raises(TetherError) as raised:
        await journal.add(b"b", b"123")
    assert raised.value.reason is Reason.STORE_UNAVAILABLE
    journal.done(b"a")
    await journal.add(b"b", b"123")
    assert journal.entries() == [(b"b", b"123")]
    await journal.close()


async def test_failing_disk_is_told_and_the_next_write_starts_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "journal"
    journal = await opened(path)
    await journal.add(b"a", b"kept")

    def fail(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(subject.os, "fdatasync", fail)
    with pytest.raises(TetherError) as raised:
        await journal.add(b"b", b"lost")
    assert raised.value.reason is Reason.STORE_UNAVAILABLE
    monkeypatch.undo()
    assert journal.entries() == [(b"a", b"kept")]
    await journal.add(b"c", b"after")
    await journal.close()
    assert list(decode(path.read_bytes())) == [(b"a", b"kept"), (b"c", b"after")]


async def test_adds_that_wait_together_share_a_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = await opened(tmp_path / "journal")
    syncs, sync = [], os.fdatasync

    def count(handle: int) -> None:
        syncs.append(handle)
        sync(handle)

    monkeypatch.setattr(subject.os, "fdatasync", count)
    await asyncio.gather(*(journal.add(b"%d" % number, b"x") for number in range(100)))
    assert len(syncs) <= 2
    await journal.close()


async def test_mostly_done_file_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    journal = await opened(path)
    for number in range(40):
        await journal.add(b"%d" % number, bytes(4_096))
        journal.done(b"%d" % number)
    await journal.add(b"last", b"stays")
    assert path.stat().st_size < 2 * subject.COMPACT_BYTES_MIN
    await journal.close()
    again = await opened(path)
    assert again.entries() == [(b"last", b"stays")]
    await again.close()


async def test_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(TetherError) as raised:
        await opened(tmp_path / "nowhere" / "journal")
    assert raised.value.reason is Reason.STATE_UNUSABLE


async def test_closed_journal_refuses_and_closes_twice(tmp_path: Path) -> None:
    journal = await opened(tmp_path / "journal")
    await journal.close()
    await journal.close()
    with pytest.raises(TetherError):
        await journal.add(b"a", b"")
