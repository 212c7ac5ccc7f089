"""Blobs at another node, over `ArtifactService`."""

from collections.abc import AsyncIterator, Sequence

import grpc

from tether.rpc.status import from_rpc_error
from tether.v1 import registry_pb2 as pb
from tether.v1.registry_pb2_grpc import ArtifactServiceStub

PART_BYTES = 256 << 10  # as the proto says
CALL_S = 3_600.0  # a blob of 64 GiB at 20 MB/s; silence is noticed long before


class RemoteSource:
    """Reads and writes blobs at one node.

    Args:
        channel: to the node.
        metadata: what proves the caller to it.
        name: what to call it in errors.
    """

    def __init__(self, channel: grpc.aio.Channel, metadata: Sequence[tuple[str, str]], name: str) -> None:
        self.name = name
        self._stub = ArtifactServiceStub(channel)
        self._metadata = tuple(metadata)

    async def read(self, sha256: bytes, offset: int = 0, length: int = 0) -> AsyncIterator[bytes]:
        """Yield a range of a blob; see `Source`."""
        request = pb.ReadBlobRequest(sha256=sha256, offset=offset, length=length)
        call = self._stub.ReadBlob(request, metadata=self._metadata, timeout=CALL_S)
        try:
            async for response in call:
                yield response.data
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error, peer=self.name) from error
        finally:
            call.cancel()

    async def write(self, sha256: bytes, size_bytes: int, data: AsyncIterator[bytes]) -> bool:
        """Send a blob; tell whether the node had it before. Errors as of `ArtifactStore.write`."""
        call = self._stub.WriteBlob(_requests(sha256, size_bytes, data), metadata=self._metadata, timeout=CALL_S)
        try:
            return (await call).existed
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error, peer=self.name) from error
        finally:
            call.cancel()


async def _requests(sha256: bytes, size_bytes: int, data: AsyncIterator[bytes]) -> AsyncIterator[pb.WriteBlobRequest]:
    """Yield a blob as messages: name and size first."""
    yield pb.WriteBlobRequest(sha256=sha256, size_bytes=size_bytes)
    async for part in data:
        for start in range(0, len(part), PART_BYTES):
            yield pb.WriteBlobRequest(data=part[start : start + PART_BYTES])
