"""The sink that is built in: each dead letter as a JSON document, by HTTP POST. Imported only where one is set.

Only an answer of 2xx takes a letter: a redirect is followed nowhere, and the answer's body is not read.
Source: docs/design/streams.md §7; RFC 9110 §15.4.
"""

import json

from google.protobuf.json_format import MessageToDict

from tether.billing.address import address
from tether.billing.post import PostError, post
from tether.errors import Reason, TetherError
from tether.store.jobs import DeadLetter
from tether_orchestrator.dead_letter_message import letter_message

_POST_S = 5.0  # a sink that takes longer fails


class HttpSink:
    """Posts each dead letter as JSON: fields of `tether.v1.DeadLetter` by their proto names, bytes as base64.

    Args:
        url: https, or http on this machine: letters may hold requests.

    Raises:
        TetherError: INVALID_FIELD for an address that letters may not be sent to.
    """

    def __init__(self, url: str) -> None:
        try:
            self._address = address(url)
        except ValueError as error:
            raise TetherError(Reason.INVALID_FIELD, f"A sink's address {error}") from error

    async def send(self, letter: DeadLetter) -> None:
        """See `DeadLetterSink.send`."""
        document = MessageToDict(letter_message(letter, whole=True), preserving_proto_field_name=True)
        headers = {"content-type": "application/json", "idempotency-key": letter.name}
        try:
            answer = await post(self._address, headers, json.dumps(document).encode(), _POST_S)
        except PostError as fault:
            raise TetherError(Reason.UNREACHABLE, f"The sink does not take it: {fault}") from fault
        if not 200 <= answer.status < 300:
            raise TetherError(Reason.UNREACHABLE, f"The sink answered {answer.status}")
