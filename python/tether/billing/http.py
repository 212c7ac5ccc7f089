"""Pushes batches to a billing endpoint: one signed POST each, taken when the endpoint answers 2xx.

The signature is the node's, over the body as sent, so that a receiver can tell that usage is of this network without
any secret that is shared.
Source: docs/billing.md.
"""

import base64
from typing import Protocol

from tether.billing import metrics
from tether.billing.address import address
from tether.billing.batch import SCHEMA, Batch
from tether.billing.post import PostError, post
from tether.errors import Reason, TetherError

KEY_HEADER = "idempotency-key"
SIGNATURE_HEADER, CREDENTIAL_HEADER = "tether-signature", "tether-credential"


class Signer(Protocol):
    """What signs, such as `tether.identity.Identity`."""

    @property
    def credential(self) -> bytes:
        """Serialized credential, at most 600 bytes."""

    def sign(self, context: str, body: bytes) -> bytes:
        """Return an Ed25519 signature, 64 bytes."""


class HttpSink:
    """A `UsageSink` that posts.

    Args:
        url: the endpoint.
        signer: the node.
        timeout_s: for one attempt.

    Raises:
        ValueError: `url` is none that usage may be sent to.
    """

    name = "http"

    def __init__(self, url: str, signer: Signer, timeout_s: float) -> None:
        self._address = address(url)
        self._signer = signer
        self._timeout_s = timeout_s

    async def take(self, batch: Batch) -> None:
        """See `UsageSink.take`."""
        with metrics.PUSH_SECONDS.time():
            try:
                answer = await post(self._address, self._headers(batch), batch.body, self._timeout_s)
            except PostError as error:
                raise TetherError(Reason.UNREACHABLE, f"The billing endpoint: {error}.") from error
        if not 200 <= answer.status < 300:
            text = f"The billing endpoint answered {answer.status}."
            raise TetherError(Reason.UNREACHABLE, text, retry_after_s=answer.retry_after_s)

    async def close(self) -> None:
        """Nothing is held between batches."""

    def _headers(self, batch: Batch) -> dict[str, str]:
        return {
            "content-type": "application/json",
            "user-agent": "tether",
            KEY_HEADER: batch.key,
            SIGNATURE_HEADER: _text(self._signer.sign(SCHEMA, batch.body)),
            CREDENTIAL_HEADER: _text(self._signer.credential),
        }


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
