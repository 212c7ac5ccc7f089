"""Native signature checks agree with libsodium on honest and damaged records, and name the bad ones."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey, VerifyKey

from tether._native import bad_indices, verify_one, verify_strict

Record = tuple[bytes, bytes, bytes]


def signed(seed: int, message: bytes) -> Record:
    key = SigningKey(seed.to_bytes(32, "little"))
    return bytes(key.verify_key), message, key.sign(message).signature


def nacl_says(record: Record) -> bool:
    try:
        VerifyKey(record[0]).verify(record[1], record[2])
    except BadSignatureError:
        return False
    return True


@st.composite
def records(draw: st.DrawFn) -> Record:
    key, message, signature = signed(draw(st.integers(0, 2**64)), draw(st.binary(max_size=80)))
    match draw(st.sampled_from(["honest", "honest", "message", "signature", "key"])):
        case "message":
            return key, message + b"!", signature
        case "signature":
            bit = draw(st.integers(0, 511))
            return key, message, (int.from_bytes(signature, "little") ^ 1 << bit).to_bytes(64, "little")
        case "key":
            return signed(draw(st.integers(0, 2**64)), b"")[0], message, signature
    return key, message, signature


@settings(max_examples=60, deadline=None)
@given(st.lists(records(), max_size=70))
def test_batch_names_the_records_that_libsodium_refuses(batch: list[Record]) -> None:
    expected = [i for i, record in enumerate(batch) if not nacl_says(record)]
    assert bad_indices(batch) == expected
    assert [i for i, record in enumerate(batch) if not verify_one(*record)] == expected
    assert [i for i, record in enumerate(batch) if not verify_strict(*record)] == expected


@pytest.mark.parametrize("count", [1, 63, 64, 65, 200])
@pytest.mark.parametrize("bad", [[], [0], [0, 31, 32]])
def test_batch_of_any_size_names_the_bad_ones(count: int, bad: list[int]) -> None:
    bad = [i for i in bad if i < count]
    batch = [signed(i, b"m%d" % i) for i in range(count)]
    for i in bad:
        batch[i] = (batch[i][0], b"other", batch[i][2])
    assert bad_indices(batch) == bad


def test_batch_with_wrong_lengths_names_them_and_checks_the_rest() -> None:
    key, message, signature = signed(1, b"m")
    batch = [
        (key, message, signature),
        (key[:31], message, signature),
        (key, message, signature + b"x"),
        (key, message, b""),
    ]
    assert bad_indices(batch) == [1, 2, 3]


def test_batch_of_nothing_has_no_bad_one() -> None:
    assert bad_indices([]) == []


@pytest.mark.parametrize("verify", [verify_one, verify_strict])
@pytest.mark.parametrize(("key_bytes", "signature_bytes"), [(31, 64), (33, 64), (32, 63), (32, 65), (0, 0)])
def test_single_with_wrong_lengths_is_an_error(verify, key_bytes: int, signature_bytes: int) -> None:
    with pytest.raises(ValueError, match="key must be 32 bytes, signature 64"):
        verify(bytes(key_bytes), b"m", bytes(signature_bytes))


@pytest.mark.parametrize("verify", [verify_one, verify_strict])
def test_key_of_small_order_is_refused_for_every_message(verify) -> None:
    # A = R = the neutral point and s = 0 satisfies the bare equation for all messages: no secret is needed.
    neutral = b"\x01" + bytes(31)
    forged = [(neutral, b"m%d" % i, neutral + bytes(32)) for i in range(20)]
    assert not any(verify(*record) for record in forged)
    assert bad_indices(forged) == list(range(20))


def test_response_not_reduced_is_refused() -> None:
    order = 2**252 + 27742317777372353535851937790883648493
    key, message, signature = signed(1, b"m")
    grown = int.from_bytes(signature[32:], "little") + order
    second = (key, message, signature[:32] + grown.to_bytes(32, "little"))
    assert not verify_one(*second)
    assert not verify_strict(*second)
    assert bad_indices([second]) == [0]
