"""API keys: what a token looks like, and what every wrong one is answered."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tether.access import key
from tether.errors import Reason, TetherError


@given(st.binary(min_size=key.RANDOM_BYTES, max_size=key.RANDOM_BYTES))
def test_key_made_parses_back(random_bytes):
    made = key.make(random_bytes)
    assert key.parse(made.text()) == made
    assert len(made.text()) == key.TOKEN_CHARS


def test_key_hides_its_secret():
    made = key.make(bytes(range(40)))
    assert made.secret not in repr(made)


@pytest.mark.parametrize("size", [0, 39, 41])
def test_key_refuses_other_amount_of_chance(size):
    with pytest.raises(ValueError, match="random bytes"):
        key.make(bytes(size))


ID, SECRET = "0" * 16, "a" * 43
NO_KEYS = ["x", "tk_", f"tk_{ID}_{SECRET[1:]}", f"tk_{ID}_{SECRET}a", f"tk_{'G' * 16}_{SECRET}"]
NEAR_KEYS = [f"TK_{ID}_{SECRET}", f"tk_{ID}-{SECRET}", f"tk_{ID}_{'ä' * 43}", f"tk_{ID}_{SECRET}\n"]


@pytest.mark.parametrize("text", [*NO_KEYS, *NEAR_KEYS])
def test_key_parse_refuses_what_is_no_key(text):
    with pytest.raises(TetherError) as caught:
        key.parse(text)
    assert caught.value.reason is Reason.KEY_INVALID
    assert text not in str(caught.value) or text == "x"


def test_key_matches_only_its_own_hash():
    made, other = key.make(bytes(40)), key.make(bytes(range(40)))
    assert key.matches(made.secret, hashlib.sha256(made.secret.encode()).digest())
    assert not key.matches(made.secret, key.secret_sha256(other.secret))
    assert not key.matches(made.secret, None)
    assert not key.matches("", b"")


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (None, Reason.KEY_MISSING),
        ("", Reason.KEY_MISSING),
        ("  ", Reason.KEY_MISSING),
        ("Bearer", Reason.KEY_MISSING),
        ("Bearer  ", Reason.KEY_MISSING),
        ("Basic abc", Reason.KEY_INVALID),
    ],
)
def test_header_without_bearer_key_is_refused(header, reason):
    with pytest.raises(TetherError) as caught:
        key.from_header(header)
    assert caught.value.reason is reason


@pytest.mark.parametrize("header", ["Bearer tk_1", "bearer   tk_1 ", "BEARER tk_1"])
def test_header_yields_the_token(header):
    assert key.from_header(header) == "tk_1"
