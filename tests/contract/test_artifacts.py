"""What every artifact store owes its callers; each new store joins `STORES` and passes unchanged."""

import asyncio
import errno
import hashlib
import os
import random

import pytest

from tether.artifact.folder import FolderStore
from tether.artifact.manifest import Limits
from tether.errors import Reason, TetherError

MIB = 1 << 20
SIZES = [0, 1, MIB - 1, MIB, MIB + 1, 3 * MIB + 17]


async def open_folder(tmp_path):
    store = FolderStore(tmp_path, Limits(blob_bytes_max=8 * MIB))
    await store.open()
    return store


STORES = {"folder": open_folder}


@pytest.fixture(params=STORES)
async def store(request, tmp_path):
    made = await STORES[request.param](tmp_path)
    yield made
    await made.close()


def blob(size, seed=1):
    data = random.Random(seed).randbytes(size)
    return hashlib.sha256(data).digest(), data


async def parts(data, part_bytes=100_000):
    for start in range(0, len(data), part_bytes):
        yield data[start : start + part_bytes]


async def read(store, name, offset=0, length=0):
    return b"".join([part async for part in store.read(name, offset, length)])


async def reason_of(call):
    with pytest.raises(TetherError) as caught:
        await call
    return caught.value.reason


@pytest.mark.parametrize("size", SIZES)
async def test_store_returns_what_was_written(store, size):
    name, data = blob(size)
    assert await store.size(name) is None
    assert await store.write(name, size, parts(data)) is False
    assert await store.size(name) == size
    assert await read(store, name) == data
    digests = b"".join(hashlib.sha256(data[at : at + MIB]).digest() for at in range(0, size, MIB))
    assert await store.pieces(name) == digests


async def test_store_second_write_of_a_blob_is_no_change(store):
    name, data = blob(2 * MIB)
    await store.write(name, len(data), parts(data))
    assert await store.write(name, len(data), parts(b"ignored")) is True
    assert await read(store, name) == data


async def test_store_same_blob_written_at_once_is_whole(store):
    name, data = blob(3 * MIB)
    await asyncio.gather(*(store.write(name, len(data), parts(data)) for _ in range(4)))
    assert await read(store, name) == data


@pytest.mark.parametrize(
    ("offset", "length"), [(0, 1), (5, MIB), (MIB - 1, 2), (MIB, MIB), (2 * MIB + 3, 0), (3 * MIB, 0)]
)
async def test_store_reads_any_range(store, offset, length):
    name, data = blob(3 * MIB)
    await store.write(name, len(data), parts(data))
    assert await read(store, name, offset, length) == data[offset : offset + length if length else None]


@pytest.mark.parametrize(("offset", "length"), [(11, 0), (0, 11), (10, 1), (1 << 62, 1)])
async def test_store_range_outside_is_refused(store, offset, length):
    name, data = blob(10)
    await store.write(name, len(data), parts(data))
    assert await reason_of(read(store, name, offset, length)) is Reason.INVALID_FIELD


async def test_store_unknown_blob_is_refused(store):
    assert await reason_of(read(store, bytes(32))) is Reason.BLOB_UNKNOWN
    assert await reason_of(store.pieces(bytes(32))) is Reason.BLOB_UNKNOWN


@pytest.mark.parametrize("name", [b"", b"x", bytes(31), bytes(33), b"../../../../etc/passwd"])
async def test_store_name_that_is_no_digest_is_refused(store, name):
    assert await reason_of(store.size(name)) is Reason.INVALID_FIELD
    assert await reason_of(read(store, name)) is Reason.INVALID_FIELD
    assert await reason_of(store.write(name, 0, parts(b""))) is Reason.INVALID_FIELD


def swapped(data):
    return data[:-1] + bytes([data[-1] ^ 1])


@pytest.mark.parametrize("spoil", [swapped, lambda data: data[:-1], lambda data: data + b"x", lambda data: b""])
async def test_store_blob_that_is_not_its_name_leaves_nothing(store, spoil):
    name, data = blob(MIB + 5)
    assert await reason_of(store.write(name, len(data), parts(spoil(data)))) is Reason.ARTIFACT_CORRUPT
    assert await store.size(name) is None
    assert await store.write(name, len(data), parts(data)) is False


async def test_store_writer_that_breaks_off_leaves_nothing(store):
    async def broken(data):
        yield data[:10]
        raise ConnectionError("gone")

    name, data = blob(MIB)
    with pytest.raises(ConnectionError):
        await store.write(name, len(data), broken(data))
    assert await store.size(name) is None


async def test_store_blob_over_the_limit_is_refused_before_it_is_read(store):
    name, _ = blob(1)
    assert await reason_of(store.write(name, 8 * MIB + 1, parts(b"unread"))) is Reason.TOO_LARGE


@pytest.mark.parametrize("at", [0, MIB + 3, 2 * MIB - 1])
async def test_folder_damaged_blob_is_refused_and_stored_anew(tmp_path, at):
    store = await open_folder(tmp_path)
    name, data = blob(2 * MIB)
    await store.write(name, len(data), parts(data))
    place = tmp_path / "blobs" / "sha256" / name.hex()[:2] / name.hex()
    with place.open("r+b") as stream:
        stream.seek(at)
        stream.write(bytes([data[at] ^ 0xFF]))
    assert await reason_of(read(store, name)) is Reason.ARTIFACT_CORRUPT
    assert await store.write(name, len(data), parts(data)) is False
    assert await read(store, name) == data


async def test_folder_truncated_blob_is_refused(tmp_path):
    store = await open_folder(tmp_path)
    name, data = blob(2 * MIB)
    await store.write(name, len(data), parts(data))
    os.truncate(tmp_path / "blobs" / "sha256" / name.hex()[:2] / name.hex(), MIB + 1)
    assert await reason_of(read(store, name)) is Reason.ARTIFACT_CORRUPT


async def test_folder_drops_drafts_of_a_crash(tmp_path):
    await open_folder(tmp_path)
    left = tmp_path / "blobs" / "draft" / "abc"
    left.write_bytes(b"half")
    await open_folder(tmp_path)
    assert not left.exists()


@pytest.mark.parametrize(
    ("number", "reason"), [(errno.ENOSPC, Reason.STORE_UNAVAILABLE), (errno.EROFS, Reason.STATE_UNUSABLE)]
)
async def test_folder_disk_that_refuses_is_said_and_leaves_nothing(tmp_path, monkeypatch, number, reason):
    store = await open_folder(tmp_path)
    name, data = blob(1_000)

    def refuse(_):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", refuse)
        assert await reason_of(store.write(name, len(data), parts(data))) is reason
    assert list((tmp_path / "blobs" / "draft").iterdir()) == []
    assert await store.size(name) is None


async def test_folder_where_a_file_stands_is_refused(tmp_path):
    (tmp_path / "blobs").write_bytes(b"")
    assert await reason_of(FolderStore(tmp_path).open()) in {Reason.STORE_UNAVAILABLE, Reason.STATE_UNUSABLE}
