"""Text becomes final byte by byte, and is never taken back."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tether_worker.engine.detokenize import TextStream


def feed(stream: TextStream, pieces: list[bytes]) -> list[bytes]:
    return [stream.feed(piece) for piece in pieces]


def test_character_spread_over_tokens_comes_with_its_last():
    assert feed(TextStream(), [b"a", b"\xe2", b"\x82", b"\xac", b"b"]) == [b"a", b"", b"", "€".encode(), b"b"]


def test_broken_characters_become_replacements():
    stream = TextStream()
    assert b"".join([*feed(stream, [b"\xc3", b"a", b"\xff"]), stream.flush()]).decode() == "\ufffda\ufffd"


def test_character_cut_off_at_the_end_becomes_a_replacement():
    stream = TextStream()
    assert stream.feed(b"x\xe2\x82") == b"x"
    assert stream.flush().decode() == "\ufffd"


def test_beginning_of_a_stop_text_is_held_until_decided():
    stream = TextStream(["END"])
    assert feed(stream, [b"a", b"E", b"N", b"x", b"E"]) == [b"a", b"", b"", b"ENx", b""]
    assert stream.flush() == b"E"


def test_stop_text_ends_and_is_dropped():
    stream = TextStream(["END"])
    assert feed(stream, [b"ab", b"EN", b"Dcd"]) == [b"ab", b"", b""]
    assert stream.stopped
    assert stream.flush() == b""


@pytest.mark.parametrize(("stops", "text"), [(["aab"], "aa"), (["b", "aab"], "aa"), (["ab", "aaab"], "aaa")])
def test_earliest_stop_text_wins(stops, text):
    stream = TextStream(stops)
    got = b"".join(feed(stream, [bytes([byte]) for byte in b"aaabaab"]))
    whole = b"aaabaab"
    assert got == whole[: min(whole.find(stop.encode()) for stop in stops)]


@given(st.binary(max_size=40), st.lists(st.integers(0, 40), max_size=6))
def test_text_does_not_depend_on_the_cuts(data, cuts):
    places = sorted({0, len(data), *(cut for cut in cuts if cut <= len(data))})
    stream = TextStream()
    pieces = [data[a:b] for a, b in pairwise(places)]
    assert b"".join([*feed(stream, pieces), stream.flush()]) == data.decode(errors="replace").encode()


@given(
    st.text(alphabet="abc", max_size=30),
    st.lists(st.text(alphabet="abc", min_size=1, max_size=4), min_size=1, max_size=3),
)
def test_released_text_never_holds_a_stop_text(text, stops):
    stream, got = TextStream(stops), b""
    for char in text:
        got += stream.feed(char.encode())
        if stream.stopped:
            break
    got += stream.flush()
    assert not any(stop.encode() in got for stop in stops)
    assert text.encode().startswith(got)
