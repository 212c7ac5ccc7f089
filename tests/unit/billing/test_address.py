"""Addresses of endpoints: what may be sent to, and that nothing goes over a network in the clear."""

import pytest

from tether.billing.address import Address, address


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://billing.example/usage", Address("billing.example", 443, "/usage", tls=True)),
        ("https://billing.example:8443", Address("billing.example", 8443, "/", tls=True)),
        ("http://127.0.0.1:9000/a?b=c", Address("127.0.0.1", 9000, "/a?b=c", tls=False)),
        ("http://[::1]/", Address("::1", 80, "/", tls=False)),
    ],
)
def test_address_is_read(url, expected):
    assert address(url) == expected


def test_address_authority_leaves_the_usual_port_out():
    assert address("https://b.example/x").authority == "b.example"
    assert address("http://[::1]:81/").authority == "[::1]:81"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "billing.example",
        "ftp://billing.example",
        "https://",
        "https://h:port/",
        "https://h/a b",
        "https://h/a\r\nx: y",
        "https://user:secret@h/",
        "http://billing.example/usage",
        "https://h:99999/",
        "https://ü.example/",
    ],
)
def test_address_that_is_none_or_unsafe_is_refused_without_its_secret(url):
    with pytest.raises(ValueError, match="must") as caught:
        address(url)
    assert "secret" not in str(caught.value)
