"""An HTTP endpoint on a real socket that does what a test tells it, and usage to send."""

import asyncio
import contextlib
from dataclasses import dataclass, field

import pytest

from tether.billing.batch import Origin
from tether.job.hold import Position
from tether.store.jobs import Usage

ORIGIN = Origin(bytes(range(32)), "eu-west", b"s" * 16)
OK = b"HTTP/1.1 204 No Content\r\n\r\n"


def usage(number: int, at_ms: int = 1_800_000_000_000) -> Usage:
    """Return a row of usage."""
    used = Position(10 + number, 5, 20)
    return Usage(number, "acme", number.to_bytes(16, "big"), 1, "m", "1.0", used, 2, 7, at_ms)


@dataclass
class Endpoint:
    """What it was sent, and what it answers: bytes, or None to hang; the last one counts for all that follow."""

    answers: list[bytes | None] = field(default_factory=lambda: [OK])
    requests: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    url: str = ""
    got: asyncio.Event = field(default_factory=asyncio.Event)
    waiting: set[asyncio.StreamWriter] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Read one request and answer it."""
        self.waiting.add(writer)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            first, *lines = head.strip().split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            body = await reader.readexactly(int(headers["content-length"]))
            self.requests.append(({**headers, ":": first}, body))
            self.got.set()
            answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
            if answer is None:
                await reader.read()  # hangs until the other side has had enough
            else:
                writer.write(answer)
                await writer.drain()
        self.waiting.discard(writer)
        writer.transport.abort()

    @property
    def keys(self) -> list[str]:
        """Idempotency keys in the order they came."""
        return [headers["idempotency-key"] for headers, _ in self.requests]


@pytest.fixture
async def endpoint():
    made = Endpoint()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/usage?x=1"
    yield made
    server.close()
    for writer in list(made.waiting):
        writer.transport.abort()
    await server.wait_closed()
