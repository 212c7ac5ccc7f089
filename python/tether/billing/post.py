"""One HTTP/1.1 POST on a connection of its own, within one deadline.

A batch a minute needs no pool and no library: the request is written, the head of the answer is read, and the
connection goes. What the answer's body says is not read, so an endpoint that answers without end costs nothing.
Source: RFC 9112; RFC 9110 §15.2 (interim responses), §10.2.3 (Retry-After).
"""

import asyncio
import contextlib
import ssl
from collections.abc import Mapping
from dataclasses import dataclass

from tether.billing.address import Address

HEAD_BYTES_MAX = 16_384  # status line and headers; servers send under 1 KiB
INTERIM_MAX = 4  # 1xx answers before the real one


class PostError(Exception):
    """No answer came: the connection failed, took too long, or did not speak HTTP."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What an endpoint said.

    Attributes:
        status: HTTP status, 200 to 599.
        retry_after_s: seconds it asks to wait, or None.
    """

    status: int
    retry_after_s: float | None


async def post(where: Address, headers: Mapping[str, str], body: bytes, timeout_s: float) -> Answer:
    """Send a body and return what the endpoint said.

    Args:
        where: the endpoint.
        headers: besides host, length and connection.
        body: the content.
        timeout_s: for all of it, from look-up of the name to the answer.

    Raises:
        PostError: no answer came.
    """
    try:
        async with asyncio.timeout(timeout_s):
            return await _exchange(where, headers, body)
    except TimeoutError as error:
        raise PostError(f"no answer within {timeout_s:g} s") from error
    except asyncio.LimitOverrunError as error:
        raise PostError("the answer's head has no end") from error
    except asyncio.IncompleteReadError as error:
        raise PostError("the connection ended before an answer") from error
    except ssl.SSLError as error:
        raise PostError(f"TLS failed: {error.reason or 'no reason given'}") from error
    except OSError as error:
        raise PostError(f"the connection failed: {error.strerror or type(error).__name__}") from error


async def _exchange(where: Address, headers: Mapping[str, str], body: bytes) -> Answer:
    context = ssl.create_default_context() if where.tls else None
    reader, writer = await asyncio.open_connection(where.host, where.port, ssl=context, limit=HEAD_BYTES_MAX)
    try:
        writer.write(_head(where, headers, len(body)))
        writer.write(body)
        # an endpoint may answer before it has read all; its answer counts more than our writing
        with contextlib.suppress(ConnectionError):
            await writer.drain()
        return await _answer(reader)
    finally:
        writer.transport.abort()  # the answer is here or nothing is: no farewell can hold us up


def _head(where: Address, headers: Mapping[str, str], length: int) -> bytes:
    fixed = {"host": where.authority, "content-length": str(length), "connection": "close"}
    lines = [f"POST {where.target} HTTP/1.1", *(f"{name}: {value}" for name, value in {**headers, **fixed}.items())]
    return "\r\n".join([*lines, "", ""]).encode("ascii")


async def _answer(reader: asyncio.StreamReader) -> Answer:
    for _ in range(INTERIM_MAX + 1):
        answer = read_head(await reader.readuntil(b"\r\n\r\n"))
        if answer.status >= 200:
            return answer
    raise PostError("only interim answers came")


def read_head(raw: bytes) -> Answer:
    """Read the head of an answer.

    Raises:
        PostError: it is no HTTP.
    """
    first, *lines = raw.decode("latin-1").split("\r\n")
    version, _, rest = first.partition(" ")
    code = rest[:3]
    if not version.startswith("HTTP/1.") or not (code.isascii() and code.isdigit() and 100 <= int(code) <= 599):
        raise PostError("the answer is no HTTP")
    waits = [
        value.strip() for name, _, value in (line.partition(":") for line in lines) if name.lower() == "retry-after"
    ]
    told = waits[0] if waits else ""
    return Answer(int(code), float(told) if told.isascii() and told.isdigit() and len(told) < 8 else None)
