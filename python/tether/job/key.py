"""The name a client gives a request, so that a repeat is recognised.

A job's key is (tenant, correlation id, retry token); its id is a keyed hash of the key, which neither collides across
tenants nor can be guessed. The native `cut_request` fills in the half of a name that was left out.
Source: docs/design/streams.md §1; BLAKE2 (RFC 7693) in keyed mode.
"""

import hashlib

JOB_ID_BYTES = 16
SECRET_BYTES = 32


def job_id(secret: bytes, tenant: str, correlation_id: str, retry_token: str) -> bytes:
    """The id of a job.

    Args:
        secret: the job store's own key, 32 bytes.
        tenant: who pays.
        correlation_id: as in the header.
        retry_token: as in the header.

    Returns:
        16 bytes: keyed BLAKE2b over the parts, each after its length.
    """
    parts = [part.encode() for part in (tenant, correlation_id, retry_token)]
    form = b"".join(len(part).to_bytes(2, "big") + part for part in parts)
    return hashlib.blake2b(form, digest_size=JOB_ID_BYTES, key=secret, person=b"tether/job/v1").digest()
