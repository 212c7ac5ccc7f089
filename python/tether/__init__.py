"""Tether: a gRPC-first AI inference network. `tether.Client` streams answers; `tether` is the command line."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tether.client.aio import Client
    from tether.client.blocking import SyncClient, SyncStream
    from tether.client.result import Answer, Piece
    from tether.client.stream import Stream
    from tether.errors import Reason, TetherError

__version__ = "0.1.0"

__all__ = ["Answer", "Client", "Piece", "Reason", "Stream", "SyncClient", "SyncStream", "TetherError", "__version__"]

_HOMES = {
    "Answer": "tether.client.result",
    "Client": "tether.client.aio",
    "Piece": "tether.client.result",
    "Reason": "tether.errors",
    "Stream": "tether.client.stream",
    "SyncClient": "tether.client.blocking",
    "SyncStream": "tether.client.blocking",
    "TetherError": "tether.errors",
}


def __getattr__(name: str) -> object:
    """Import what is asked for on first use, so that `import tether` stays cheap for services and CLI."""
    if name not in _HOMES:
        message = f"module 'tether' has no attribute {name!r}"
        raise AttributeError(message)
    return getattr(import_module(_HOMES[name]), name)
