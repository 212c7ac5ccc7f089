"""One POST against a real socket: what comes back, and that nothing an endpoint does holds it past its deadline."""

import asyncio
import socket
import time

import pytest

from tether.billing.address import address
from tether.billing.post import Answer, PostError, post, read_head

BODY = b"x" * 300_000


async def send(endpoint, timeout_s=5.0, body=b"{}"):
    return await post(address(endpoint.url), {"idempotency-key": "k"}, body, timeout_s)


async def test_post_sends_all_and_reads_the_status(endpoint):
    assert await send(endpoint, body=BODY) == Answer(204, None)
    headers, body = endpoint.requests[0]
    assert body == BODY
    assert headers[":"] == "POST /usage?x=1 HTTP/1.1"
    assert (headers["content-length"], headers["connection"], headers["idempotency-key"]) == ("300000", "close", "k")


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"HTTP/1.1 500 Oh\r\n\r\n", Answer(500, None)),
        (b"HTTP/1.0 503 Busy\r\nRetry-After: 7\r\n\r\nbody", Answer(503, 7.0)),
        (b"HTTP/1.1 503 Busy\r\nretry-after: Fri, 31 Dec 1999 23:59:59 GMT\r\n\r\n", Answer(503, None)),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", Answer(200, None)),
        (b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 500 Oh\r\n\r\n", Answer(200, None)),
        (b"HTTP/1.1 302 Found\r\nlocation: /elsewhere\r\n\r\n", Answer(302, None)),
    ],
)
async def test_post_reads_one_answer(endpoint, raw, expected):
    endpoint.answers = [raw]
    assert await send(endpoint) == expected


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"SSH-2.0-OpenSSH\r\n\r\n", "no HTTP"),
        (b"HTTP/1.1 abc\r\n\r\n", "no HTTP"),
        (b"HTTP/1.1 99 low\r\n\r\n", "no HTTP"),
        (b"", "ended"),
        (b"HTTP/1.1 200 OK\r\n", "ended"),
        (b"HTTP/1.1 200 OK\r\n" + b"a: " + b"b" * 40_000, "no end"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 10, "interim"),
    ],
)
async def test_post_that_gets_no_answer_says_why(endpoint, raw, words):
    endpoint.answers = [raw]
    with pytest.raises(PostError, match=words):
        await send(endpoint)


async def test_post_to_an_endpoint_that_hangs_ends_at_its_deadline(endpoint):
    endpoint.answers = [None]
    began_s = time.monotonic()
    with pytest.raises(PostError, match=r"within 0\.1 s"):
        await send(endpoint, 0.1)
    assert time.monotonic() - began_s < 2


async def test_post_to_an_endpoint_that_reads_nothing_ends_at_its_deadline():
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        where = address(f"http://127.0.0.1:{deaf.getsockname()[1]}/")
        with pytest.raises(PostError, match="within"):
            await post(where, {}, b"x" * 20_000_000, 0.2)


async def test_post_to_nobody_says_so():
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    with pytest.raises(PostError, match="connection failed"):
        await post(address(f"http://127.0.0.1:{port}/"), {}, b"", 5.0)


async def test_post_by_tls_to_a_plain_endpoint_fails_and_does_not_hang(endpoint):
    where = address(endpoint.url.replace("http://", "https://"))
    with pytest.raises(PostError):
        await asyncio.wait_for(post(where, {}, b"", 0.3), 5)


def test_head_takes_the_first_of_two_waits():
    raw = b"HTTP/1.1 429 Slow\r\nRetry-After: 3\r\nRetry-After: 9\r\n\r\n"
    assert read_head(raw) == Answer(429, 3.0)
