"""The blocking client: the asyncio client on an event loop of its own thread.

One implementation, two faces: nothing is written twice. grpc.aio wants one event loop per process, so a program that
already runs asyncio should use `tether.Client`.
"""

import asyncio
import threading
from collections.abc import Coroutine, Iterator, Mapping
from pathlib import Path
from typing import Any, Self, TypeVar, Unpack

from tether.client.aio import Client, Prompt
from tether.client.result import Answer, Piece
from tether.client.stream import Stream
from tether.client.typing import OptionValues
from tether.v1.infer_pb2 import Job

T = TypeVar("T")


class _Loop:
    """An event loop on a daemon thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="tether-client", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[object, object, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class SyncStream:
    """One answer as it comes: an iterator of pieces and a context manager."""

    def __init__(self, loop: _Loop, stream: Stream) -> None:
        self._loop = loop
        self._stream = stream
        self._pieces = aiter(stream)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self._loop.run(self._stream.__aexit__(*raised))

    def __iter__(self) -> Iterator[Piece]:
        return self

    def __next__(self) -> Piece:
        piece = self._loop.run(self._next())
        if piece is None:
            raise StopIteration
        return piece

    async def _next(self) -> Piece | None:
        return await anext(self._pieces, None)

    def answer(self) -> Answer:
        """Read to the end and return the whole answer; see `Stream.answer`."""
        return self._loop.run(self._stream.answer())

    @property
    def job_id(self) -> str:
        """Job's id, 32 hex digits; empty before the first piece."""
        return self._stream.job_id

    @property
    def model(self) -> str:
        """`name:version` that runs; `:` before the first piece."""
        return self._stream.model

    @property
    def correlation_id(self) -> str:
        """Name of the request, as sent or drawn."""
        return self._stream.correlation_id

    @property
    def continuation(self) -> bytes:
        """Where another reader could go on; see `Stream.continuation`."""
        return self._stream.continuation


class SyncClient:
    """`tether.Client` for programs without asyncio; same arguments, same errors."""

    def __init__(
        self,
        address: str | None = None,
        key: str | None = None,
        *,
        state: Path | None = None,
        resume: bool = True,
        root: Path | None = None,
    ) -> None:
        client = Client(address, key, state=state, resume=resume, root=root)  # raises before a thread is there
        self._loop = _Loop()
        self._client = client

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def stream(self, prompt: Prompt, *, model: str, **options: Unpack[OptionValues]) -> SyncStream:
        """Start an answer; see `Client.stream`."""
        return SyncStream(self._loop, self._loop.run(self._start(prompt, model, options)))

    async def _start(self, prompt: Prompt, model: str, options: OptionValues) -> Stream:
        return self._client.stream(prompt, model=model, **options)

    def resume(
        self, *, continuation: bytes = b"", job_id: str = "", correlation_id: str = "", timeout_s: float | None = None
    ) -> SyncStream:
        """Read a job on; see `Client.resume`."""
        names = {"continuation": continuation, "job_id": job_id, "correlation_id": correlation_id}
        return SyncStream(self._loop, self._loop.run(self._reopen(names, timeout_s)))

    async def _reopen(self, names: Mapping[str, Any], timeout_s: float | None) -> Stream:
        return self._client.resume(**names, timeout_s=timeout_s)

    def infer(self, prompt: Prompt, *, model: str, **options: Unpack[OptionValues]) -> Answer:
        """Return a whole answer; see `Client.infer`."""
        return self._loop.run(self._client.infer(prompt, model=model, **options))

    def cancel(self, *, job_id: str = "", correlation_id: str = "", retry_token: str = "") -> Job:
        """End a job for good; see `Client.cancel`."""
        return self._loop.run(
            self._client.cancel(job_id=job_id, correlation_id=correlation_id, retry_token=retry_token)
        )

    def job(self, *, job_id: str = "", correlation_id: str = "", retry_token: str = "") -> Job:
        """Return a job; see `Client.job`."""
        return self._loop.run(self._client.job(job_id=job_id, correlation_id=correlation_id, retry_token=retry_token))

    def wait_ready(self, timeout_s: float = 5.0) -> None:
        """Return once a gateway accepts connections; see `Client.wait_ready`."""
        self._loop.run(self._client.wait_ready(timeout_s))

    def close(self) -> None:
        """Close the connection and the thread."""
        self._loop.run(self._client.close())
        self._loop.close()
