"""The Prometheus page: one port per process, on loopback, only when it is asked for.

Metrics live in `prometheus_client`'s registry of the process, so services that share a process share the page: the
first one that asks opens it, the last one that closes ends it.
Source: Prometheus exposition format; OpenMetrics 1.0.
"""

import asyncio
import errno
import socket
from importlib import metadata

import structlog
from prometheus_client import REGISTRY, Info
from prometheus_client.exposition import choose_encoder

from tether.errors import Reason, TetherError

HOST = "127.0.0.1"
SCRAPES_MAX = 8  # a scraper and a few people; more wait for nothing
REQUEST_BYTES_MAX = 8_192  # a scraper's request is a few hundred bytes
REQUEST_S_MAX = 5.0  # half of a scraper's usual timeout

_log = structlog.get_logger("tether.metrics")


class MetricsPage:
    """Serves `/metrics` on loopback, to as many users of the process as joined."""

    def __init__(self, listener: socket.socket) -> None:
        self.address = f"{HOST}:{listener.getsockname()[1]}"
        self._listener = listener
        self._server: asyncio.Server | None = None
        self._users = 0
        self._scrapes = 0

    async def join(self) -> None:
        """Use the page; the first one starts it."""
        self._users += 1
        if self._users == 1:
            self._server = await asyncio.start_server(self._answer, sock=self._listener, limit=REQUEST_BYTES_MAX)

    async def close(self) -> None:
        """Leave the page; the last one out ends it."""
        global _shared  # noqa: PLW0603  see below
        self._users -= 1
        if self._users == 0 and self._server is not None:
            _shared = None if _shared is self else _shared
            self._server.close()
            await self._server.wait_closed()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request and close: scrapes are seconds apart."""
        self._scrapes += 1
        try:
            async with asyncio.timeout(REQUEST_S_MAX):
                writer.write(await self._response(reader))
                await writer.drain()
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            _log.debug("scrape broken off", error=type(error).__name__)
        finally:
            self._scrapes -= 1
            writer.close()

    async def _response(self, reader: asyncio.StreamReader) -> bytes:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        method, _, rest = head.partition(" ")
        path = rest.partition(" ")[0].partition("?")[0]
        if self._scrapes > SCRAPES_MAX:
            return _reply("503 Service Unavailable", "text/plain", b"too many scrapes\n")
        if method not in {"GET", "HEAD"} or path not in {"/", "/metrics"}:
            return _reply("404 Not Found", "text/plain", b"see /metrics\n")
        encode, content_type = choose_encoder(_header(head, "accept"))
        return _reply("200 OK", content_type, await asyncio.to_thread(encode, REGISTRY))


_shared: MetricsPage | None = None  # the registry is the process's, and so is its page
_build: Info | None = None


async def open_page(port: int, *, flag: str = "--metrics-port") -> MetricsPage:
    """Open the process's page, or share it where it is open.

    Args:
        port: on loopback; 0 is any free one. Whoever comes later shares the first one's port.
        flag: the setting that the port came from, for the message.

    Raises:
        TetherError: PORT_IN_USE, naming port and flag.
    """
    global _shared  # noqa: PLW0603  see above
    if _shared is None:
        _shared = MetricsPage(_listen(port, flag))
        _tell_version()
    page = _shared
    await page.join()
    return page


def _listen(port: int, flag: str) -> socket.socket:
    try:
        return socket.create_server((HOST, port))
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise TetherError(Reason.INVALID_FIELD, f"Port {port} ({flag}) cannot be bound.", field=flag) from error
        facts = {"port": str(port), "flag": flag}
        raise TetherError(Reason.PORT_IN_USE, f"Port {port} is in use ({flag}).", metadata=facts) from error


def _header(head: str, name: str) -> str:
    """Return a header's value, or nothing."""
    for line in head.split("\r\n")[1:]:
        key, _, value = line.partition(":")
        if key.strip().lower() == name:
            return value.strip()
    return ""


def _reply(status: str, content_type: str, body: bytes) -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n"
    return f"{head}Connection: close\r\n\r\n".encode() + body


def _tell_version() -> None:
    """Say which version runs, once."""
    global _build  # noqa: PLW0603  the registry takes a name once
    if _build is None:
        _build = Info("tether_build", "Version that runs.")
        _build.info({"version": metadata.version("tether-mesh")})
