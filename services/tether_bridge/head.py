"""Limits on the head of a request, which uvicorn leaves open: how long it may be, and how long it may take.

A connection that sends no whole head in time, or one without end, is closed; it costs a timer and nothing else.
Source: CWE-400 and the "slow loris" attack of 2009.
"""

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from tether_bridge import metrics

HEAD_BYTES_MAX = 65_536  # an OIDC token and a dozen headers fill 10 KiB
HEAD_S = 10.0  # a head is one packet; ten seconds forgive a bad network


class HeadLimits(HttpToolsProtocol):
    """A connection whose heads are limited."""

    _head_bytes = 0
    _in_body = False
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Expect a head."""
        super().connection_made(transport)
        self._expect()

    def connection_lost(self, exc: Exception | None) -> None:
        """Expect nothing more."""
        self._stop()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes; those of a head count."""
        if not self._in_body and self._timer is None:
            self._expect()
        super().data_received(data)
        if self._timer is not None:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES_MAX:
                self._refuse("long")

    def on_headers_complete(self) -> None:
        """Note the end of a head."""
        self._stop()
        self._in_body = True
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Note the end of a body; what comes next is a head."""
        self._in_body = False
        super().on_message_complete()

    def _expect(self) -> None:
        self._head_bytes = 0
        self._timer = self.loop.call_later(HEAD_S, self._refuse, "slow")

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _refuse(self, why: str) -> None:
        self._stop()
        metrics.HEADS_REFUSED.labels(why).inc()
        self.transport.abort()
