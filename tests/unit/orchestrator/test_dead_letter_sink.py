"""The sink: dead letters go out in the background, again after a failure, and never hold anybody up."""

import asyncio
import base64
import json
from typing import Any

import pytest

from tether.errors import Reason, TetherError
from tether.store.jobs import DeadLetter
from tether_orchestrator import dead_letter_sink as module
from tether_orchestrator import http_sink
from tether_orchestrator.dead_letter_sink import Forwarder
from tether_orchestrator.http_sink import HttpSink

WAIT_S = 3.0


def letter(name: str = "ab" * 16, request: bytes = b"\x00sealed") -> DeadLetter:
    return DeadLetter(
        name, 1, bytes.fromhex("ab" * 16), "acme", "demo", "POISON", "it kills", "w", b"f" * 32, "t" * 32, "", 7,
        1_700_000_000_000, 0, None, request=request,
    )  # fmt: skip


class Endpoint:
    """An HTTP server that answers with the next status."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = list(statuses)
        self.bodies: list[tuple[dict[str, str], Any]] = []

    async def start(self) -> str:
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return f"http://127.0.0.1:{self.server.sockets[0].getsockname()[1]}/letters"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:]) if name}
        body = json.loads(await reader.readexactly(int(headers["content-length"])))
        self.bodies.append((headers, body))
        status = self.statuses.pop(0) if self.statuses else 204
        writer.write(f"HTTP/1.1 {status} X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".encode())
        await writer.drain()
        writer.close()

    async def close(self) -> None:
        self.server.close()
        await self.server.wait_closed()


async def test_letter_is_posted_whole_and_again_after_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PAUSE_S", 0.0)
    endpoint = Endpoint(500, 200)
    forwarder = Forwarder(HttpSink(await endpoint.start()))
    forwarder.put(letter())
    await asyncio.wait_for(forwarder.flushed(), WAIT_S)
    (headers, first), (_, second) = endpoint.bodies
    assert headers["idempotency-key"] == "ab" * 16
    assert first == second
    assert (first["name"], first["reason"]) == ("ab" * 16, "POISON")
    assert base64.b64decode(first["request"]) == b"\x00sealed"
    await forwarder.close()
    await endpoint.close()


class Deaf:
    """A sink that never takes anything."""

    def __init__(self) -> None:
        self.asked = 0

    async def send(self, letter: DeadLetter) -> None:
        self.asked += 1
        raise TetherError(Reason.UNREACHABLE, "no")


async def test_letter_that_no_sink_takes_is_left_to_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PAUSE_S", 0.0)
    monkeypatch.setattr(module, "_WAITING_MAX", 2)
    deaf = Deaf()
    forwarder = Forwarder(deaf)
    for number in range(5):
        forwarder.put(letter(str(number)))
    await asyncio.wait_for(forwarder.flushed(), WAIT_S)
    assert deaf.asked == 2 * 3
    await forwarder.close()


async def test_without_a_sink_nothing_is_done() -> None:
    forwarder = Forwarder(None)
    forwarder.put(letter())
    assert not forwarder.on
    await forwarder.close()


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "http://example.org/", "https://u:p@example.org/", "https://[::1/"]
)
def test_address_that_letters_may_not_go_to_is_refused(url: str) -> None:
    with pytest.raises(TetherError) as caught:
        HttpSink(url)
    assert caught.value.reason is Reason.INVALID_FIELD


async def test_endpoint_that_speaks_no_http_is_unreachable() -> None:
    async def garbage(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"\x00\x01 no http\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(garbage, "127.0.0.1", 0)
    sink = HttpSink(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
    with pytest.raises(TetherError) as caught:
        await sink.send(letter())
    assert caught.value.reason is Reason.UNREACHABLE
    server.close()
    await server.wait_closed()


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/login\r\n\r\n",
        b"HTTP/1.1 307 Temporary Redirect\r\nlocation: http://127.0.0.1:1/\r\n\r\n",
        b"HTTP/1.1 500 Oops\r\n\r\n",
        b"",
        b"HTTP/1.1 2",
    ],
)
async def test_endpoint_that_does_not_take_a_letter_has_not_got_it(answer: bytes) -> None:
    sink, server = await answering(answer)
    with pytest.raises(TetherError) as caught:
        await sink.send(letter())
    assert caught.value.reason is Reason.UNREACHABLE
    server.close()


async def test_endpoint_that_hangs_or_says_too_much_holds_nothing_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_sink, "_POST_S", 0.2)
    hung = asyncio.Event()
    sink, server = await answering(b"", hung)
    with pytest.raises(TetherError, match="no answer within"):
        await sink.send(letter())
    hung.set()
    server.close()
    sink, server = await answering(b"HTTP/1.1 200 OK\r\n\r\n" + bytes(8_000_000))
    await sink.send(letter())
    server.close()


async def answering(answer: bytes, wait: asyncio.Event | None = None) -> tuple[HttpSink, asyncio.Server]:
    """A sink at an endpoint that reads a head and sends this."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if wait is not None:
            await wait.wait()
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    return HttpSink(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"), server
