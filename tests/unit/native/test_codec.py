"""Frames at the Python seam: what goes in comes out, and everything malformed is a ValueError."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tether import _native
from tether.v1 import link_pb2

HEADER = struct.Struct("<16sIBBHQQII")
FRAME_BYTES_MAX = 65_536
MORE = 1

numbers = st.tuples(
    st.binary(min_size=16, max_size=16),
    st.integers(0, 2**32 - 1),
    st.sampled_from([1, 2, 3, 9, 32, 36]),
    st.integers(0, 2**64 - 1),
    st.integers(0, 2**64 - 1),
    st.integers(0, 2**32 - 1),
)
sizes = st.one_of(st.integers(0, 100), st.integers(60_000, 140_000))
entries_ = st.lists(st.builds(lambda head, size: (*head, bytes(size)), numbers, sizes), max_size=6)


def entry(kind: int, body: bytes = b"", flags: int = 0) -> bytes:
    """One entry of a job."""
    return HEADER.pack(b"j" * 16, 1, kind, flags, 0, 0, 0, len(body), 0) + body


def frame(entries: bytes) -> bytes:
    """A serialized frame."""
    return link_pb2.Link.Frame(entries=entries).SerializeToString()


@given(entries_)
@settings(deadline=None, max_examples=50)
def test_entries_come_back_whole(entries: list[tuple[bytes, int, int, int, int, int, bytes]]) -> None:
    reader, back = _native.FrameReader(), []
    for raw in _native.encode_frame(entries):
        assert len(link_pb2.Link.Frame.FromString(raw).entries) <= FRAME_BYTES_MAX
        back += reader.feed(raw)
    assert back == entries


def test_layout_is_that_of_the_page() -> None:
    (raw,) = _native.encode_frame([(b"j" * 16, 2, 3, 4, 5, 6, b"body")])
    packed = HEADER.pack(b"j" * 16, 2, 3, 0, 0, 4, 5, 4, 6) + b"body"
    assert raw == frame(packed)
    assert _native.decode_frame(raw) == [(b"j" * 16, 2, 3, 4, 5, 6, b"body")]


def test_empty_frame_has_no_entries() -> None:
    assert _native.decode_frame(b"") == []
    assert _native.encode_frame([]) == []


def test_newer_control_and_frame_fields_are_skipped() -> None:
    assert _native.decode_frame(frame(entry(20) + entry(2)) + b"\x7a\x01x") == [(b"j" * 16, 1, 2, 0, 0, 0, b"")]


@pytest.mark.parametrize(
    "raw",
    [
        frame(entry(32)[:-1]),
        frame(entry(32, b"body")[:-1]),
        frame(entry(0)),
        frame(entry(40)),
        frame(entry(32, bytes(FRAME_BYTES_MAX))),
        frame(entry(32, b"a", MORE)),
        b"\x0a\x05abc",
        b"\xff",
    ],
    ids=["header", "body", "kind 0", "unknown bulk", "oversized", "half a body", "protobuf length", "protobuf tag"],
)
def test_malformed_frame_is_refused(raw: bytes) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        _native.decode_frame(raw)


@given(st.binary(max_size=200))
def test_random_bytes_are_read_or_refused(raw: bytes) -> None:
    try:
        entries = _native.decode_frame(raw)
    except ValueError:
        return
    assert all(len(job) == 16 for job, *_ in entries)


def test_reader_refuses_bodies_over_its_limits() -> None:
    part = frame(entry(32, bytes(60_000), MORE))
    small, crowded = _native.FrameReader(body_bytes_max=100_000), _native.FrameReader(held_bytes_max=100_000)
    for reader in (small, crowded):
        assert reader.feed(part) == []
        with pytest.raises(ValueError, match="limit"):
            reader.feed(part)


@pytest.mark.parametrize("bad", [(b"short", 1, 3, 0, 0, 0, b""), (b"j" * 16, 2**32, 3, 0, 0, 0, b"")])
def test_numbers_out_of_range_are_refused(bad: tuple[bytes, int, int, int, int, int, bytes]) -> None:
    with pytest.raises((ValueError, OverflowError)):
        _native.encode_frame([bad])
