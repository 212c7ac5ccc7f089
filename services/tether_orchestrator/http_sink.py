"""The sink that is built in: each dead letter as a JSON document, by HTTP POST. Imported only where one is set.

Source: docs/design/streams.md §7.
"""

import asyncio
import json
import urllib.request
from http.client import HTTPException
from urllib.parse import urlsplit

from google.protobuf.json_format import MessageToDict

from tether.errors import Reason, TetherError
from tether.store.jobs import DeadLetter
from tether_orchestrator.dead_letter_message import letter_message

_POST_S = 5.0  # a sink that takes longer fails


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
        except (OSError, HTTPException) as fault:
            raise TetherError(Reason.UNREACHABLE, f"The sink does not take it: {fault}") from fault
