"""The name a client gives a request, so that a repeat is recognised.

A job's key is (tenant, correlation id, retry token); its id is a keyed hash of the key, which neither collides across
tenants nor can be guessed. A request that names nothing gets a drawn name and is unkeyed.
Source: docs/design/streams.md §1; BLAKE2 (RFC 7693) in keyed mode.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from tether.errors import Reason, TetherError

NAME_BYTES_MAX = 128  # as infer.proto says
JOB_ID_BYTES = 16
SECRET_BYTES = 32


@dataclass(frozen=True, slots=True)
class JobKey:
    """A normalised name.

    Attributes:
        correlation_id: never empty.
        retry_token: may be empty.
        keyed: whether the client named the job.
    """

    correlation_id: str
    retry_token: str
    keyed: bool


def normalise(correlation_id: str, retry_token: str, draw: Callable[[], str]) -> JobKey:
    """The key of a request.

    Args:
        correlation_id: as sent; may be empty.
        retry_token: as sent; may be empty.
        draw: gives a new random name.

    Returns:
        The key: with only a retry token the correlation id equals it; with neither both are drawn.

    Raises:
        TetherError: INVALID_FIELD, where a part is too long or not visible ASCII.
    """
    _check("correlation_id", correlation_id)
    _check("retry_token", retry_token)
    if not correlation_id and not retry_token:
        return JobKey(draw(), draw(), keyed=False)
    return JobKey(correlation_id or retry_token, retry_token, keyed=True)


def job_id(secret: bytes, tenant: str, correlation_id: str, retry_token: str) -> bytes:
    """The id of a job.

    Args:
        secret: the job store's own key, 32 bytes.
        tenant: who pays.
        correlation_id: of the normalised key.
        retry_token: of the normalised key.

    Returns:
        16 bytes: keyed BLAKE2b over the parts, each after its length.
    """
    parts = [part.encode() for part in (tenant, correlation_id, retry_token)]
    form = b"".join(len(part).to_bytes(2, "big") + part for part in parts)
    return hashlib.blake2b(form, digest_size=JOB_ID_BYTES, key=secret, person=b"tether/job/v1").digest()


def _check(field: str, value: str) -> None:
    if len(value) > NAME_BYTES_MAX:
        raise TetherError(Reason.INVALID_FIELD, f"{field} is over {NAME_BYTES_MAX} characters", field=field)
    if not all("!" <= character <= "~" for character in value):
        raise TetherError(Reason.INVALID_FIELD, f"{field} must be visible ASCII without spaces", field=field)
