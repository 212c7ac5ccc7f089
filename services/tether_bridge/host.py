"""uvicorn as a guest of somebody else's event loop: no signal handlers, no log settings, a socket bound before.

A port in use is an error of the closed set, found before anything else starts.
"""

import asyncio
import contextlib
import errno
import logging
import socket
from collections.abc import Iterator
from typing import Any

import uvicorn

from tether.config import split_address
from tether.errors import Reason, TetherError
from tether_bridge.head import HeadLimits

BACKLOG = 1_024  # connections that wait to be accepted; a burst of clients
IDLE_S = 75  # longer than the idle time of common clients and proxies, so that they close first
FLAG = "--bridge-port"


class _Guest(uvicorn.Server):
    """A server that leaves signals alone and says when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to whoever owns the loop."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen."""
        await super().startup(sockets)
        self.listening.set()


class Host:
    """Serves an ASGI application at host:port.

    Args:
        address: host:port on loopback; port 0 is any free one.

    Raises:
        TetherError: PORT_IN_USE, naming port and flag; INVALID_FIELD where the host is not this machine's.
    """

    def __init__(self, address: str) -> None:
        self._socket = _bind(address)
        host, _ = split_address(address)
        shown = f"[{host}]" if ":" in host else host
        self.address = f"{shown}:{self._socket.getsockname()[1]}"
        self._server: _Guest | None = None
        self._task: asyncio.Task[None] | None = None

    async def serve(self, app: Any) -> None:  # noqa: ANN401  ASGI's own type is as wide
        """Begin to serve; returns once it listens."""
        config = uvicorn.Config(
            app,
            loop="none",
            http=HeadLimits,
            ws="none",
            lifespan="off",
            access_log=False,
            log_config=None,
            log_level=logging.WARNING,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=IDLE_S,
            backlog=BACKLOG,
        )
        self._server = server = _Guest(config)
        self._task = asyncio.create_task(server.serve([self._socket]), name="bridge-http")
        listening = asyncio.create_task(server.listening.wait())
        await asyncio.wait({self._task, listening}, return_when=asyncio.FIRST_COMPLETED)
        listening.cancel()
        if self._task.done():
            self._task.result()

    async def close(self, grace_s: float = 0.0) -> None:
        """Accept no more and let exchanges end within `grace_s`; the same again does nothing."""
        server, self._server = self._server, None
        task, self._task = self._task, None
        if server is not None and task is not None:
            server.config.timeout_graceful_shutdown = max(1, round(grace_s))
            server.should_exit = True
            await asyncio.gather(task, return_exceptions=True)
        self._socket.close()


def _bind(address: str) -> socket.socket:
    host, port = split_address(address)
    family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((host, port))
        made.listen(BACKLOG)
    except OSError as error:
        made.close()
        if error.errno == errno.EADDRINUSE:
            facts = {"port": str(port), "flag": FLAG}
            raise TetherError(
                Reason.PORT_IN_USE, f"Port {port} of {host} is in use ({FLAG}).", metadata=facts
            ) from error
        text = f"{address} ({FLAG}) cannot be bound: {error.strerror}."
        raise TetherError(Reason.INVALID_FIELD, text, field="http") from error
    made.setblocking(False)  # noqa: FBT003  the standard library's own flag
    return made
