"""The address of a billing endpoint, checked before anything is sent there.

Source: RFC 3986.
"""

from dataclasses import dataclass
from urllib.parse import urlsplit

from tether.config import is_loopback

PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Address:
    """Where to post.

    Attributes:
        host: name or IP, without brackets.
        port: TCP.
        target: path and query.
        tls: whether the connection is encrypted.
    """

    host: str
    port: int
    target: str
    tls: bool

    @property
    def authority(self) -> str:
        """Host and port for the `host` header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS["https" if self.tls else "http"] else f"{host}:{self.port}"


def address(url: str) -> Address:
    """Read the URL of an endpoint.

    Raises:
        ValueError: it is none, holds a password, or would send usage over a network in the clear.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ValueError("must be a URL such as https://billing.example/usage") from error
    if parts.scheme not in PORTS or not parts.hostname or not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError("must be a URL such as https://billing.example/usage")
    if parts.username is not None or parts.password is not None:
        raise ValueError("must hold no user or password: batches are signed")
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        raise ValueError("must be https beyond this machine: usage would be sent in the clear")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Address(parts.hostname, port or PORTS[parts.scheme], target, parts.scheme == "https")
