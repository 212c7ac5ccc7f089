"""gRPC servers as every service makes them: limits on everything, one error wrapper, one clear refusal of a bad port.

Source: gRFC A8 and A9 (keepalive); grpc's `grpc_types.h` for the names of the channel arguments.
"""

import errno
import socket
from collections.abc import Sequence
from typing import Any

from grpc import aio

from tether import config
from tether.errors import Reason, TetherError
from tether.rpc.wrap import ErrorInterceptor

RECEIVE_BYTES_MAX = 4 << 20  # grpc's own default: a request of 1 MiB with room for its framing and its metadata
SEND_BYTES_MAX = 16 << 20  # the largest answer is a snapshot of the registry
STREAMS_MAX = 1_024  # per connection; a gateway's links and calls to one orchestrator stay far below
CALLS_MAX = 8_192  # in one process: 8,192 streams of 64 KiB buffers are half a gigabyte, more would thrash
METADATA_BYTES_MAX = 16_384  # a node token is 1.5 KB, traceparent and baggage 8 KiB at most
KEEPALIVE_MS = 10_000  # well under the minute after which NATs forget a connection
KEEPALIVE_TIMEOUT_MS = 5_000  # a link's own beat is faster; this ends what has no beat
PING_INTERVAL_MIN_MS = 5_000  # half of what our channels send, so that jitter is no strike


def options(receive_bytes_max: int = RECEIVE_BYTES_MAX, streams_max: int = STREAMS_MAX) -> list[tuple[str, Any]]:
    """Return the channel arguments of a server."""
    return [
        ("grpc.so_reuseport", 0),  # a second process on the same port must fail, not share it
        ("grpc.max_receive_message_length", receive_bytes_max),
        ("grpc.max_send_message_length", SEND_BYTES_MAX),
        ("grpc.max_concurrent_streams", streams_max),
        ("grpc.absolute_max_metadata_size", METADATA_BYTES_MAX),
        ("grpc.max_metadata_size", METADATA_BYTES_MAX),
        ("grpc.keepalive_time_ms", KEEPALIVE_MS),
        ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_MS),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", PING_INTERVAL_MIN_MS),
        ("grpc.http2.max_ping_strikes", 3),
    ]


def create(
    *,
    receive_bytes_max: int = RECEIVE_BYTES_MAX,
    streams_max: int = STREAMS_MAX,
    calls_max: int = CALLS_MAX,
    interceptors: Sequence[aio.ServerInterceptor] = (),
) -> aio.Server:
    """Make a server on the running loop; what its handlers raise becomes an error of the closed set.

    Args:
        receive_bytes_max: largest message that is taken; a larger one ends its call with RESOURCE_EXHAUSTED.
        streams_max: most calls of one connection at a time.
        calls_max: most calls at a time.
        interceptors: more wrappers, outermost first, inside the one for errors.
    """
    return aio.server(
        interceptors=[ErrorInterceptor(), *interceptors],
        options=options(receive_bytes_max, streams_max),
        maximum_concurrent_rpcs=calls_max,
    )


async def bind(server: aio.Server, address: str, *, flag: str = "--listen") -> str:
    """Bind a server without TLS and return host:port as bound.

    Args:
        server: not started yet.
        address: host:port on loopback; port 0 is any free one.
        flag: the setting that the address came from, for the message.

    Raises:
        TetherError: PORT_IN_USE, naming port and flag; INVALID_FIELD where the host is not this machine's.
    """
    host, port = config.split_address(address)
    try:
        _probe(host, port)
        bound = server.add_insecure_port(address)
    except OSError as error:
        raise _refusal(error.errno, host, port, flag) from error
    except RuntimeError as error:  # taken between the probe and the bind
        raise _refusal(errno.EADDRINUSE, host, port, flag) from error
    return address.rpartition(":")[0] + f":{bound}"


def _probe(host: str, port: int) -> None:
    """Bind and let go, because grpc tells nothing of why a bind failed."""
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(address)


def _refusal(number: int | None, host: str, port: int, flag: str) -> TetherError:
    """Say why a port could not be bound."""
    if number == errno.EADDRINUSE:
        facts = {"port": str(port), "flag": flag}
        return TetherError(Reason.PORT_IN_USE, f"Port {port} of {host} is in use ({flag}).", metadata=facts)
    why = "this process may not bind it" if number in {errno.EACCES, errno.EPERM} else "no such address here"
    return TetherError(Reason.INVALID_FIELD, f"{host}:{port} ({flag}) cannot be bound: {why}.", field=flag)
