"""Batches: the same rows are the same bytes under the same key, and no two sets of rows share one."""

import json
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.billing.conftest import ORIGIN, usage
from tether.billing.batch import cut, time_of

NUMBERS = st.lists(st.integers(1, 50), unique=True, min_size=1, max_size=5).map(sorted)


@given(NUMBERS, NUMBERS)
def test_batch_key_is_the_rows(first, second):
    one, two = (cut([usage(number) for number in numbers], ORIGIN) for numbers in (first, second))
    assert (one.key == two.key) == (first == second) == (one.body == two.body)
    assert one.numbers == tuple(first)


def test_batch_key_differs_between_stores():
    other = replace(ORIGIN, store_id=b"o" * 16)
    assert cut([usage(1)], ORIGIN).key != cut([usage(1)], other).key


def test_batch_says_what_was_used():
    batch = cut([usage(3)], ORIGIN)
    content = json.loads(batch.body)
    assert content["key"] == batch.key
    assert (content["schema"], content["region"], content["network"]) == (
        "tether/usage/v1",
        "eu-west",
        bytes(range(32)).hex(),
    )
    assert content["rows"] == [
        {
            "id": f"{(b's' * 16).hex()}-3",
            "tenant": "acme",
            "job": "00" * 15 + "03",
            "attempt": 1,
            "model": "m",
            "version": "1.0",
            "input_tokens": 13,
            "output_tokens": 5,
            "output_bytes": 20,
            "price_version": 2,
            "cost_micros": 7,
            "at": "2027-01-15T08:00:00.000Z",
        }
    ]


def test_time_is_written_to_the_millisecond():
    assert time_of(1) == "1970-01-01T00:00:00.001Z"
