"""What a receiver of usage does: check that a batch is of an orchestrator of the network.

Source: docs/billing.md.
"""

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any, Protocol

from tether.billing.batch import SCHEMA
from tether.billing.http import CREDENTIAL_HEADER, KEY_HEADER, SIGNATURE_HEADER
from tether.errors import Reason, TetherError
from tether.identity.role import Role


class Verifier(Protocol):
    """What is needed of `tether.identity.Trust`."""

    def signed(
        self, context: str, body: bytes, signed: bytes, credential: bytes, role: Role, now_s: float, /
    ) -> object:
        """Return who signed; TetherError where it does not hold."""


def verify(headers: Mapping[str, str], body: bytes, trust: Verifier, now_s: float) -> Mapping[str, Any]:
    """Return a batch once its signature holds.

    Args:
        headers: of the request, names in lower case.
        body: as it came, byte for byte.
        trust: made from the network's root document: `Trust.load(folder)`.
        now_s: seconds since the Unix epoch.

    Raises:
        TetherError: ARTIFACT_UNTRUSTED or an error of `Trust` where it does not hold; MALFORMED.
    """
    trust.signed(
        SCHEMA, body, _raw(headers, SIGNATURE_HEADER), _raw(headers, CREDENTIAL_HEADER), Role.ORCHESTRATOR, now_s
    )
    try:
        found = json.loads(body)
    except ValueError as error:
        raise TetherError(Reason.MALFORMED, "The batch is no JSON.") from error
    if not isinstance(found, dict) or found.get("schema") != SCHEMA or found.get("key") != headers.get(KEY_HEADER):
        raise TetherError(Reason.MALFORMED, "The batch is of another schema, or its key is another than its header's.")
    return found


def _raw(headers: Mapping[str, str], name: str) -> bytes:
    try:
        return base64.b64decode(headers.get(name, ""), validate=True)
    except binascii.Error as error:
        raise TetherError(Reason.MALFORMED, f"{name} is no base64.") from error
