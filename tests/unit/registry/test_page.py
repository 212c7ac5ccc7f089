"""Pages: none repeats, none is skipped, and no token but our own is taken."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tether.errors import Reason, TetherError
from tether.registry import page
from tether.v1 import registry_pb2 as pb


@given(st.lists(st.text("abcxyz0189.:-", min_size=1), unique=True, max_size=12), st.integers(1, 5))
def test_pages_yield_every_name_once_in_order(names, size):
    tenants = [pb.Tenant(name=name) for name in sorted(names)]
    found, token = [], ""
    while True:
        after, limit = page.start(size, token)
        batch = [one for one in tenants if one.name > after][: limit + 1]
        shown, token = page.cut(batch, limit)
        found += [one.name for one in shown]
        if not token:
            break
    assert found == sorted(names)


def test_page_without_a_size_has_a_hundred():
    assert page.start(0, "") == ("", 100)


@pytest.mark.parametrize("token", ["!", "a", "/w==", "x" * 600, "a b"])
def test_page_of_a_foreign_token_is_refused(token):
    with pytest.raises(TetherError) as caught:
        page.start(1, token)
    assert caught.value.reason is Reason.INVALID_FIELD


@pytest.mark.parametrize("after", ["x", "-1", "1" * 19, "²"])
def test_page_number_that_is_none_is_refused(after):
    with pytest.raises(TetherError) as caught:
        page.number(after)
    assert caught.value.field == "page_token"


def test_page_number_is_read():
    assert (page.number(""), page.number("17")) == (0, 17)
