"""Fetching: each piece verified as it arrives, resumed where it broke off, liars named."""

import asyncio
import errno
import os
import random

import pytest

from tether.artifact.fetch import PART, fetch, is_whole
from tether.artifact.manifest import Limits
from tether.artifact.scan import scan
from tether.errors import Reason, TetherError

MIB = 1 << 20
DATA = random.Random(7).randbytes(3 * MIB + 123)


class FakeSource:
    """Serves blobs from memory, spoilt as a test says; counts the bytes it sent."""

    def __init__(self, blobs, name="fake", spoil=lambda data: data, part_bytes=100_000):
        self.name, self.blobs, self.spoil, self.part_bytes = name, blobs, spoil, part_bytes
        self.sent_bytes = 0

    async def read(self, sha256, offset=0, length=0):
        if sha256 not in self.blobs:
            raise TetherError(Reason.BLOB_UNKNOWN, "no such blob")
        data = self.spoil(self.blobs[sha256])[offset : offset + length if length else None]
        for start in range(0, len(data), self.part_bytes):
            part = data[start : start + self.part_bytes]
            self.sent_bytes += len(part)
            yield part


class SilentSource(FakeSource):
    async def read(self, sha256, offset=0, length=0):
        yield self.blobs[sha256][offset : offset + MIB]
        await asyncio.Event().wait()


class BrokenSource(FakeSource):
    async def read(self, sha256, offset=0, length=0):
        yield self.blobs[sha256][offset : offset + MIB + 5]
        if len(self.blobs[sha256]) <= MIB:
            return
        raise TetherError(Reason.UNREACHABLE, "the peer is gone")


@pytest.fixture
def files(tmp_path):
    folder = tmp_path / "origin"
    folder.mkdir()
    (folder / "weights.int8.bin").write_bytes(DATA)
    (folder / "config.json").write_bytes(b"{}")
    (folder / "notes.txt").write_bytes(b"")
    return scan(folder, "onnx-decoder", Limits())


@pytest.fixture
def blobs(files, tmp_path):
    return {one.sha256: (tmp_path / "origin" / one.path).read_bytes() for one in files}


async def failure(files, folder, *sources, **options):
    with pytest.raises(TetherError) as caught:
        await fetch(files, folder, sources, **options)
    return caught.value


def whole(files, folder):
    return all(is_whole(folder / one.path, one) for one in files)


@pytest.mark.parametrize("part_bytes", [1_000, MIB, 5 * MIB])
async def test_fetch_brings_every_file(files, blobs, tmp_path, part_bytes):
    await fetch(files, tmp_path / "copy", [FakeSource(blobs, part_bytes=part_bytes)])
    assert whole(files, tmp_path / "copy")
    assert (tmp_path / "copy" / "weights.int8.bin").read_bytes() == DATA
    assert not list((tmp_path / "copy").glob(f"*{PART}"))


async def test_fetch_again_asks_for_nothing(files, blobs, tmp_path):
    source = FakeSource(blobs)
    await fetch(files, tmp_path, [source])
    sent = source.sent_bytes
    await fetch(files, tmp_path, [source])
    assert source.sent_bytes == sent


def flipped(at):
    return lambda data: data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :] if len(data) > at else data


LIES = [flipped(10), flipped(MIB + 7), flipped(3 * MIB + 100), lambda data: data[:-1], lambda data: data + b"x"]


@pytest.mark.parametrize("lie", LIES)
async def test_fetch_from_a_liar_names_it_and_keeps_nothing_false(files, blobs, tmp_path, lie):
    error = await failure(files, tmp_path / "copy", FakeSource(blobs, "mallory", lie))
    assert error.reason is Reason.ARTIFACT_CORRUPT
    assert error.metadata["source"] == "mallory"
    assert "mallory" in error.message
    assert not (tmp_path / "copy" / "weights.int8.bin").exists()


@pytest.mark.parametrize("lie", LIES)
async def test_fetch_goes_on_with_an_honest_source(files, blobs, tmp_path, lie):
    liar, honest = FakeSource(blobs, "mallory", lie), FakeSource(blobs, "alice")
    await fetch(files, tmp_path / "copy", [liar, honest])
    assert whole(files, tmp_path / "copy")


async def test_fetch_resumes_after_the_last_good_piece(files, blobs, tmp_path):
    assert (await failure(files, tmp_path / "copy", BrokenSource(blobs))).reason is Reason.UNREACHABLE
    source = FakeSource(blobs)
    await fetch(files, tmp_path / "copy", [source])
    assert whole(files, tmp_path / "copy")
    assert source.sent_bytes == len(DATA) - MIB


async def test_fetch_resume_does_not_trust_the_disk(files, blobs, tmp_path):
    await failure(files, tmp_path, BrokenSource(blobs))
    part = tmp_path / ("weights.int8.bin" + PART)
    spoilt = bytearray(part.read_bytes())
    spoilt[3] ^= 1
    part.write_bytes(spoilt)
    await fetch(files, tmp_path, [FakeSource(blobs)])
    assert whole(files, tmp_path)


async def test_fetch_replaces_a_damaged_file(files, blobs, tmp_path):
    await fetch(files, tmp_path, [FakeSource(blobs)])
    path = tmp_path / "weights.int8.bin"
    path.chmod(0o644)
    path.write_bytes(DATA[:-1] + b"?")
    assert not whole(files, tmp_path)
    await fetch(files, tmp_path, [FakeSource(blobs)])
    assert whole(files, tmp_path)


async def test_fetch_gives_up_on_a_silent_source(files, blobs, tmp_path):
    only = [one for one in files if one.size_bytes > MIB]
    error = await failure(only, tmp_path, SilentSource(blobs, "mute"), silence_s=0.05)
    assert error.reason is Reason.STORE_UNAVAILABLE
    assert "mute" in error.message


async def test_fetch_without_sources_says_so(files, tmp_path):
    assert (await failure(files, tmp_path / "copy")).reason is Reason.BLOB_UNKNOWN


async def test_fetch_does_not_write_through_a_link(files, blobs, tmp_path):
    target = tmp_path / "victim"
    target.write_bytes(b"precious")
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / ("weights.int8.bin" + PART)).symlink_to(target)
    (tmp_path / "copy" / "config.json").symlink_to(target)
    await fetch(files, tmp_path / "copy", [FakeSource(blobs)])
    assert target.read_bytes() == b"precious"
    assert whole(files, tmp_path / "copy")


async def test_fetch_onto_a_full_disk_says_so(files, blobs, tmp_path, monkeypatch):
    def refuse(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", refuse)
        error = await failure(files, tmp_path / "copy", FakeSource(blobs), FakeSource(blobs))
    assert (error.reason, error.metadata) == (Reason.STORE_UNAVAILABLE, {"cause": "full"})
