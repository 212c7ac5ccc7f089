"""Native digests are those of hashlib, however the bytes arrive and wherever a chain was carried."""

import hashlib
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tether._native import BlobDigest, Chain, sha256_many


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


@given(st.lists(st.binary(max_size=300), max_size=20))
def test_many_are_hashed_in_order(buffers: list[bytes]) -> None:
    assert sha256_many(buffers) == [sha256(b) for b in buffers]


@settings(deadline=None)
@given(st.lists(st.binary(max_size=400), max_size=12), st.integers(1, 500))
def test_blob_digest_equals_hashlib_for_any_chunks(chunks: list[bytes], piece_bytes: int) -> None:
    blob = BlobDigest(piece_bytes)
    early = [digest for chunk in chunks for digest in blob.feed(chunk)]
    data = b"".join(chunks)
    pieces = [sha256(data[i : i + piece_bytes]) for i in range(0, len(data), piece_bytes)]
    assert blob.length == len(data)
    assert blob.finish() == (sha256(data), pieces)
    assert early == pieces[: len(data) // piece_bytes]


def test_blob_digest_tells_a_mebibyte_piece_when_its_last_byte_arrives() -> None:
    blob = BlobDigest()
    piece = bytes(range(256)) * 4_096
    assert blob.feed(piece[:-1]) == []
    assert blob.feed(piece[-1:] + piece) == [sha256(piece)] * 2
    assert blob.feed(b"rest") == []
    assert blob.finish() == (sha256(piece * 2 + b"rest"), [sha256(piece), sha256(piece), sha256(b"rest")])


def test_blob_digest_after_finish_refuses_more_and_repeats_itself() -> None:
    blob = BlobDigest()
    ended = blob.finish()
    assert ended == (sha256(b""), [])
    with pytest.raises(ValueError, match="finished"):
        blob.feed(b"more")
    assert blob.finish() == ended


def test_blob_digest_of_empty_pieces_is_refused() -> None:
    with pytest.raises(ValueError, match="piece_bytes"):
        BlobDigest(0)


@given(st.binary(max_size=500), st.lists(st.integers(0, 500), max_size=6))
def test_chain_carried_at_any_points_equals_hashlib(data: bytes, cuts: list[int]) -> None:
    chain, at = Chain(), 0
    for cut in [*sorted(min(c, len(data)) for c in cuts), len(data)]:
        chain.feed_bytes(data[at:cut])
        at = cut
        chain = Chain.resume(chain.state())
        assert chain.digest() == sha256(data[:at])
    assert chain.length == len(data)


@given(st.lists(st.integers(0, 2**32 - 1), max_size=70))
def test_chain_of_tokens_is_that_of_their_bytes(tokens: list[int]) -> None:
    chain = Chain()
    chain.feed_tokens(tokens)
    assert chain.digest() == sha256(struct.pack(f"<{len(tokens)}I", *tokens))


def test_chain_state_has_the_layout_of_the_page() -> None:
    chain = Chain()
    chain.feed_bytes(b"x" * 70)
    state = chain.state()
    assert len(state) == 46
    assert state[32:40] == (70).to_bytes(8, "little")
    assert state[40:] == b"x" * 6
    fresh = Chain().state()
    assert fresh[:4] == (0x6A09E667).to_bytes(4, "little")
    assert fresh[32:] == bytes(8)


def malformed() -> list[bytes]:
    chain = Chain()
    chain.feed_bytes(b"y" * 70)
    state = chain.state()
    other_start = bytes(32) + bytes(8)
    return [b"", state[:39], state[:-1], state + b"z", other_start, bytes(200), state[:32] + b"\xff" * 8 + bytes(63)]


@pytest.mark.parametrize("state", malformed())
def test_chain_from_a_malformed_state_is_an_error(state: bytes) -> None:
    with pytest.raises(ValueError, match="chain state"):
        Chain.resume(state)


@pytest.mark.parametrize("token", [-1, 2**32])
def test_chain_of_a_token_out_of_range_is_an_error(token: int) -> None:
    chain = Chain()
    with pytest.raises(OverflowError):
        chain.feed_tokens([1, token])
    assert chain.length == 0
