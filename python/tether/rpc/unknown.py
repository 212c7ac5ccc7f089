"""What a server answers to a method that it does not have: METHOD_UNKNOWN, with the nearest name.

Add it last: grpc asks its generic handlers in order, and this one takes everything.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NoReturn

import grpc
from google.protobuf import descriptor_pool
from grpc import aio

from tether import name
from tether.errors import Reason, TetherError
from tether.rpc import status


class UnknownMethod(grpc.GenericRpcHandler):
    """A generic handler that refuses every method."""

    def __init__(self, services: Sequence[str]) -> None:
        self._methods = tuple(methods(services))

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[Any, Any]":
        """Return a handler that refuses the method, whatever its shape."""
        return grpc.stream_stream_rpc_method_handler(self._refuser(handler_call_details.method))

    def _refuser(self, method: str) -> Callable[..., Awaitable[NoReturn]]:
        async def refuse(_requests: object, context: aio.ServicerContext[Any, Any]) -> NoReturn:
            shown = method[: name.TOPIC_BYTES_MAX]
            suggestion = name.did_you_mean(shown, self._methods)
            message = f"{shown} is not served here.{suggestion}"
            await status.abort(context, TetherError(Reason.METHOD_UNKNOWN, message, metadata={"method": shown}))

        return refuse


def methods(services: Sequence[str]) -> list[str]:
    """Return the paths of all methods of `services` (full names): `/tether.v1.InferenceService/Infer`."""
    pool = descriptor_pool.Default()
    found = (pool.FindServiceByName(service) for service in services)
    return [f"/{service.full_name}/{method.name}" for service in found for method in service.methods]
