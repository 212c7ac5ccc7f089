"""Where dead letters are told of elsewhere: a sink that is fed in the background, and lost rather than waited for.

The store keeps every dead letter; a sink gets a copy when one dies and another when its request is handed over, under
the same name. What a sink does not take is counted and logged: it never holds up a job.
"""

import asyncio
import json
import urllib.request
from typing import Protocol
from urllib.parse import urlsplit

import structlog
from google.protobuf.json_format import MessageToDict

from tether.errors import Reason, TetherError
from tether.store.jobs import DeadLetter
from tether_orchestrator.dead_letter_message import letter_message
from tether_orchestrator.metrics import FORWARDED

_WAITING_MAX = 1_024  # a poisoned model for a minute or so; the store has them all
_POST_S = 5.0  # a sink that takes longer fails
_TRIES = 3
_PAUSE_S = 1.0  # between tries
_log = structlog.get_logger("tether.orchestrator")


class DeadLetterSink(Protocol):
    """Takes dead letters somewhere else."""

    async def send(self, letter: DeadLetter) -> None:
        """Take one, with all that is kept; the same name again replaces it. TetherError UNREACHABLE."""


class HttpSink:
    """Posts each dead letter as JSON: fields of `tether.v1.DeadLetter` by their proto names, bytes as base64.

    Args:
        url: http or https.
    """

    def __init__(self, url: str) -> None:
        if urlsplit(url).scheme not in ("http", "https"):
            raise TetherError(Reason.INVALID_FIELD, "A sink's address begins with http:// or https://")
        self._url = url

    async def send(self, letter: DeadLetter) -> None:
        """See `DeadLetterSink.send`."""
        document = MessageToDict(letter_message(letter, whole=True), preserving_proto_field_name=True)
        await asyncio.to_thread(self._post, json.dumps(document).encode(), letter.name)

    def _post(self, body: bytes, name: str) -> None:
        headers = {"content-type": "application/json", "idempotency-key": name}
        request = urllib.request.Request(self._url, body, headers, method="POST")  # noqa: S310 - the scheme is checked
        try:
            with urllib.request.urlopen(request, timeout=_POST_S):  # noqa: S310 - the same
                return
        except OSError as fault:
            raise TetherError(Reason.UNREACHABLE, f"The sink does not take it: {fault}") from fault


class Forwarder:
    """Feeds a sink in the background.

    Args:
        sink: takes them; None keeps them here.
    """

    def __init__(self, sink: DeadLetterSink | None) -> None:
        self._sink = sink
        self._waiting: asyncio.Queue[DeadLetter] = asyncio.Queue(_WAITING_MAX)
        self._task: asyncio.Task[None] | None = None

    @property
    def on(self) -> bool:
        """Whether there is a sink."""
        return self._sink is not None

    def put(self, letter: DeadLetter) -> None:
        """Forward one soon; one that does not fit any more is counted and left."""
        if self._sink is None:
            return
        if self._waiting.full():
            FORWARDED.labels("dropped").inc()
            return
        self._waiting.put_nowait(letter)
        if self._task is None:
            self._task = asyncio.create_task(self._run(self._sink))

    async def flushed(self) -> None:
        """Return once nothing waits."""
        await self._waiting.join()

    async def close(self) -> None:
        """Stop; what waits stays in the store alone."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _run(self, sink: DeadLetterSink) -> None:
        while True:
            letter = await self._waiting.get()
            try:
                await self._send(sink, letter)
            finally:
                self._waiting.task_done()

    async def _send(self, sink: DeadLetterSink, letter: DeadLetter) -> None:
        for tried in range(_TRIES):
            try:
                await sink.send(letter)
            except TetherError as error:
                _log.warning("dead_letter_not_forwarded", name=letter.name, tried=tried + 1, error=error.message)
                await asyncio.sleep(_PAUSE_S if tried + 1 < _TRIES else 0)
            else:
                FORWARDED.labels("sent").inc()
                return
        FORWARDED.labels("failed").inc()
