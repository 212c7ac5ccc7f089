"""grpc.health.v1: whether each service of this process takes work.

A board of statuses with any number of watchers. A watcher that does not read holds nobody up: it wakes, looks at the
board and writes what it sees, so it may miss a state in between but never the last.
Source: grpc/health/v1/health.proto.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from grpc import StatusCode, aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tether.errors import Reason, TetherError

SERVICE = "grpc.health.v1.Health"
WATCHERS_MAX = 1_024  # load balancers and peers hold one each; more is a leak or an attack

_Status = health_pb2.HealthCheckResponse


class HealthBoard(health_pb2_grpc.HealthServicer):
    """Serves Check and Watch; empty name is the whole process."""

    def __init__(self) -> None:
        self._serving: dict[str, bool] = {"": False}
        self._changed = asyncio.Event()
        self._watchers = 0
        self._draining = False

    def install(self, server: aio.Server) -> str:
        """Add the service to `server` and return its full name."""
        health_pb2_grpc.add_HealthServicer_to_server(self, server)
        return SERVICE

    def set(self, service: str, *, serving: bool) -> None:
        """Say whether a service takes work. After `drain` nothing changes any more."""
        if not self._draining:
            self._serving[service] = serving
            self._announce()

    def drain(self) -> None:
        """Say NOT_SERVING everywhere, for good."""
        self._draining = True
        self._serving = dict.fromkeys(self._serving, False)
        self._announce()

    def serving(self, service: str = "") -> bool:
        """Tell what the board says of a service."""
        return self._serving.get(service, False)

    async def Check(  # noqa: N802  the contract's name
        self, request: health_pb2.HealthCheckRequest, context: aio.ServicerContext[Any, Any]
    ) -> health_pb2.HealthCheckResponse:
        """Return the status of one service; NOT_FOUND where there is none of that name."""
        if request.service not in self._serving:
            await context.abort(StatusCode.NOT_FOUND, "no such service")
        return _Status(status=self._status(request.service))

    async def Watch(  # noqa: N802  the contract's name
        self, request: health_pb2.HealthCheckRequest, _context: aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        """Stream the status of one service: at once, then at each change.

        A drain ends the stream after its NOT_SERVING: a watcher must not keep a server from stopping.
        """
        if self._watchers >= WATCHERS_MAX:
            raise TetherError(Reason.OVERLOADED, f"{WATCHERS_MAX} watch this server already.", retry_after_s=1.0)
        self._watchers += 1
        try:
            last = None
            while True:
                changed, status = self._changed, self._status(request.service)
                if status != last:
                    yield _Status(status=status)
                    last = status
                if self._draining:
                    return
                await changed.wait()
        finally:
            self._watchers -= 1

    def _status(self, service: str) -> int:
        if service not in self._serving:
            return _Status.SERVICE_UNKNOWN
        return _Status.SERVING if self._serving[service] else _Status.NOT_SERVING

    def _announce(self) -> None:
        """Wake every watcher; those who come later wait on a new event."""
        self._changed.set()
        self._changed = asyncio.Event()
