"""A worker that stands alone: it serves InferenceService by itself, without gateway, orchestrator, registry or overlay.

It is the baseline that the benches compare with, and a way to serve one model on one machine. No job store stands
behind it: answers carry no receipt, keys of jobs are not remembered.
"""

import asyncio
import time
import uuid
from hashlib import sha256
from hmac import compare_digest
from pathlib import Path
from typing import Any

import grpc
import structlog
from grpc import aio

from tether import rules
from tether.errors import Reason, TetherError
from tether.rpc import server as rpc_server
from tether.rpc.health import HealthBoard
from tether.rpc.reflection import enable_reflection
from tether.rpc.unknown import UnknownMethod
from tether.v1 import infer_pb2
from tether_worker.config import Config
from tether_worker.ending import finish_of, logprobs_of
from tether_worker.engine.execution import Submission
from tether_worker.engine.runtime import Emitted, Finish, ModelRuntime
from tether_worker.model import ModelName, ModelTable, Served
from tether_worker.prompt import to_jobs
from tether_worker.start import TIMEOUT_S_MAX
from tether_worker.supply import Supply, simulated

SERVICE = "tether.v1.InferenceService"
KEYS_BYTES_MAX = 1 << 20  # thousands of keys
_VERSION = "1.0"
_log = structlog.get_logger("tether.worker")
Context = aio.ServicerContext[Any, Any]
Chunk = infer_pb2.Infer.Chunk


class Keys:
    """API keys of a file, compared in constant time; none where calls need none."""

    def __init__(self, config: Config) -> None:
        if not config.insecure_no_key and config.keys_file is None:
            message = "A standalone worker needs --keys-file, or --insecure-no-key on loopback."
            raise TetherError(Reason.INVALID_FIELD, message, field="keys_file")
        self._open = config.insecure_no_key
        self._hashes = () if config.keys_file is None else _hashes(config.keys_file)

    def check(self, context: Context) -> None:
        """Refuse a call without a key that holds."""
        if self._open:
            return
        given = next((value for key, value in context.invocation_metadata() or () if key == "authorization"), "")
        if not given:
            raise TetherError(Reason.KEY_MISSING, "The call carries no key.")
        name = sha256(str(given).removeprefix("Bearer ").encode()).digest()
        if sum(compare_digest(name, known) for known in self._hashes) != 1:
            raise TetherError(Reason.KEY_INVALID, "The key does not hold.")


def _hashes(path: Path) -> tuple[bytes, ...]:
    try:
        raw = path.read_bytes()[:KEYS_BYTES_MAX]
    except OSError as error:
        message = f"The keys file cannot be read: {error.strerror}."
        raise TetherError(Reason.INVALID_FIELD, message, field="keys_file") from error
    return tuple({sha256(line.strip()).digest() for line in raw.splitlines() if line.strip()})


class StandaloneWorker:
    """A whole service in one process; see `tether.app.App`.

    Args:
        config: settings.

    Raises:
        TetherError: INVALID_FIELD without keys.
    """

    name = "worker"

    def __init__(self, config: Config) -> None:
        self._config = config
        self._keys = Keys(config)
        self._models = ModelTable()
        self._queues: dict[tuple[bytes, int], asyncio.Queue[Emitted]] = {}
        self._supply = Supply(config, self._models, _NoOpener(), self._on_step)
        self._health = HealthBoard()
        self._server: aio.Server | None = None
        self._address = ""

    async def start(self) -> None:
        """Load the model and serve."""
        name, runtime = await asyncio.to_thread(_runtime, self._config)
        self._supply.serve(name, runtime)
        self._server = server = rpc_server.create()
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {"Infer": self._handler()}),))
        names = [SERVICE, self._health.install(server)]
        enable_reflection(server, names)
        server.add_generic_rpc_handlers((UnknownMethod(names),))
        self._address = await rpc_server.bind(server, self._config.listen)
        await server.start()
        for service in ("", *names):
            self._health.set(service, serving=True)

    async def drain(self, grace_s: float) -> None:
        """Take no more; running answers finish."""
        self._health.drain()
        await self._supply.drain(grace_s)
        if self._server is not None:
            await self._server.stop(1.0)

    async def close(self) -> None:
        """Stop now; idempotent."""
        server, self._server = self._server, None
        if server is not None:
            await server.stop(0)
            await self._supply.close()

    def endpoints(self) -> dict[str, str]:
        """host:port of the gRPC server."""
        return {"worker": self._address} if self._address else {}

    def _handler(self) -> Any:  # noqa: ANN401 - grpc's handler
        return grpc.unary_stream_rpc_method_handler(
            self.infer,
            request_deserializer=infer_pb2.Infer.Request.FromString,
            response_serializer=infer_pb2.Infer.Chunk.SerializeToString,
        )

    async def infer(self, request: infer_pb2.Infer.Request, context: Context) -> None:
        """Serve one answer; see infer.proto."""
        self._keys.check(context)
        rules.check_request(request)
        served = self._models.newest(request.model_id, request.version)
        name = (uuid.uuid4().bytes, 1)
        jobs = to_jobs(request, _seeded(request.parameters), name, ())
        deadline_s = time.monotonic() + min(context.time_remaining() or TIMEOUT_S_MAX, TIMEOUT_S_MAX)
        queue = self._queues[name] = asyncio.Queue()
        try:
            submissions = [served.engine.submit(job, deadline_s=deadline_s) for job in jobs]
            await _Answer(request, served, submissions, context).run(queue)
        finally:
            del self._queues[name]
            for job in jobs:
                served.engine.cancel(job.key)

    def _on_step(self, emitted: list[Emitted]) -> None:
        for piece in emitted:
            queue = self._queues.get(piece.key[:2])  # type: ignore[index]
            if queue is not None:
                queue.put_nowait(piece)


class _Answer:
    """Writes the chunks of one answer."""

    def __init__(
        self, request: infer_pb2.Infer.Request, served: Served, submissions: list[Submission], context: Context
    ) -> None:
        self._submissions = submissions
        self._write = context.write
        self._correlation = request.correlation_id or request.retry_token or uuid.uuid4().hex
        self._seq = self._tokens = self._bytes = 0
        self._name = served.name
        self._finish = Finish.STOP

    async def run(self, queue: "asyncio.Queue[Emitted]") -> None:
        """Write until every choice has ended; TetherError where one failed."""
        left = len(self._submissions)
        while left:
            piece = await queue.get()
            if piece.error is not None:
                raise piece.error
            if piece.token_ids or piece.payload:
                await self._piece(piece)
            if piece.finish is not None:
                left, self._finish = left - 1, piece.finish
        await self._last()

    async def _piece(self, piece: Emitted) -> None:
        chunk = self._chunk()
        chunk.output_index = piece.key[2]  # type: ignore[index]
        if piece.payload:
            chunk.payload.MergeFromString(piece.payload)
        else:
            chunk.payload.text = piece.text.decode()
        chunk.logprobs.extend(logprobs_of(piece))
        self._tokens += len(piece.token_ids)
        self._bytes += len(piece.text) + len(piece.payload)
        await self._write(chunk)

    async def _last(self) -> None:
        chunk = self._chunk()
        chunk.done, chunk.finish_reason = True, finish_of(self._finish)
        chunk.usage.output_tokens, chunk.usage.output_bytes = self._tokens, self._bytes
        opened = self._submissions[0].opened
        chunk.usage.input_tokens = opened.prompt_tokens if opened is not None else 0
        await self._write(chunk)

    def _chunk(self) -> Chunk:
        chunk = Chunk(correlation_id=self._correlation, seq=self._seq, epoch=1)
        chunk.start.tokens, chunk.start.bytes = self._tokens, self._bytes
        if not self._seq:
            chunk.started.model_id, chunk.started.version = self._name.model_id, self._name.version
            chunk.started.model_digest = self._name.digest
        self._seq += 1
        return chunk


class _NoOpener:
    """A standalone worker has its model before it starts."""

    async def open(self, model: Any) -> tuple[ModelRuntime, int]:  # noqa: ANN401
        """Refuse."""
        raise TetherError(Reason.UNSUPPORTED, f"A standalone worker loads no {model}.")


def _runtime(config: Config) -> tuple[ModelName, ModelRuntime]:
    """The one runtime, and what it is called: by the setting, else by the folder."""
    folder = config.model_folder
    called, _, version = (config.models[0] if config.models else folder.name if folder else "simulated").partition(":")
    name = ModelName(called, version or _VERSION, bytes(32))
    if config.engine == "simulated":
        return name, simulated(config)
    if folder is None:
        raise TetherError(Reason.INVALID_FIELD, "A standalone worker needs --model-folder.", field="model_folder")
    from tether_worker.onnx import open_folder  # noqa: PLC0415 - a simulated worker needs no onnxruntime

    return name, open_folder(folder, config)


def _seeded(parameters: infer_pb2.Infer.Parameters) -> infer_pb2.Infer.Parameters:
    seeded = infer_pb2.Infer.Parameters()
    seeded.CopyFrom(parameters)
    if not seeded.HasField("seed"):
        seeded.seed = uuid.uuid4().int >> 64
    return seeded
