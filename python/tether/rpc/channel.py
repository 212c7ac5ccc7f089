"""gRPC channels as everything in Tether makes them: long-lived, kept alive, never retrying by themselves.

Retries are the core's own decision, with a budget; grpc's would multiply them unseen.
Source: gRFC A6 and A8; grpc's `grpc_types.h`.
"""

from typing import Any

from grpc import aio

from tether.rpc import server

RECONNECT_MIN_MS = 100  # a peer that restarts is back within a second
RECONNECT_MAX_MS = 2_000  # a guess: a dead peer costs one SYN in two seconds; a chaos test will tell


def options(receive_bytes_max: int = server.SEND_BYTES_MAX, *, own_connection: bool = False) -> list[tuple[str, Any]]:
    """Return the channel arguments of a client."""
    return [
        ("grpc.enable_retries", 0),
        ("grpc.enable_http_proxy", 0),  # peers are found on the overlay, never behind a proxy of the environment
        ("grpc.service_config_disable_resolution", 1),  # no TXT look-ups
        ("grpc.use_local_subchannel_pool", int(own_connection)),
        ("grpc.max_receive_message_length", receive_bytes_max),
        ("grpc.max_send_message_length", server.SEND_BYTES_MAX),
        ("grpc.max_metadata_size", server.METADATA_BYTES_MAX),
        ("grpc.absolute_max_metadata_size", server.METADATA_BYTES_MAX),
        ("grpc.keepalive_time_ms", server.KEEPALIVE_MS),
        ("grpc.keepalive_timeout_ms", server.KEEPALIVE_TIMEOUT_MS),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.initial_reconnect_backoff_ms", RECONNECT_MIN_MS),
        ("grpc.min_reconnect_backoff_ms", RECONNECT_MIN_MS),
        ("grpc.max_reconnect_backoff_ms", RECONNECT_MAX_MS),
    ]


def open_channel(
    address: str, *, receive_bytes_max: int = server.SEND_BYTES_MAX, own_connection: bool = False
) -> aio.Channel:
    """Open a channel without TLS to host:port. Keep it: a connection costs more than a call.

    Args:
        address: host:port.
        receive_bytes_max: largest message that is taken.
        own_connection: never share a TCP connection with another channel of this process; links ask for it, so that
            bulk of one does not stand before control of another.
    """
    return aio.insecure_channel(address, options=options(receive_bytes_max, own_connection=own_connection))
